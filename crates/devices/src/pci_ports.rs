//! Where a PC's PCI bus is configured, on a machine without one.

use crate::device::{DeviceMut, Effect};
use crate::saved::{RestoreError, Saveable};

/// The configuration ports of PCI (PCI Local Bus Specification 3.0, 3.2.2.3.2), behind which there is no device.
///
/// | offset | register |
/// | --- | --- |
/// | 0, four bytes at once | `CONFIG_ADDRESS`: which register of which device; it reads as it was written |
/// | 1, one byte | the reset control register of Intel's chipsets: writing bit 2 resets the machine |
/// | 4 to 7 | `CONFIG_DATA`: ones, the answer of no device |
///
/// A kernel that is built for PCI looks here first. What it finds is an empty bus, which is nothing to complain of; where
/// there is nothing at all, Linux does. By custom the ports are 0xcf8 to 0xcff.
#[derive(Debug, Clone, Copy, Default)]
pub struct PciPorts {
    address: u32,
}

/// `RST_CPU` in the reset control register.
const RESET: u8 = 1 << 2;
/// `CONFIG_ADDRESS` bits that are wired to 0: reserved ones, and the byte within a register.
const WIRED: u32 = 0x7f00_0003;

impl PciPorts {
    /// Ports it covers.
    pub const LEN: u64 = 8;
}

impl DeviceMut for PciPorts {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        match (offset, data.len()) {
            (0, 4) => data.copy_from_slice(&self.address.to_le_bytes()),
            _ => data.fill(0xff),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        match (offset, data) {
            (0, &[a, b, c, d]) => self.address = u32::from_le_bytes([a, b, c, d]) & !WIRED,
            (1, &[control]) if control & RESET != 0 => return Effect::Reset,
            _ => {}
        }
        Effect::None
    }
}

/// The state of [`PciPorts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciPortsV1 {
    /// `CONFIG_ADDRESS`.
    pub address: u32,
}

impl Saveable for PciPorts {
    type State = PciPortsV1;

    fn save(&self) -> PciPortsV1 {
        let &Self { address } = self;
        PciPortsV1 { address }
    }

    fn restore(&mut self, state: &PciPortsV1) -> Result<(), RestoreError> {
        let &PciPortsV1 { address } = state;
        self.address = address & !WIRED;
        Ok(())
    }
}

#[cfg(test)]
#[path = "pci_ports_test.rs"]
mod tests;
