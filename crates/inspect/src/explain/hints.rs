//! What to look at, where that is certain.

use strata_cpu::delivery::{DeliveryError, StackSource};
use strata_cpu::{AccessKind, Exception, VectorName, X86State};
use vm_memory::{Bytes, GuestAddress};

use super::Explanation;
use crate::View;
use crate::fault::{
    ControlError, Fault, OperandError, SelectorError, Table, TargetError, UndefinedError, Why,
};

/// Of the instruction's own fault, which comes before all that was done about it.
pub(super) fn of_fault<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    fault: &Fault,
    explanation: &mut Explanation,
) {
    match &fault.why {
        Why::Walk(walk) => super::pages::hint(view, walk, explanation),
        Why::Control(error) => of_control(view.state(), error, explanation),
        Why::Operand(OperandError::Misaligned { address, to: 16 }) => misaligned(view.state(), *address, explanation),
        Why::Operand(OperandError::NonCanonical { address }) => non_canonical(*address, explanation),
        Why::Selector(error) => of_selector(view, error, explanation),
        Why::Undefined(UndefinedError::NoOsfxsr) => explanation.hint(
            "CR4.OSFXSR (bit 9) and CR4.OSXMMEXCPT (bit 10), which switch SSE on; or a compiler target without SSE",
        ),
        Why::Undefined(UndefinedError::NoOsxsave) => {
            explanation.hint("CR4.OSXSAVE (bit 18), then XCR0 by xsetbv, which switch AVX on");
        }
        Why::Undefined(UndefinedError::NoSyscall) => {
            explanation.hint("EFER.SCE (bit 0), STAR, LSTAR and SFMASK, which switch system calls on");
        }
        Why::Target(TargetError::NonCanonical { target }) => {
            let bytes = target.to_le_bytes();
            if bytes.iter().all(u8::is_ascii_graphic) {
                let text = String::from_utf8_lossy(&bytes);
                explanation.hint(format!("{target:#x} is the text {text:?}: data lies where an address should be"));
            } else {
                non_canonical(*target, explanation);
            }
        }
        _ => {}
    }
}

fn of_control(state: &X86State, error: &ControlError, explanation: &mut Explanation) {
    match error {
        ControlError::PaeCleared => explanation.hint(format!(
            "the value for CR4: CR4.PAE (bit 5) has to stay set while CR0.PG and EFER.LME are; CR4 is {:#x}, read it and \
             change only the bits that are meant",
            state.cr4.bits()
        )),
        ControlError::Reserved { register, bits } => {
            let named: Vec<_> = (0..64).filter(|bit| bits >> bit & 1 != 0).map(|bit: u32| bit.to_string()).collect();
            let (noun, are) = if named.len() == 1 { ("bit", "is") } else { ("bits", "are") };
            let named = named.join(", ");
            let known = if *register == "EFER" {
                "; it has SCE (bit 0), LME (8), LMA (10) and NXE (11)"
            } else {
                ""
            };
            explanation.hint(format!("the value for {register}: {noun} {named} {are} reserved{known}"));
        }
        _ => {}
    }
}

/// An operand of SSE's.
fn misaligned(state: &X86State, address: u64, explanation: &mut Explanation) {
    /// A local variable lies a few pages from RSP at most; what is elsewhere was not placed by RSP.
    const NEAR: u64 = 0x4000;
    let rsp = state.regs.rsp;
    if address.abs_diff(rsp) <= NEAR && rsp % 16 == 8 && address % 16 == 8 {
        explanation.hint(format!(
            "RSP, {rsp:#x}: it is 8 off a multiple of 16, as it is after a call; compiled code wants a multiple of 16 \
             before each call"
        ));
    } else {
        explanation.hint(format!(
            "the alignment of what lies at {address:#x}: it is {} off a multiple of 16; movups takes any address",
            address % 16
        ));
    }
}

/// A pointer that has more bits than an address.
pub(super) fn non_canonical(address: u64, explanation: &mut Explanation) {
    const ADDRESS: u32 = 48;
    let low = address << (64 - ADDRESS) >> (64 - ADDRESS);
    if low >> (ADDRESS - 1) == 0 {
        explanation.hint(format!(
            "the pointer {address:#x}: its bits 63 to 47 have to be equal; without those above it is {low:#x}"
        ));
    } else {
        explanation.hint(format!("the pointer {address:#x}: its bits 63 to 47 have to be equal"));
    }
}

fn of_selector<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    error: &SelectorError,
    explanation: &mut Explanation,
) {
    if let Some(left) = error_code_left(view) {
        explanation.hint(format!(
            "the frame of iretq: the error code {left:#x} is still on the stack, and RIP, CS and RFLAGS lie one word above; \
             add rsp, 8 before iretq"
        ));
        return;
    }
    let state = view.state();
    match error {
        SelectorError::Beyond { selector, table: Table::Gdt, limit } => explanation.hint(format!(
            "selector {selector:#x}, of entry {} of the GDT: that ends with entry {}; GDTR has base {:#x}, limit {limit:#x}",
            selector >> 3,
            (limit.saturating_add(1) / 8).saturating_sub(1),
            state.gdt.base
        )),
        SelectorError::Kind { selector, at, .. } | SelectorError::NotPresent { selector, at } => {
            explanation.hint(format!("selector {selector:#x}, and the descriptor at {at:#x}"));
        }
        _ => {}
    }
}

/// The error code on top of the stack of an `iretq`, where it is certain that there is one: the word is a small number, no
/// address of code, and one word above it lies a frame whose CS is the selector of 64-bit code in use, whose RFLAGS has the bit
/// that is always set, and whose RIP is mapped.
fn error_code_left<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Option<u64> {
    let state = view.state();
    let is_iretq = crate::disasm::at(view, view.rip(), None)?.text == "iretq";
    if !is_iretq {
        return None;
    }
    let mut words = [0; 4];
    for (word, n) in words.iter_mut().zip(0..) {
        let mut bytes = [0; 8];
        let at = state.regs.rsp.wrapping_add(n * 8);
        if view.read(at, &mut bytes) != bytes.len() {
            return None;
        }
        *word = u64::from_le_bytes(bytes);
    }
    let [code, rip, cs, rflags] = words;
    let is_frame = cs == u64::from(state.cs.selector)
        && rflags & 2 != 0
        && rflags >> 22 == 0
        && view.translate(rip, AccessKind::Fetch).is_ok();
    (code <= 0xffff && is_frame).then_some(code)
}

/// Of the first delivery that failed.
pub(super) fn of_delivery(state: &X86State, error: &DeliveryError, explanation: &mut Explanation) {
    let idt = format!("IDTR has base {:#x}, limit {:#x}", state.idt.base, state.idt.limit);
    match error {
        DeliveryError::BeyondIdt { vector, .. } => {
            explanation
                .hint(format!("lidt: {idt}, and a handler of {} needs entry {vector}", VectorName(*vector)));
        }
        DeliveryError::NotPresent { vector, .. } | DeliveryError::NotAGate { vector, .. } => {
            explanation.hint(format!("the handler of {}: {idt}", VectorName(*vector)));
        }
        DeliveryError::IdtUnreadable { .. } => explanation.hint(format!("lidt: {idt}")),
        DeliveryError::NoTss { .. }
        | DeliveryError::TssTooShort { .. }
        | DeliveryError::TssUnreadable { .. } => {
            explanation
                .hint(format!("ltr: TR has selector {:#x}, base {:#x}", state.tr.selector, state.tr.base));
        }
        DeliveryError::Code { .. } => explanation.hint(format!(
            "lgdt and the gates: GDTR has base {:#x}, limit {:#x}",
            state.gdt.base, state.gdt.limit
        )),
        DeliveryError::Push { source_of: StackSource::Tss { tss, .. }, .. } if tss.null => {
            explanation.hint("ltr: nobody has loaded the task register");
        }
        DeliveryError::Push { source_of: StackSource::Tss { field, tss, .. }, .. } => {
            explanation.hint(format!("{field} in {tss}"));
        }
        // The fault itself may have been the stack's.
        DeliveryError::Push { vector, .. }
            if *vector != Exception::DF.vector
                && !explanation.hints.iter().any(|hint| hint.starts_with("the stack: ")) =>
        {
            explanation.hint(format!("the stack: RSP was {:#x}", state.regs.rsp));
        }
        _ => {}
    }
}
