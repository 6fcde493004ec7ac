//! Guest-physical memory for virtual machine monitors on Linux, with or without the rest of Strata.
//!
//! * [`layout`]: every fixed guest-physical address, and RAM's place around the MMIO gap.
//! * [`ram`]: [`RamSpec`] (plain data) is built into [`Ram`]: mappings of the host, held as `vm-memory`
//!   regions.
//! * [`map`]: the typed memory map a guest is told of (e820).
//!
//! The crate knows no hypervisor: [`Ram::slots`] gives the numbers that
//! `KVM_SET_USER_MEMORY_REGION` wants, and the caller makes the call.
//!
//! [`vm_memory`] is re-exported, so that a user of this crate gets the very version whose traits
//! [`GuestMemory`] implements.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod layout;
pub mod map;
pub mod ram;

pub use map::{Entry, Kind, MemoryMap};
pub use ram::{
    Backing, DiscardError, GuestMemory, HugePageSize, MapFileError, Mapping, Piece, Ram, RamError, RamSpec,
    Slot,
};
pub use vm_memory;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
