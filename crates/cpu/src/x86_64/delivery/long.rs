//! Long mode: 64-bit gates, whatever the code was that raised the exception. SDM 3A 7.14; APM 2 8.9.

use super::{
    Delivered, DeliveryError, DeliveryFault, HandlerError, PushError, StackSource, TssField,
    cpu::{Code, Cpu, Stack, accessed, raise},
};
use crate::x86_64::{exception::Exception, flags::RFlags, segment::Segment};

/// SDM 3A 7.14.1, figure 7-8.
const GATE_BYTES: u16 = 16;
/// Bytes of a word of the frame. SDM 3A 7.14.2.
const WORD: u64 = 8;
/// What the stack is aligned to before the first word. SDM 3A 7.14.2.
const ALIGNMENT: u64 = 16;

/// A gate as it was read.
struct Gate {
    at: u64,
    selector: u16,
    offset: u64,
    ist: u8,
    /// Clears RFLAGS.IF.
    interrupt: bool,
}

pub(super) fn deliver<R: FnMut(u64) -> Option<u64>>(
    cpu: &mut Cpu<'_, R>,
) -> Result<Delivered, DeliveryFault> {
    let gate = gate(cpu)?;
    let code = cpu.code_segment(gate.selector)?;
    let inner = code.cpl < cpu.cpl();
    let stack = stack(cpu, &gate, &code, inner)?;
    let top = stack.pointer & !(ALIGNMENT - 1);
    // SS, RSP, RFLAGS, CS, RIP, and what some exceptions have. SDM 3A figure 7-9.
    let words = 5 + u64::from(cpu.exception.error_code.is_some());
    let addresses = || (1..=words).map(|n| top.wrapping_sub(n * WORD));
    if let Some(at) = addresses().find(|at| !cpu.canonical(*at)) {
        return Err(raise(stack.overflow, cpu.no_room(&stack, PushError::NonCanonical { at })));
    }
    if !cpu.canonical(gate.offset) {
        let (vector, why) = (cpu.vector(), HandlerError::NonCanonical);
        let why = DeliveryError::Handler { vector, handler: gate.offset, why };
        return Err(raise(Exception::gp(cpu.ext()), why));
    }
    cpu.push(&stack, code.cpl, addresses().map(|at| (at, WORD)))?;

    let mut mask = RFlags::NT | RFlags::VM;
    mask.set(RFlags::IF, gate.interrupt);
    let mut after = cpu.entered(mask);
    after.cs = accessed(code.segment);
    after.cs.selector = gate.selector & !3 | u16::from(code.cpl);
    after.regs.rip = gate.offset;
    after.regs.rsp = top.wrapping_sub(words * WORD);
    after.ss = stack.ss;
    Ok(Delivered {
        handler: gate.offset,
        stack: after.regs.rsp,
        cpl: code.cpl,
        entry_at: gate.at,
        handler_fetch: cpu.can_fetch(gate.offset, code.cpl),
        state: Box::new(after),
    })
}

/// SDM 2A "INT n", IA-32e-MODE.
fn gate<R: FnMut(u64) -> Option<u64>>(cpu: &mut Cpu<'_, R>) -> Result<Gate, DeliveryFault> {
    let (vector, state) = (cpu.vector(), cpu.state);
    let refused = Exception::gp(cpu.entry_code());
    let offset = u16::from(vector) * GATE_BYTES;
    let limit = state.idt.limit;
    if offset + (GATE_BYTES - 1) > limit {
        return Err(raise(refused, DeliveryError::BeyondIdt { vector, limit }));
    }
    let at = state.idt.base.wrapping_add(offset.into());
    let words = cpu.load(at, 8).and_then(|low| Ok((low, cpu.load(at.wrapping_add(8), 8)?)));
    let (low, high) = words.map_err(|cause| DeliveryFault {
        raised: cause.raises(refused),
        why: DeliveryError::IdtUnreadable { vector, at, cause },
    })?;
    let (kind, dpl, present) = ((low >> 40 & 0x1f) as u8, (low >> 45 & 3) as u8, low >> 47 & 1 != 0);
    if !matches!(kind, 0xe | 0xf) {
        return Err(raise(refused, DeliveryError::NotAGate { vector, at, kind, present }));
    }
    let cpl = cpu.cpl();
    if cpu.software() && dpl < cpl {
        return Err(raise(refused, DeliveryError::NotAdmitted { vector, at, dpl, cpl }));
    }
    if !present {
        let raised = Exception::with_code(11, cpu.entry_code());
        return Err(raise(raised, DeliveryError::NotPresent { vector, at }));
    }
    Ok(Gate {
        at,
        selector: (low >> 16 & 0xffff) as u16,
        offset: low & 0xffff | low >> 32 & 0xffff_0000 | high << 32,
        ist: (low >> 32 & 7) as u8,
        interrupt: kind == 0xe,
    })
}

/// The gate's own stack, or that of the handler's ring, or the one in use. SDM 3A 7.14.4, 7.14.5.
fn stack<R: FnMut(u64) -> Option<u64>>(
    cpu: &mut Cpu<'_, R>,
    gate: &Gate,
    code: &Code,
    inner: bool,
) -> Result<Stack, DeliveryFault> {
    let state = cpu.state;
    let overflow = Exception::with_code(12, cpu.ext());
    // SDM 3A 9.7, figure 9-11.
    let (field, offset) = match (gate.ist, inner) {
        (0, false) => {
            let from = StackSource::Current;
            return Ok(Stack { ss: state.ss, pointer: state.regs.rsp, from, overflow });
        }
        (0, true) => (TssField::Rsp(code.cpl), u64::from(code.cpl) * 8 + 4),
        (ist, _) => (TssField::Ist(ist), u64::from(ist) * 8 + 28),
    };
    let pointer = cpu.tss(field, offset, (8, 8))?;
    let from = StackSource::Tss { field, tss: cpu.tss_at(), value: pointer };
    // A new ring gets a null selector with its number. SDM 3A 7.14.4.
    let null = Segment { selector: code.cpl.into(), dpl: code.cpl, ..Segment::null() };
    Ok(Stack { ss: if inner { null } else { state.ss }, pointer, from, overflow })
}

#[cfg(test)]
#[path = "long_test.rs"]
mod tests;
