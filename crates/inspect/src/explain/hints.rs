//! What to look at, where that is certain.

use strata_cpu::delivery::{DeliveryError, StackSource};
use strata_cpu::{Exception, VectorName, X86State};

use super::Explanation;
use crate::fault::{Fault, TargetError, UndefinedError, Why};

pub(super) fn of_fault(fault: &Fault, explanation: &mut Explanation) {
    match &fault.why {
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
            }
        }
        _ => {}
    }
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
        DeliveryError::Push { vector, .. } if *vector != Exception::DF.vector => {
            explanation.hint(format!("the stack: RSP was {:#x}", state.regs.rsp));
        }
        _ => {}
    }
}
