//! I/O ports (SDM vol. 1, chapter 20).
//!
//! They can be used at ring 0 only: anywhere else, so in a program of an operating system, each of these is a general
//! protection fault.

#![allow(unsafe_code, reason = "instructions that Rust has no words for")]

use core::arch::asm;

macro_rules! accesses {
    ($read:ident $write:ident $type:ty, $register:tt, $bits:literal) => {
        #[doc = concat!("Reads ", $bits, " bits from `port`.")]
        ///
        /// # Safety
        ///
        /// What a device does when it is read is up to the device: nothing that Rust relies on may depend on it.
        #[inline]
        pub unsafe fn $read(port: u16) -> $type {
            let value;
            // SAFETY: the caller knows the device; the instruction itself touches no memory.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                    options(nomem, nostack, preserves_flags));
            }
            value
        }

        #[doc = concat!("Writes ", $bits, " bits to `port`.")]
        ///
        /// # Safety
        ///
        /// What a device does with it is up to the device, which may write to memory.
        #[inline]
        pub unsafe fn $write(port: u16, value: $type) {
            // SAFETY: the caller knows the device. It may look at memory, which is why this may not be moved past
            // accesses to it.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                    options(nostack, preserves_flags));
            }
        }
    };
}

accesses!(read_u8 write_u8 u8, "al", "8");
accesses!(read_u16 write_u16 u16, "ax", "16");
accesses!(read_u32 write_u32 u32, "eax", "32");

/// Writes `bytes` one after the other to `port`, by one instruction: a monitor sees one exit.
///
/// # Safety
///
/// As for [`write_u8`].
#[inline]
pub unsafe fn write_bytes(port: u16, bytes: &[u8]) {
    // SAFETY: the caller knows the device; the instruction reads the slice and nothing else.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(readonly, nostack, preserves_flags));
    }
}
