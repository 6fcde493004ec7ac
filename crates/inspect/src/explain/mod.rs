//! Why a guest died, in plain words.
//!
//! [`explain`] takes how a machine stopped and the processor that did it, and gives an [`Explanation`]: what the last instruction
//! raised and why ([`fault::next`](crate::fault::next)), what became of that exception
//! ([`deliver_all`](strata_cpu::deliver_all)), what the stack and the last exits tell, and what to look at. Where there is
//! nothing to say it says little: a guest that ended well is not accused.

mod budget;
mod facts;
mod halt;
mod hints;
mod internal;
mod origin;
mod pages;
mod place;
mod registers;
mod report;
mod stack;
mod triple;

pub use facts::{Death, DeviceRange, Facts, LastExit};
pub use report::{Explanation, Kind, Sentence};

use strata_cpu::lint::{Limits, lint};
use strata_vmm::Stop;
use vm_memory::{Bytes, GuestAddress};

/// What KVM answers to a state that it does not take. `include/uapi/asm-generic/errno-base.h`.
const EINVAL: i32 = 22;

/// Explains how a guest ended.
pub fn explain<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Explanation {
    match death.stop {
        Stop::TripleFault => triple::explain(death),
        Stop::InternalError { suberror, data } => internal::explain(death, *suberror, data),
        Stop::FailEntry { .. } | Stop::VcpuFailed { errno: EINVAL, .. } => entry(death),
        Stop::MemoryFault { gpa, .. } => internal::memory_fault(death, *gpa),
        Stop::Halted => halt::explain(death),
        Stop::Budget(budget) => budget::explain(death, *budget),
        other => Explanation::neutral(Kind::Other, other.to_string()),
    }
}

/// A state that the processor refuses. What a processor of today's can do is taken for granted: a state that needs what the host's
/// lacks is not recognised.
fn entry<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Explanation {
    let headline = format!("the guest was not entered{}: {}", death.on_vcpu(), death.stop);
    let mut explanation = Explanation::neutral(Kind::FailedEntry, headline);
    let violations = lint(death.view.state(), &Limits::ALL);
    for violation in violations.iter().filter(|violation| violation.is_fatal()) {
        explanation.say(violation.to_string());
        explanation.hint(format!("the entry state: {}", violation.register));
        explanation.accusation = true;
    }
    explanation
}

#[cfg(test)]
#[path = "broken_test.rs"]
mod broken_tests;
#[cfg(test)]
#[path = "explain_test.rs"]
mod tests;
