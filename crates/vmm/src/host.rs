//! What this host can do for guests, and how well: the library part of `strata doctor`.
//!
//! ```text
//! /sys, /proc, /dev/kvm ─► Facts ─► Diagnosis { checks, features, limits, findings }
//! ```
//!
//! [`Facts`] are plain data, so that a report from another machine can be read as well as this one;
//! [`Diagnosis::of`] is a pure function of them. [`CpuidReport`] is another of what KVM says of its CPUID.
//!
//! # Examples
//!
//! ```
//! use std::path::Path;
//! use strata_vmm::host::{Diagnosis, Facts, probe};
//!
//! let diagnosis = Diagnosis::of(&Facts::gather(Path::new("/"), probe));
//! if !diagnosis.can_run_guests {
//!     eprintln!("{}", diagnosis.headline);
//! }
//! ```

mod blocked;
mod cpuid;
mod debugging;
mod diagnosis;
mod facts;
mod features;
mod gather;
mod slow;

pub use cpuid::{BitChange, CpuidReport, NOT_IN_BASELINE, NumberChange, ProbeCpuidError, probe_cpuid};
pub use debugging::{DebugAbilities, ProbeDebugError, probe_debugging};
pub use diagnosis::{Check, CheckState, Diagnosis, FeatureState, Finding, Level, Limits, Virtualisation};
pub use facts::{
    Access, Answers, Cpu, Facts, HugePages, Memory, Module, Modules, Node, TransparentHugePages, User,
};
pub use gather::probe;
