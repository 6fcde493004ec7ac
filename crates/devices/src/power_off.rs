//! A register that switches the machine off.

use crate::bytewise;
use crate::device::{Device, Effect};

/// The PM1 control register of QEMU's PIIX4, as far as small kernels use it: `outw 0x604, 0x2000` switches
/// off.
///
/// ACPI 6.5, 4.8.3.2.1 "PM1 Control Registers": bit 13 is `SLP_EN`, bits 10 to 12 are `SLP_TYP`. QEMU's type
/// for S5 is 0, and nothing but S5 is offered, so the type is not looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct PowerOff;

/// `SLP_EN`, in the register's second byte.
const SLP_EN: u8 = 0x20;

impl PowerOff {
    /// Ports it covers.
    pub const LEN: u64 = 2;
}

impl Device for PowerOff {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        bytewise::write(offset, data, |at, byte| {
            if at == 1 && byte & SLP_EN != 0 { Effect::PowerOff } else { Effect::None }
        })
    }
}

#[cfg(test)]
#[path = "power_off_test.rs"]
mod tests;
