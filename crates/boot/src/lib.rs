//! Loads an image into guest memory and returns, as data, the CPU state to enter it with.
//!
//! * [`flat`]: bytes as they are, in real, protected or long mode.
//! * [`elf`]: an ELF64 x86-64 executable, by its program headers, in long mode.
//! * [`linux`]: Linux, as an ELF file or a bzImage, by its 64-bit boot protocol.
//! * [`pvh`]: kernels with an entry for Xen's direct boot.
//! * [`multiboot`]: kernels with a multiboot header.
//! * [`detect`]: which of them a file is.
//! * [`acpi`]: the tables that tell a guest which devices and processors there are.
//!
//! What the kernels among them are handed (command line, initrd, memory map) is [`KernelOptions`]. An image
//! is anything that implements [`Image`]: bytes in memory, or a [`FileImage`], of which only the headers are
//! read before its bytes go to guest memory.
//!
//! A loader works on any [`vm_memory::GuestMemory`] and knows no hypervisor. It first plans everything it
//! will put into memory (image, page tables, GDT), checks that each lies in RAM and none on another, and only
//! then writes: a refused image leaves memory as it was. The image is not trusted; whatever its bytes, a
//! loader returns, and nothing outside RAM or outside [`Entry::loaded`] is written.
//!
//! ```
//! use strata_boot::flat::{self, FlatOptions};
//! use strata_cpu::Mode;
//! use strata_memory::RamSpec;
//!
//! let ram = RamSpec::new(64 << 10).build()?;
//! let entry = flat::load(ram.memory(), &[0xf4], &FlatOptions::new(Mode::Real16))?; // hlt
//! assert_eq!(entry.state.regs.rip, 0x7c00);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod acpi;
pub mod elf;
pub mod flat;
pub mod linux;
pub mod multiboot;
pub mod pvh;

mod cmdline;
mod enter;
mod entry;
mod format;
mod image;
mod kernel;
mod plan;
#[cfg(test)]
mod seeds_test;
#[cfg(test)]
mod testing;

pub use cmdline::{Cmdline, CmdlineError};
pub use enter::{EnterError, Paging};
pub use entry::{Entry, Loaded, What};
pub use format::{Format, ParseFormatError, detect};
pub use image::{FileImage, FileImageError, Image};
pub use kernel::{KernelError, KernelOptions};
pub use plan::PlaceError;
pub use strata_cpu;
pub use strata_memory::vm_memory;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
