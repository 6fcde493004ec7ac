//! Jumps, calls and returns: where control would go.

use iced_x86::{Code, FlowControl, Mnemonic, OpKind};
use strata_cpu::{AccessKind, Efer, Exception, RFlags, Segment, SegmentKind};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::selector::{self, SelectorError};
use super::step::{Step, is_canonical};
use super::{Fault, Unknown, Verdict, operand};

/// Why control cannot go there. SDM 2A CALL, IRET, JMP; 2B RET; SYSRET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A target in 64-bit code.
    #[error("it goes to {target:#x}, which is not canonical")]
    NonCanonical {
        /// The target.
        target: u64,
    },
    /// A target in other code.
    #[error("it goes to {target:#x}, which is beyond the code segment's limit {limit:#x}")]
    Limit {
        /// The target's offset in the segment.
        target: u64,
        /// The segment's last byte.
        limit: u32,
    },
    /// There are no tasks in long mode to return to.
    #[error("RFLAGS.NT is set, and there are no task switches in long mode")]
    NestedTask,
}

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let instruction = &step.instruction;
    match instruction.flow_control() {
        _ if instruction.is_jmp_far() || instruction.is_call_far() => {
            let selector = instruction.far_branch_selector();
            let target = match instruction.op0_kind() {
                OpKind::FarBranch16 => instruction.far_branch16().into(),
                _ => instruction.far_branch32().into(),
            };
            far(step, selector, target)
        }
        _ if instruction.is_jmp_far_indirect() || instruction.is_call_far_indirect() => {
            let selector = selector::far_selector(step).ok_or(Unknown::Operand)?;
            let size = instruction.memory_size().size().saturating_sub(2);
            let at = step.address().ok_or(Unknown::Operand)?;
            let target = step.read_number(at, size).ok_or(Unknown::Operand)?;
            far(step, (selector & 0xffff) as u16, target)
        }
        FlowControl::UnconditionalBranch | FlowControl::Call if is_near_direct(step) => {
            near(step, instruction.near_branch_target())
        }
        FlowControl::IndirectBranch | FlowControl::IndirectCall => {
            near(step, step.operand(0).ok_or(Unknown::Operand)?)
        }
        FlowControl::Return => back(step),
        _ => Ok(()),
    }
}

fn is_near_direct<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> bool {
    matches!(step.instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
        && matches!(step.instruction.mnemonic(), Mnemonic::Jmp | Mnemonic::Call)
}

fn near<M: Bytes<GuestAddress>>(step: &Step<'_, M>, target: u64) -> Verdict {
    within(step, &step.state.cs, step.is_long64(), target)
}

/// Canonical in 64-bit code, within the limit elsewhere.
fn within<M: Bytes<GuestAddress>>(step: &Step<'_, M>, cs: &Segment, long: bool, target: u64) -> Verdict {
    let limit = cs.limit;
    let why = match long {
        true if is_canonical(step.state, target) => return Ok(()),
        true => TargetError::NonCanonical { target },
        false if target <= limit.into() => return Ok(()),
        false => TargetError::Limit { target, limit },
    };
    Err(Fault::new(step.gp(0), why).into())
}

/// SDM 3A 6.8.1 "Direct Calls or Jumps to Code Segments".
fn far<M: Bytes<GuestAddress>>(step: &Step<'_, M>, selector: u16, target: u64) -> Verdict {
    if !step.is_protected() {
        return near(step, target);
    }
    if selector & !3 == 0 {
        return Err(Fault::new(Exception::gp(0), SelectorError::Null("CS")).into());
    }
    let (at, segment) = selector::named(step, selector)?;
    let (ring, dpl) = (step.cpl, segment.dpl);
    let allowed = match segment.kind {
        SegmentKind::Code { conforming: true, .. } => dpl <= ring,
        SegmentKind::Code { .. } => dpl == ring && selector & 3 <= ring.into(),
        SegmentKind::Data { .. } => {
            return selector::refuse_kind(selector, at, ("a code segment", segment.kind));
        }
        _ => return system(step, selector, (at, segment.kind)),
    };
    if !allowed {
        let why = SelectorError::Ring { register: "CS", selector, dpl, ring };
        return Err(selector::gp(selector, why).into());
    }
    enter(step, selector, (at, &segment), target)
}

/// Call gates, task gates and TSSs; in long mode 64-bit call gates only. SDM 3A 6.8.3.1.
fn system<M: Bytes<GuestAddress>>(
    step: &Step<'_, M>,
    selector: u16,
    (at, kind): (u64, SegmentKind),
) -> Verdict {
    const CALL_GATE: u8 = 12;
    let long = step.state.efer.contains(Efer::LMA);
    match kind.type_bits() {
        CALL_GATE => Err(Unknown::TaskOrGate.into()),
        0 | 2 | 8 | 10 | 13.. => selector::refuse_kind(selector, at, ("a code segment", kind)),
        _ if long => selector::refuse_kind(selector, at, ("a code segment", kind)),
        _ => Err(Unknown::TaskOrGate.into()),
    }
}

/// What every far transfer to a code segment ends with.
fn enter<M: Bytes<GuestAddress>>(
    step: &Step<'_, M>,
    selector: u16,
    (at, segment): (u64, &Segment),
    target: u64,
) -> Verdict {
    let long = step.state.efer.contains(Efer::LMA);
    if long && segment.long && segment.big {
        return Err(selector::gp(selector, SelectorError::LongAndBig { selector, at }).into());
    }
    selector::present(selector, at, segment, 11)?;
    within(step, segment, long && segment.long, target)
}

fn back<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let size = match step.instruction.code() {
        Code::Retnw | Code::Retnw_imm16 | Code::Retfw | Code::Retfw_imm16 | Code::Iretw => 2,
        Code::Retnd | Code::Retnd_imm16 | Code::Retfd | Code::Retfd_imm16 | Code::Iretd => 4,
        Code::Retnq | Code::Retnq_imm16 | Code::Retfq | Code::Retfq_imm16 | Code::Iretq => 8,
        Code::Sysretq => {
            let target = step.state.regs.rcx;
            return within(step, &step.state.cs, true, target);
        }
        _ => return Ok(()),
    };
    let interrupt = step.instruction.mnemonic() == Mnemonic::Iret
        || matches!(step.instruction.code(), Code::Iretw | Code::Iretd | Code::Iretq);
    let far = interrupt || matches!(step.instruction.mnemonic(), Mnemonic::Retf);
    if interrupt && step.state.regs.rflags.contains(RFlags::NT) && step.is_protected() {
        if !step.state.efer.contains(Efer::LMA) {
            return Err(Unknown::TaskOrGate.into());
        }
        return Err(Fault::new(Exception::gp(0), TargetError::NestedTask).into());
    }
    let target = popped(step, 0, size)?;
    if !far || !step.is_protected() {
        return near(step, target);
    }
    let selector = (popped(step, 1, size)? & 0xffff) as u16;
    let segment = returned_to(step, selector)?;
    let ring = (selector & 3) as u8;
    let changes_stack = ring > step.cpl || interrupt && step.is_long64();
    if changes_stack {
        // IRET: IP, CS, flags, SP, SS. RET: IP, CS, what its operand skips, SP, SS.
        let skipped = if interrupt { 0 } else { u64::from(step.instruction.immediate16()) };
        let number = if interrupt { 4 } else { 3 };
        let ss = (popped_behind(step, number, (size, skipped))? & 0xffff) as u16;
        returned_stack(step, ss, (ring, segment.long))?;
    }
    let long = step.state.efer.contains(Efer::LMA) && segment.long;
    within(step, &segment, long, target)
}

fn popped<M: Bytes<GuestAddress>>(step: &Step<'_, M>, number: u64, size: usize) -> Verdict<u64> {
    popped_behind(step, number, (size, 0))
}

/// The word `number` of the stack, `skipped` bytes behind; also checked as far as [`operand`] has not.
fn popped_behind<M: Bytes<GuestAddress>>(
    step: &Step<'_, M>,
    number: u64,
    (size, skipped): (usize, u64),
) -> Verdict<u64> {
    let at = step.stack_top().wrapping_add(number * size as u64 + skipped);
    let at = if step.is_long64() { at } else { at & 0xffff_ffff };
    operand::pages(step, at, size as u64, (AccessKind::Read, true))?;
    Ok(step.read_number(at, size).ok_or(Unknown::Operand)?)
}

/// The code segment that IRET or RET returns to. SDM 2A IRET, 2B RET, "PROTECTED-MODE-RETURN".
fn returned_to<M: Bytes<GuestAddress>>(step: &Step<'_, M>, selector: u16) -> Verdict<Segment> {
    if selector & !3 == 0 {
        return Err(Fault::new(Exception::gp(0), SelectorError::Null("CS")).into());
    }
    let (at, segment) = selector::named(step, selector)?;
    let (rpl, dpl) = ((selector & 3) as u8, segment.dpl);
    let refuse = |why| Err(selector::gp(selector, why).into());
    let allowed = match segment.kind {
        SegmentKind::Code { conforming: true, .. } => dpl <= rpl,
        SegmentKind::Code { .. } => dpl == rpl,
        kind => {
            let wanted = "a code segment";
            return refuse(SelectorError::Kind { selector, at, wanted, kind });
        }
    };
    if rpl < step.cpl {
        return refuse(SelectorError::Inward { selector, ring: step.cpl });
    }
    if !allowed {
        return refuse(SelectorError::Ring { register: "CS", selector, dpl, ring: rpl });
    }
    if step.state.efer.contains(Efer::LMA) && segment.long && segment.big {
        return refuse(SelectorError::LongAndBig { selector, at });
    }
    selector::present(selector, at, &segment, 11)?;
    Ok(segment)
}

/// The stack segment that goes with it; a null one is for 64-bit code of rings 0 to 2 only.
fn returned_stack<M: Bytes<GuestAddress>>(step: &Step<'_, M>, ss: u16, (ring, long): (u8, bool)) -> Verdict {
    if ss & !3 == 0 && !(long && ring < 3) {
        return Err(Fault::new(Exception::gp(0), SelectorError::Null("SS")).into());
    }
    selector::stack(step, ss, ring)
}
