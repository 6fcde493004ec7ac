//! A very small kernel: a console, memory, a heap and a clock.

#![no_std]

extern crate alloc;

pub mod frames;
pub mod heap;
pub mod timer;
