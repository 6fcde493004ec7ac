//! Looks into a guest: what it does, and why it died.
//!
//! A guest that stands still is a [`View`]: its memory and the registers of one of its processors. Everything here that
//! explains, disassembles or draws takes one, so that it serves any VMM; what watches a guest while it runs is a
//! [`Tracer`](strata_vmm::Tracer) of `strata-vmm`'s.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod clock;
pub mod core;
pub mod disasm;
pub mod explain;
pub mod fault;
pub mod flight;
#[cfg(feature = "gdb")]
pub mod gdb;
pub mod map;
pub mod postmortem;
pub mod profile;
pub mod stats;
pub mod symbols;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod view;

pub use disasm::Instruction;
pub use map::Map;
pub use symbols::Symbols;
pub use view::View;

#[cfg(test)]
mod seeds_test;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
