//! The first instructions, and from them to Rust.

#![allow(unsafe_code, reason = "what runs before Rust, and what it hands over")]

use core::arch::global_asm;

use crate::machine;

global_asm!(include_str!("start.s"));

unsafe extern "Rust" {
    /// What [`entry!`](crate::entry) or [`test_main!`](crate::test_main) has defined.
    safe fn strata_guest_main() -> !;
}

/// Called by `start.s` once there are a stack and descriptor tables.
// SAFETY: nobody else defines this name.
#[unsafe(no_mangle)]
extern "C" fn strata_start(start_info: usize) -> ! {
    // SAFETY: PVH's contract: EBX held the address of the start info, or what a monitor without one left there.
    unsafe { machine::begin(start_info) };
    strata_guest_main()
}
