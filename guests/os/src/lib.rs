//! A very small kernel: a console, memory, a heap and a clock.

#![no_std]
#![cfg_attr(test, no_main)]

extern crate alloc;

// With `cargo test` the library is a program of the tests in it.
#[cfg(test)]
strata_guest::test_main!();

pub mod frames;
pub mod heap;
pub mod timer;
