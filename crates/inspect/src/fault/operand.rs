//! Operands in memory: segments, canonical addresses, pages, alignment.

use iced_x86::{CodeSize, CpuidFeature, EncodingKind, Mnemonic, OpAccess, Register, UsedMemory};
use strata_cpu::{AccessKind, Cr0, Exception, RFlags, Segment, SegmentKind};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::step::{Step, is_canonical, with_code};
use super::{Fault, Touch, Verdict};

/// Why an address cannot be used, before any page table is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OperandError {
    /// Upper bits are no copies of the highest that is translated. SDM 1 3.3.7.1; APM 1 2.1.3.
    #[error("{address:#x} is not canonical")]
    NonCanonical {
        /// The address.
        address: u64,
    },
    /// Outside the segment. SDM 3A 6.3 "Limit Checking".
    #[error("offset {offset:#x} is beyond the limit {limit:#x} of {segment}")]
    Limit {
        /// The segment register.
        segment: &'static str,
        /// The offset in the segment.
        offset: u64,
        /// The segment's last byte.
        limit: u32,
    },
    /// No segment is loaded. SDM 3A 3.4.2.
    #[error("{0} holds a null selector")]
    Null(&'static str),
    /// A write to code or read-only data, or a read of execute-only code. SDM 3A 6.5 "Type Checking".
    #[error("the segment in {segment} cannot be {}", if *.write { "written" } else { "read" })]
    Rights {
        /// The segment register.
        segment: &'static str,
        /// What was wanted.
        write: bool,
    },
    /// An instruction that wants aligned memory. SDM 2, exceptions types 1 and 2.
    #[error("{address:#x} is not a multiple of {to}, which this instruction wants")]
    Misaligned {
        /// The address.
        address: u64,
        /// What it should be a multiple of.
        to: u64,
    },
    /// CR0.AM and RFLAGS.AC in ring 3. SDM 3A 7.15, "Interrupt 17".
    #[error("{address:#x} is not a multiple of {to}, and RFLAGS.AC and CR0.AM are set in ring 3")]
    AlignmentCheck {
        /// The address.
        address: u64,
        /// What it should be a multiple of.
        to: u64,
    },
}

/// More than any instruction touches at once: 512 bytes of FXSAVE. XSAVE's size is not known here, and taken for 1.
const LARGEST: u64 = 512;

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let uses_stack = step.instruction.is_stack_instruction();
    for memory in step.info.used_memory() {
        // Where code and stack differ in width, iced goes by the code's, the processor by the stack's.
        let odd_stack = !step.is_long64() && step.state.ss.big != step.state.cs.big;
        if uses_stack && odd_stack && memory.segment() == Register::SS {
            continue;
        }
        if let Some(kind) = kind(step, memory) {
            one(step, memory, kind)?;
        }
    }
    Ok(())
}

/// The linear addresses of all operands, as far as they are known.
pub(super) fn touches<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Vec<Touch> {
    let linear = |memory: &UsedMemory| {
        let address = memory.virtual_address(0, |register, _, _| step.base_or_value(register))?;
        let address = if step.is_long64() { address } else { address & 0xffff_ffff };
        Some(Touch { kind: kind(step, memory)?, address })
    };
    step.info.used_memory().iter().filter_map(linear).collect()
}

/// What is certainly done with this memory; nothing for a mask or a condition to prevent.
fn kind<M: Bytes<GuestAddress>>(step: &Step<'_, M>, memory: &UsedMemory) -> Option<AccessKind> {
    use Mnemonic as M;
    let instruction = &step.instruction;
    match instruction.mnemonic() {
        // The bit's number reaches beyond the operand, and iced does not look at it.
        M::Bt | M::Bts | M::Btr | M::Btc if instruction.op1_register() != Register::None => return None,
        // Writes back what was there when it does not match. SDM 2A CMPXCHG.
        M::Cmpxchg | M::Cmpxchg8b | M::Cmpxchg16b => return Some(AccessKind::Write),
        // A frame of several levels reads others; ENTER 0 is a push.
        M::Enter if instruction.immediate8_2nd() != 0 => return None,
        // Whole state components, by a mask.
        _ if instruction.is_save_restore_instruction() => return None,
        _ => {}
    }
    if memory.vsib_size() != 0 {
        return None;
    }
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let counted = repeats && instruction.is_string_instruction();
    if counted && count(step, memory) == 0 {
        return None;
    }
    match memory.access() {
        OpAccess::Read | OpAccess::ReadCondWrite => Some(AccessKind::Read),
        OpAccess::Write | OpAccess::ReadWrite => Some(AccessKind::Write),
        OpAccess::CondRead if counted => Some(AccessKind::Read),
        OpAccess::CondWrite if counted => Some(AccessKind::Write),
        _ => None,
    }
}

/// What a repeated instruction counts down.
fn count<M: Bytes<GuestAddress>>(step: &Step<'_, M>, memory: &UsedMemory) -> u64 {
    let rcx = step.state.regs.rcx;
    match memory.address_size() {
        CodeSize::Code16 => rcx & 0xffff,
        CodeSize::Code32 => rcx & 0xffff_ffff,
        _ => rcx,
    }
}

fn one<M: Bytes<GuestAddress>>(step: &Step<'_, M>, memory: &UsedMemory, kind: AccessKind) -> Verdict {
    let size = u64::try_from(memory.memory_size().size()).unwrap_or(LARGEST).clamp(1, LARGEST);
    // The offset is the address without its segment's base.
    let Some(offset) = memory.virtual_address(0, |register, _, _| match step.segment(register) {
        Some(_) => Some(0),
        None => step.base_or_value(register),
    }) else {
        return Ok(());
    };
    let linear = segmented(step, memory.segment(), offset, (size, kind))?;
    aligned(step, linear, size, kind)?;
    pages(step, linear, size, (kind, memory.segment() == Register::SS))
}

/// From an offset in a segment to a linear address. SDM 3A 3.4, 6.3, 6.5; APM 2 4.5, 4.12.
fn segmented<M: Bytes<GuestAddress>>(
    step: &Step<'_, M>,
    register: Register,
    offset: u64,
    (size, kind): (u64, AccessKind),
) -> Verdict<u64> {
    let stack = register == Register::SS;
    let refuse = |why, linear| {
        let exception = if stack { Exception::with_code(12, 0) } else { Exception::gp(0) };
        let access = Some(Touch { kind, address: linear });
        Err(Fault { access, ..Fault::new(with_code(step.state, exception), why) }.into())
    };
    let Some((name, segment)) = step.segment(register) else { return Ok(offset) };
    let last = offset.wrapping_add(size - 1);
    if step.is_long64() {
        let base = step.base_or_value(register).unwrap_or(0);
        let linear = offset.wrapping_add(base);
        let end = last.wrapping_add(base);
        return match [linear, end].into_iter().find(|&address| !is_canonical(step.state, address)) {
            Some(address) => refuse(OperandError::NonCanonical { address }, address),
            None => Ok(linear),
        };
    }
    let linear = segment.base.wrapping_add(offset) & 0xffff_ffff;
    if segment.unusable {
        return refuse(OperandError::Null(name), linear);
    }
    let write = kind == AccessKind::Write;
    if step.is_protected() && !allows(segment, write) {
        return refuse(OperandError::Rights { segment: name, write }, linear);
    }
    if !covers(segment, offset, last) {
        return refuse(OperandError::Limit { segment: name, offset, limit: segment.limit }, linear);
    }
    Ok(linear)
}

fn allows(segment: &Segment, write: bool) -> bool {
    match segment.kind {
        SegmentKind::Data { writable, .. } => writable || !write,
        SegmentKind::Code { readable, .. } => readable && !write,
        // Cannot be in a data segment register; nothing is said about it.
        _ => true,
    }
}

/// SDM 3A 6.3: the valid offsets of an expand-down segment lie above its limit.
fn covers(segment: &Segment, first: u64, last: u64) -> bool {
    let limit = u64::from(segment.limit);
    if matches!(segment.kind, SegmentKind::Data { expand_down: true, .. }) {
        let top = if segment.big { 0xffff_ffff } else { 0xffff };
        return first > limit && last <= top;
    }
    // A flat segment has no end to run over: the addresses wrap.
    last <= limit || limit == 0xffff_ffff
}

fn aligned<M: Bytes<GuestAddress>>(step: &Step<'_, M>, address: u64, size: u64, kind: AccessKind) -> Verdict {
    let refuse = |exception, why| {
        Err(Fault { access: Some(Touch { kind, address }), ..Fault::new(exception, why) }.into())
    };
    let to = wanted_alignment(step, size);
    if to > 1 && !address.is_multiple_of(to) {
        return refuse(step.gp(0), OperandError::Misaligned { address, to });
    }
    let checked = step.cpl == 3
        && step.state.cr0.contains(Cr0::AM)
        && step.state.regs.rflags.contains(RFlags::AC)
        && matches!(size, 2 | 4 | 8)
        && !step.instruction.is_stack_instruction();
    if checked && !address.is_multiple_of(size) {
        return refuse(Exception::with_code(17, 0), OperandError::AlignmentCheck { address, to: size });
    }
    Ok(())
}

/// SDM 2A 2.4 "AVX and SSE Instruction Exception Classification"; each instruction's page.
fn wanted_alignment<M: Bytes<GuestAddress>>(step: &Step<'_, M>, size: u64) -> u64 {
    use Mnemonic as M;
    let sse = [
        CpuidFeature::SSE,
        CpuidFeature::SSE2,
        CpuidFeature::SSE3,
        CpuidFeature::SSSE3,
        CpuidFeature::SSE4_1,
        CpuidFeature::SSE4_2,
        CpuidFeature::AES,
        CpuidFeature::PCLMULQDQ,
    ];
    let is_sse = || sse.into_iter().any(|feature| step.has(feature));
    match step.instruction.mnemonic() {
        M::Cmpxchg16b | M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 => 16,
        M::Movups
        | M::Movupd
        | M::Movdqu
        | M::Lddqu
        | M::Maskmovdqu
        | M::Pcmpestri
        | M::Pcmpestrm
        | M::Pcmpistri
        | M::Pcmpistrm => 1,
        M::Vmovaps
        | M::Vmovapd
        | M::Vmovdqa
        | M::Vmovdqa32
        | M::Vmovdqa64
        | M::Vmovntps
        | M::Vmovntpd
        | M::Vmovntdq
        | M::Vmovntdqa => size,
        _ if size == 16 && step.instruction.encoding() == EncodingKind::Legacy && is_sse() => 16,
        _ => 1,
    }
}

/// Every page that the operand touches.
pub(super) fn pages<M: Bytes<GuestAddress>>(
    step: &Step<'_, M>,
    linear: u64,
    size: u64,
    (kind, stack): (AccessKind, bool),
) -> Verdict {
    const PAGE: u64 = 0x1000;
    // At most 512 bytes: no more than two pages.
    let second = (linear | (PAGE - 1)).wrapping_add(1);
    let crosses = linear % PAGE + size > PAGE;
    for mut address in [Some(linear), crosses.then_some(second)].into_iter().flatten() {
        if !step.is_long64() {
            address &= 0xffff_ffff;
        }
        step.view.translate(address, kind).map_err(|fault| Fault::walk(fault, stack))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "operand_test.rs"]
mod tests;
