//! A port that a guest's kernel panics through.

use crate::bytewise;
use crate::device::{Device, Effect};

/// QEMU's pvpanic device on the ISA bus (QEMU, docs/specs/pvpanic.rst): a kernel that panics writes to its
/// one port what has happened.
///
/// | bit | event | effect |
/// | --- | --- | --- |
/// | 0 | the kernel has panicked, and that is the end | [`Effect::Panicked`] |
/// | 1 | the kernel has panicked, and a crash kernel takes over | [`Effect::CrashLoaded`] |
///
/// Where both are set the first counts. A read gives the events that the device knows: Linux' driver sends no
/// others. Linux finds it through ACPI, as `QEMU0001`; by custom the port is 0x505. Its driver is a module in
/// most distributions: a panic before it was loaded is not told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pvpanic;

const PANICKED: u8 = 1 << 0;
const CRASH_LOADED: u8 = 1 << 1;

impl Pvpanic {
    /// How many ports it takes.
    pub const LEN: u64 = 1;
}

impl Device for Pvpanic {
    fn read(&self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| if at == 0 { PANICKED | CRASH_LOADED } else { 0xff });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        bytewise::write(offset, data, |at, byte| {
            if at != 0 {
                Effect::None
            } else if byte & PANICKED != 0 {
                Effect::Panicked
            } else if byte & CRASH_LOADED != 0 {
                Effect::CrashLoaded
            } else {
                Effect::None
            }
        })
    }
}

#[cfg(test)]
#[path = "pvpanic_test.rs"]
mod tests;
