#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod cli;
pub mod death;
pub mod expect;
pub mod image;
pub mod interrupt;
pub mod output;
pub mod report;
pub mod run;
pub mod select;
pub mod settings;
pub mod suite;
