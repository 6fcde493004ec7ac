//! Where devices are, by name.

use strata_vmm::devices::AddressSpace;
pub use strata_vmm::machine::Place;
use strata_vmm::vcpu::Exit;

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
