//! Where devices are, by name.

use strata_vmm::devices::AddressSpace;
pub use strata_vmm::machine::Place;
use strata_vmm::vcpu::Exit;
use strata_vmm::vcpu::{Buses, Exit};

/// A range of addresses that a device answers, with the device's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Ports or guest-physical addresses.
    pub space: AddressSpace,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The device, as messages call it.
    pub name: String,
}

impl Place {
    /// The places of all devices on a machine's buses.
    pub fn of(buses: &Buses) -> Vec<Self> {
        let on = |space, bus: &strata_vmm::devices::Bus| {
            let places =
                bus.iter().map(|(first, last, name)| Self { space, first, last, name: name.to_owned() });
            places.collect::<Vec<_>>()
        };
        [on(AddressSpace::Pio, &buses.pio), on(AddressSpace::Mmio, &buses.mmio)].concat()
    }

    /// Whether an address is among them.
    #[inline]
    pub fn has(&self, space: AddressSpace, at: u64) -> bool {
        self.space == space && (self.first..=self.last).contains(&at)
    }
}

/// The place of an address: the device's index in `places`.
#[inline]
pub(crate) fn find(places: &[Place], space: AddressSpace, at: u64) -> Option<usize> {
    places.iter().position(|place| place.has(space, at))
}

/// The address of an exit that has one.
#[inline]
pub(crate) fn address(exit: &Exit<'_>) -> Option<(AddressSpace, u64)> {
    match exit {
        Exit::PioRead { port, .. } | Exit::PioWrite { port, .. } => {
            Some((AddressSpace::Pio, u64::from(*port)))
        }
        Exit::MmioRead { addr, .. } | Exit::MmioWrite { addr, .. } => Some((AddressSpace::Mmio, *addr)),
        _ => None,
    }
}
