#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod exit;
pub mod interrupts;
pub mod machine;
mod panic;
pub mod port;
pub mod serial;
#[cfg(target_os = "none")]
mod start;
pub mod test;

pub use exit::{Verdict, exit};
