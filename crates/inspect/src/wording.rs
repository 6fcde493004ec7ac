//! Phrases that several reports share.

use std::fmt;

use strata_cpu::{FaultReason, WalkFault};

/// Why a walk failed, as a clause: `the PTE at 0x13050 is not present (P=0)`.
pub(crate) struct WalkCause<'a>(pub(crate) &'a WalkFault);

impl fmt::Display for WalkCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WalkFault { virt, cpl, why, at, .. } = self.0;
        match why {
            FaultReason::NonCanonical => return write!(f, "{virt:#x} is not canonical"),
            FaultReason::Unreadable { entry_at } => {
                return write!(f, "there is no RAM at {entry_at:#x}, where a page table should be");
            }
            _ => {}
        }
        match at {
            Some(step) => write!(f, "the {} at {:#x} ", step.level, step.entry_at)?,
            None => f.write_str("the page ")?,
        }
        match why {
            FaultReason::NotPresent => f.write_str("is not present (P=0)"),
            FaultReason::Reserved { bits } => write!(f, "has reserved bits {bits:#x} set"),
            FaultReason::ReadOnly if *cpl == 3 => f.write_str("is present but read-only (W=0)"),
            FaultReason::ReadOnly => f.write_str("is present but read-only (W=0), and CR0.WP is set"),
            FaultReason::NoExecute => f.write_str("forbids execution (NX=1)"),
            FaultReason::Supervisor => {
                write!(f, "is a supervisor page (U=0), and the guest was in ring {cpl}")
            }
            FaultReason::Smep => {
                write!(f, "is a user page (U=1), and CR4.SMEP is set: ring {cpl} may not execute it")
            }
            FaultReason::Smap => write!(
                f,
                "is a user page (U=1), and CR4.SMAP is set and RFLAGS.AC is not: ring {cpl} may not touch it"
            ),
            // Both were dealt with above.
            FaultReason::NonCanonical | FaultReason::Unreadable { .. } => why.fmt(f),
        }
    }
}
