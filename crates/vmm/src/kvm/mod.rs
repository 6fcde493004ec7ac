//! The only place that talks to KVM: file descriptors, ioctls, and nothing else.
//!
//! Every call goes through [`Calls`], so that one observer can print it (`strata run --show-ioctls`) or make
//! it fail (fault injection in tests). Nothing in here knows what a device is.

mod calls;
mod capabilities;
mod cpuid;
mod debug;
mod irq;
mod kick;
mod kick_protocol;
mod kvm_run;
mod open;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod soft_kick;
mod strace;
mod vcpu;
mod vm;

pub use calls::{CallError, CallRecord, Calls, Probe};
pub use capabilities::Capability;
pub use cpuid::GuestCpuidError;
pub use debug::{GuestDebug, Watchpoint};
pub use irq::{IrqError, IrqFdLine, IrqIoctlLine};
pub use kick::VcpuKicker;
pub use open::{API_VERSION, Kvm, OpenError};
#[cfg(any(test, feature = "testing"))]
pub(crate) use soft_kick::SoftKick;
pub use strace::StraceLog;
pub use vcpu::KvmVcpu;
pub use vm::{SlotFlags, Vm};

/// The binding structs that appear in this module's public API, from the exact version it was built with.
pub use kvm_bindings;
/// The wrappers this module is built on, from the exact version it was built with.
pub use kvm_ioctls;
