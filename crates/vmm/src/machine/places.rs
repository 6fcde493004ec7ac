//! Where the devices of a machine are.

use strata_devices::{AddressSpace, Bus};

use super::Machine;
use crate::vcpu::Buses;

/// A range of ports or addresses that a device answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Ports, or guest-physical addresses.
    pub space: AddressSpace,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// The device's name.
    pub name: String,
}

impl Place {
    /// Whether the device answers `at` of `space`.
    #[inline]
    pub fn has(&self, space: AddressSpace, at: u64) -> bool {
        self.space == space && (self.first..=self.last).contains(&at)
    }
}

impl Machine {
    /// The devices that this machine's exits reach, by address, ports first. What KVM itself has, an interrupt controller
    /// for instance, is not among them.
    pub fn places(&self) -> Vec<Place> {
        let Buses { pio, mmio } = &*self.buses;
        let of = |space, bus: &Bus| -> Vec<_> {
            bus.iter()
                .map(|(first, last, name)| Place { space, first, last, name: name.to_owned() })
                .collect()
        };
        [of(AddressSpace::Pio, pio), of(AddressSpace::Mmio, mmio)].concat()
    }
}
