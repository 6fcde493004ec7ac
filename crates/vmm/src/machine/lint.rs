//! What can be told of a guest's end before its first instruction.

use std::fmt;

use strata_cpu::lint::{Limits, MemoryFinding, Violation, lint, lint_memory};
use strata_cpu::{Cpuid, X86State};
use strata_memory::Ram;
use strata_memory::vm_memory::{Bytes as _, GuestAddress};

use super::BuildError;

/// Something about the state a guest is entered with that may be what it dies of. `Display` is one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryWarning {
    /// A rule that KVM lets pass.
    State(Violation),
    /// Something that the state points to and that is not there.
    Memory(MemoryFinding),
}

impl fmt::Display for EntryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(violation) => violation.fmt(f),
            Self::Memory(finding) => finding.fmt(f),
        }
    }
}

/// Refuses a state that KVM or a processor would refuse; what else can be said against it is returned.
pub(super) fn check_state(state: &X86State, cpuid: &Cpuid) -> Result<Vec<EntryWarning>, BuildError> {
    let violations = lint(state, &Limits::of(cpuid));
    if violations.iter().any(Violation::is_fatal) {
        return Err(BuildError::EntryState { violations });
    }
    Ok(violations.into_iter().map(EntryWarning::State).collect())
}

/// What `state` points to and is not in `ram`.
pub(super) fn check_memory(state: &X86State, ram: &Ram) -> impl Iterator<Item = EntryWarning> {
    let read = |at| ram.memory().read_obj(GuestAddress(at)).ok().map(u64::from_le);
    lint_memory(read, state).into_iter().map(EntryWarning::Memory)
}

/// One sentence after the other.
pub(super) struct Sentences<'a>(pub(super) &'a [Violation]);

impl fmt::Display for Sentences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for violation in self.0 {
            write!(f, "{separator}{violation}")?;
            separator = "; ";
        }
        Ok(())
    }
}
