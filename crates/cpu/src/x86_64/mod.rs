//! The x86 architecture: 16-bit real mode, 32-bit protected mode and 64-bit long mode.
//!
//! Nothing here depends on the machine that runs it: the module compiles, and its tests pass, on any host.

pub mod cpuid;
pub mod delivery;
pub mod descriptor;
pub mod exception;
pub mod flags;
pub mod fpu;
pub mod gdt;
pub mod idt;
#[cfg(all(feature = "kvm", target_arch = "x86_64"))]
pub mod kvm;
pub mod lapic;
pub mod lint;
pub mod mode;
pub mod msr;
pub mod paging;
pub mod segment;
pub mod state;
pub mod tss;
