//! The port that ends the machine: QEMU's isa-debug-exit, by its habitual port.
//!
//! A monitor turns the value into an exit status, QEMU into `value << 1 | 1`. The two values of [`Verdict`] are those
//! that bare-metal Rust has used since "Writing an OS in Rust": statuses 33 and 35. `strata-test` knows them.

#![allow(unsafe_code, reason = "a port, and instructions that wait for ever")]

use core::arch::asm;

use crate::port;

/// Where QEMU's isa-debug-exit lies by custom.
pub const PORT: u16 = 0xf4;

/// How it went, by the value that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// All is well: status 33 of QEMU, 0 of `strata-test`.
    Success = 0x10,
    /// Something is not: status 35, a failed test.
    Failure = 0x11,
}

/// Ends the machine.
pub fn exit(verdict: Verdict) -> ! {
    exit_with(verdict as u32)
}

/// Ends the machine with any value. Where there is no such port, halts for good.
pub fn exit_with(value: u32) -> ! {
    // SAFETY: the device ends the machine, and whatever else is there does not write to memory.
    unsafe { port::write_u32(PORT, value) };
    loop {
        // SAFETY: nothing comes after.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
