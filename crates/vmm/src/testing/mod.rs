//! vCPUs without KVM: to test exit handling and devices where there is no `/dev/kvm`, or against failures that a real
//! one shows too seldom (feature `testing`).
//!
//! [`ScriptedVcpu`] plays exits, states and failures that a test writes down; [`Replay`] plays a recorded run
//! ([`cassette`](crate::cassette)). Both implement [`Vcpu`], as KVM's own does, and [`conformance`] is the suite that
//! all three pass.

pub mod conformance;
mod replay;
mod script;

pub use replay::{Replay, ReplayError};
pub use script::{Act, ScriptedVcpu};

#[allow(unused_imports, reason = "for the documentation")]
use crate::vcpu::Vcpu;
