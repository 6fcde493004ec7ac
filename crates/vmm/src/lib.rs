//! A KVM virtual machine as a library: configuration and devices in, a typed outcome out.
//!
//! ```text
//! Config ─► Machine::builder ─► build ─► run ─► Outcome { stop, vCPUs, RAM }
//!                                         │
//!                            KVM_RUN ─► Exit ─► Bus ─► Effect ─► Stop
//! ```
//!
//! [`machine`] is the one recipe that assembles the layers; [`vcpu`] is the loop that runs a processor; [`kvm`] is the
//! only place that talks to KVM; [`config`] is the plain data that all of it is made from. [`file_fault`] maps kernels
//! into RAM and outlives their files' shrinking, `kernel_cache` (feature `unpack`) keeps unpacked ones, [`host`] says what
//! a host can do.
//!
//! # Examples
//!
//! Sixteen bits of code, a device of one's own, and how it ended:
//!
//! ```no_run
//! use std::sync::{Arc, Mutex};
//! use strata_vmm::devices::{DeviceMut, Effect};
//! use strata_vmm::{Config, Machine, Stop};
//!
//! /// Powers the machine off once it has counted three writes.
//! struct Three(u32);
//!
//! impl DeviceMut for Three {
//!     fn read(&mut self, _offset: u64, data: &mut [u8]) {
//!         data.fill(self.0 as u8);
//!     }
//!     fn write(&mut self, _offset: u64, _data: &[u8]) -> Effect {
//!         self.0 += 1;
//!         if self.0 == 3 { Effect::PowerOff } else { Effect::None }
//!     }
//! }
//!
//! let config = Config::from_toml("mode = \"real16\"\n[memory]\nsize = \"64K\"")?;
//! let outcome = Machine::builder(config)
//!     .image(*b"\xe6\x10\xeb\xfc") // again: out 0x10, al; jmp again
//!     .pio_device(0x10, 1, "three", Arc::new(Mutex::new(Three(0))))
//!     .build()?
//!     .run()?;
//! assert_eq!(outcome.stop, Stop::PowerOff);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

#[cfg(any(test, feature = "cassette"))]
pub mod cassette;
pub mod config;
pub mod file_fault;
pub mod host;
#[cfg(feature = "unpack")]
pub mod kernel_cache;
pub mod kvm;
pub mod machine;
pub mod saved;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vcpu;

pub use config::{Config, ConfigError};
pub use machine::{BuildError, EntryWarning, Machine, MachineBuilder, Outcome, RunError};
pub use vcpu::{Budget, Control, Exit, ExitLog, NoTrace, Stop, Tracer};

pub use event_manager;
pub use strata_backends as backends;
pub use strata_boot as boot;
pub use strata_cpu as cpu;
pub use strata_devices as devices;
pub use strata_memory as memory;
pub use strata_memory::vm_memory;
/// The TOML of [`Config::from_toml`]'s errors.
pub use toml;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
