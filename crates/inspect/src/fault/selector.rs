//! Selectors: what they name, and whether a segment register takes it.

use std::fmt;

use iced_x86::{Mnemonic, Register};
use strata_cpu::{AccessKind, Descriptor, Efer, Exception, FaultReason, Segment, SegmentKind, WalkContext};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::step::Step;
use super::{Fault, Unknown, Verdict};

/// A table of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The global one.
    Gdt,
    /// The local one.
    Ldt,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gdt => "GDT",
            Self::Ldt => "LDT",
        })
    }
}

/// Why a selector is refused. SDM 3A 3.4.2, 6.5 to 6.8; APM 2 4.9 to 4.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// A null selector where there has to be a segment.
    #[error("the selector for {0} is null")]
    Null(&'static str),
    /// The selector wants the LDT, and LDTR holds a null selector.
    #[error("selector {selector:#x} is of the LDT, and there is none (LDTR is null)")]
    NoLdt {
        /// The selector.
        selector: u16,
    },
    /// The selector has to be of the GDT.
    #[error("selector {selector:#x} is of the LDT, and {register} takes one of the GDT only")]
    OfLdt {
        /// The register.
        register: &'static str,
        /// The selector.
        selector: u16,
    },
    /// The table is not that long.
    #[error("selector {selector:#x} lies beyond the {table}'s limit {limit:#x}")]
    Beyond {
        /// The selector.
        selector: u16,
        /// Which table.
        table: Table,
        /// The table's last byte.
        limit: u32,
    },
    /// P is clear.
    #[error("selector {selector:#x} names the descriptor at {at:#x}, which is not present (P=0)")]
    NotPresent {
        /// The selector.
        selector: u16,
        /// The descriptor's linear address.
        at: u64,
    },
    /// A segment of a kind that the register does not take.
    #[error("selector {selector:#x} names the descriptor at {at:#x}, which is not {wanted} but {}", Kind(*.kind))]
    Kind {
        /// The selector.
        selector: u16,
        /// The descriptor's linear address.
        at: u64,
        /// What it should be, with its article.
        wanted: &'static str,
        /// What it is.
        kind: SegmentKind,
    },
    /// Both L and D are set. SDM 3A 3.4.5; APM 2 4.8.1.
    #[error("selector {selector:#x} names the descriptor at {at:#x}, which has both L and D set")]
    LongAndBig {
        /// The selector.
        selector: u16,
        /// The descriptor's linear address.
        at: u64,
    },
    /// The rings do not fit.
    #[error("selector {selector:#x} (RPL {rpl}) names a segment of DPL {dpl}, which ring {ring} may not load into {register}", rpl = *.selector & 3)]
    Ring {
        /// The register.
        register: &'static str,
        /// The selector.
        selector: u16,
        /// The segment's DPL.
        dpl: u8,
        /// The current ring, or the one that is returned to.
        ring: u8,
    },
    /// A return to a ring that is more privileged. SDM 2A IRET, RET.
    #[error("selector {selector:#x} would return from ring {ring} to ring {}, which is more privileged", *.selector & 3)]
    Inward {
        /// The selector.
        selector: u16,
        /// The current ring.
        ring: u8,
    },
}

/// What a segment is, with its article.
struct Kind(SegmentKind);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            SegmentKind::Data { writable: true, .. } => "a data segment",
            SegmentKind::Data { .. } => "a read-only data segment",
            SegmentKind::Code { readable: true, .. } => "a code segment",
            SegmentKind::Code { .. } => "an execute-only code segment",
            SegmentKind::Ldt => "an LDT",
            SegmentKind::Tss { busy: true } => "a busy TSS",
            SegmentKind::Tss { busy: false } => "a TSS",
            SegmentKind::System(0) => "a null descriptor",
            SegmentKind::System(kind) => return write!(f, "a system descriptor of type {kind:#x}"),
        })
    }
}

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    use Mnemonic as M;
    let instruction = &step.instruction;
    if !step.is_protected() {
        return Ok(());
    }
    let (register, selector) = match instruction.mnemonic() {
        M::Mov if instruction.op0_register().is_segment_register() => {
            (instruction.op0_register(), step.operand(1))
        }
        M::Pop if instruction.op0_register().is_segment_register() => {
            (instruction.op0_register(), step.read_number(step.stack_top(), 2))
        }
        M::Lds => (Register::DS, far_selector(step)),
        M::Les => (Register::ES, far_selector(step)),
        M::Lfs => (Register::FS, far_selector(step)),
        M::Lgs => (Register::GS, far_selector(step)),
        M::Lss => (Register::SS, far_selector(step)),
        M::Ltr | M::Lldt => (Register::None, step.operand(0)),
        _ => return Ok(()),
    };
    let selector = (selector.ok_or(Unknown::Operand)? & 0xffff) as u16;
    match (instruction.mnemonic(), register) {
        (M::Ltr, _) => task(step, selector),
        (M::Lldt, _) => local_table(step, selector),
        (_, Register::SS) => stack(step, selector, step.cpl),
        (_, register) => {
            let name = step.segment(register).map_or("a segment register", |(name, _)| name);
            data(step, name, selector)
        }
    }
}

/// The selector behind the offset of a far pointer in memory.
pub(super) fn far_selector<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Option<u64> {
    let offset_size = step.instruction.memory_size().size().checked_sub(2)?;
    step.read_number(step.address()?.wrapping_add(offset_size as u64), 2)
}

/// DS, ES, FS and GS. SDM 2B MOV, "Loading a segment register".
fn data<M: Bytes<GuestAddress>>(step: &Step<'_, M>, register: &'static str, selector: u16) -> Verdict {
    if selector & !3 == 0 {
        return Ok(());
    }
    let (at, segment) = named(step, selector)?;
    let conforming = match segment.kind {
        SegmentKind::Data { .. } => false,
        SegmentKind::Code { readable: true, conforming, .. } => conforming,
        kind => return refuse_kind(selector, at, ("a segment that can be read", kind)),
    };
    let ring = step.cpl;
    if !conforming && segment.dpl < ring.max((selector & 3) as u8) {
        let why = SelectorError::Ring { register, selector, dpl: segment.dpl, ring };
        return Err(gp(selector, why).into());
    }
    present(selector, at, &segment, 11)
}

/// SS of ring `ring`, which is the current one or the one that is returned to. SDM 2B MOV, IRET.
pub(super) fn stack<M: Bytes<GuestAddress>>(step: &Step<'_, M>, selector: u16, ring: u8) -> Verdict {
    if selector & !3 == 0 {
        // 64-bit code of rings 0 to 2 does without a stack segment.
        if step.is_long64() && ring < 3 && selector & 3 == u16::from(ring) {
            return Ok(());
        }
        return Err(Fault::new(Exception::gp(0), SelectorError::Null("SS")).into());
    }
    let (at, segment) = named(step, selector)?;
    if !matches!(segment.kind, SegmentKind::Data { writable: true, .. }) {
        return refuse_kind(selector, at, ("a data segment that can be written", segment.kind));
    }
    if segment.dpl != ring || selector & 3 != u16::from(ring) {
        let why = SelectorError::Ring { register: "SS", selector, dpl: segment.dpl, ring };
        return Err(gp(selector, why).into());
    }
    present(selector, at, &segment, 12)
}

/// SDM 2A LTR; APM 3 LTR.
fn task<M: Bytes<GuestAddress>>(step: &Step<'_, M>, selector: u16) -> Verdict {
    if selector & !3 == 0 {
        return Err(Fault::new(Exception::gp(0), SelectorError::Null("TR")).into());
    }
    let (at, segment) = system(step, selector, "TR")?;
    let long = step.state.efer.contains(Efer::LMA);
    match segment.kind {
        SegmentKind::Tss { busy: false } => {}
        // A 16-bit TSS.
        SegmentKind::System(1) if !long => {}
        kind => return refuse_kind(selector, at, ("an available TSS", kind)),
    }
    present(selector, at, &segment, 11)
}

/// SDM 2A LLDT. A null selector means that there is none.
fn local_table<M: Bytes<GuestAddress>>(step: &Step<'_, M>, selector: u16) -> Verdict {
    if selector & !3 == 0 {
        return Ok(());
    }
    let (at, segment) = system(step, selector, "LDTR")?;
    if segment.kind != SegmentKind::Ldt {
        return refuse_kind(selector, at, ("an LDT", segment.kind));
    }
    present(selector, at, &segment, 11)
}

fn system<M: Bytes<GuestAddress>>(
    step: &Step<'_, M>,
    selector: u16,
    register: &'static str,
) -> Verdict<(u64, Segment)> {
    if selector & 4 != 0 {
        return Err(gp(selector, SelectorError::OfLdt { register, selector }).into());
    }
    named(step, selector)
}

/// #GP with the selector as its code. SDM 3A 7.13.
pub(super) fn gp(selector: u16, why: SelectorError) -> Fault {
    Fault::new(Exception::gp(u32::from(selector & !3)), why)
}

pub(super) fn refuse_kind(selector: u16, at: u64, (wanted, kind): (&'static str, SegmentKind)) -> Verdict {
    Err(gp(selector, SelectorError::Kind { selector, at, wanted, kind }).into())
}

/// #NP, or for the stack #SS, if P is clear.
pub(super) fn present(selector: u16, at: u64, segment: &Segment, vector: u8) -> Verdict {
    if segment.present {
        return Ok(());
    }
    let exception = Exception::with_code(vector, u32::from(selector & !3));
    Err(Fault::new(exception, SelectorError::NotPresent { selector, at }).into())
}

/// The descriptor that a selector names, and its linear address. SDM 3A 3.5.1; APM 2 4.6.
pub(super) fn named<M: Bytes<GuestAddress>>(step: &Step<'_, M>, selector: u16) -> Verdict<(u64, Segment)> {
    let state = step.state;
    let (table, base, limit) = if selector & 4 == 0 {
        (Table::Gdt, state.gdt.base, u32::from(state.gdt.limit))
    } else if state.ldt.unusable || !state.ldt.present {
        return Err(gp(selector, SelectorError::NoLdt { selector }).into());
    } else {
        (Table::Ldt, state.ldt.base, state.ldt.limit)
    };
    let offset = u32::from(selector & !7);
    if offset + 7 > limit {
        return Err(gp(selector, SelectorError::Beyond { selector, table, limit }).into());
    }
    let long = state.efer.contains(Efer::LMA);
    let at = base.wrapping_add(offset.into());
    let at = if long { at } else { at & 0xffff_ffff };
    let bits = implicit(step, at, 8)?;
    Ok((at, Descriptor(bits).decode(selector)))
}

/// Reads what the processor itself reads: as ring 0, whatever the current ring and RFLAGS.AC. SDM 3A 5.6.1.
pub(super) fn implicit<M: Bytes<GuestAddress>>(step: &Step<'_, M>, linear: u64, size: usize) -> Verdict<u64> {
    let context = WalkContext { cpl: 0, alignment_check: false, ..step.state.walk_context() };
    let last = linear.wrapping_add(size as u64 - 1);
    for address in [linear, last] {
        let walk = step.view.translate_as(&context, address, AccessKind::Read);
        walk.map_err(|fault| {
            let canonical = fault.why != FaultReason::NonCanonical;
            if canonical {
                Fault::walk(fault, false).into()
            } else {
                Box::new(super::Next::Unknown(Unknown::Operand))
            }
        })?;
    }
    Ok(step.read_number(linear, size).ok_or(Unknown::Operand)?)
}

#[cfg(test)]
#[path = "selector_test.rs"]
mod tests;
