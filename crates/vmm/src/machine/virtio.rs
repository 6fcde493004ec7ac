//! Virtio devices: opened first, so that what is wrong with them is known before there is a machine; told to the guest;
//! and plugged in.

mod open;
mod workers;

use std::fmt;
use std::sync::{Arc, Mutex};

use event_manager::MutEventSubscriber;
use strata_boot::acpi::AcpiDevice;
use strata_devices::Bus;
use strata_devices::virtio::{VirtioDevice, VirtioMmio};
use strata_memory::{GuestMemory, Ram, layout};

use super::BuildError;
use crate::config::Config;
use crate::kvm::{IrqFdLine, Vm};

pub use open::DeviceError;
pub(super) use open::{Handles, Opened, Stdio, open};
pub(super) use workers::Workers;

/// The guest's memory, as its devices hold it.
pub type DeviceMemory = Arc<GuestMemory>;

/// What runs on an event loop.
pub(super) type Subscriber = Box<dyn MutEventSubscriber + Send>;

/// A virtio device that is ready to be plugged in.
pub struct VirtioPart {
    name: String,
    device: Box<dyn VirtioDevice<DeviceMemory>>,
    /// Workers with a thread each.
    pub(super) threads: Vec<Subscriber>,
    /// Workers on the machine's own event loop.
    pub(super) shared: Vec<Subscriber>,
}

impl fmt::Debug for VirtioPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioPart").field("name", &self.name).finish_non_exhaustive()
    }
}

impl VirtioPart {
    /// A device under a name that people see: in messages, and at its threads.
    pub fn new(name: impl Into<String>, device: Box<dyn VirtioDevice<DeviceMemory>>) -> Self {
        Self { name: name.into(), device, threads: Vec::new(), shared: Vec::new() }
    }

    /// Gives each of these workers a thread: for devices whose speed counts.
    #[must_use]
    pub fn threads(mut self, workers: Vec<Subscriber>) -> Self {
        self.threads.extend(workers);
        self
    }

    /// Its workers with threads, each with the name of its thread: the device's, numbered if there are several.
    pub(super) fn take_threads(&mut self) -> Vec<(String, Subscriber)> {
        let (name, alone) = (self.name.clone(), self.threads.len() == 1);
        let names = (0..).map(|number| if alone { name.clone() } else { format!("{name}.{number}") });
        names.zip(self.threads.drain(..)).collect()
    }

    /// Runs these workers on the machine's event loop, beside others: for devices that have little to do.
    #[must_use]
    pub fn shared(mut self, workers: Vec<Subscriber>) -> Self {
        self.shared.extend(workers);
        self
    }
}

/// Where a device is: its registers and its interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) gsi: u32,
}

/// Interrupts for virtio devices, each with one of its own: edges cannot be told apart on a shared one. First those that
/// no PC has a use for, then those whose usual devices are not here.
const GSIS: [u32; 16] = [16, 17, 18, 19, 20, 21, 22, 23, 5, 6, 7, 10, 11, 12, 14, 15];

/// Places for `count` devices; `taken` are interrupts that others have.
pub(super) fn places(count: usize, taken: &[u32]) -> Result<Vec<Place>, DeviceError> {
    let free = GSIS.into_iter().filter(|gsi| !taken.contains(gsi));
    let places: Vec<_> = (layout::VIRTIO_MMIO..)
        .step_by(usize::try_from(layout::PAGE_SIZE).unwrap_or(usize::MAX))
        .zip(free)
        .map(|(address, gsi)| Place { address, gsi })
        .take(count)
        .collect();
    if places.len() < count {
        return Err(DeviceError::TooMany { count, most: places.len() });
    }
    Ok(places)
}

impl Place {
    /// How the guest is told of it.
    pub(super) fn acpi(self) -> AcpiDevice {
        // The gap below 4 GiB, where all of them are.
        let address = u32::try_from(self.address).unwrap_or(u32::MAX);
        AcpiDevice::VirtioMmio {
            address,
            len: u32::try_from(VirtioMmio::LEN).unwrap_or(u32::MAX),
            gsi: self.gsi,
        }
    }

    /// How a Linux without ACPI is told of it (Documentation/admin-guide/kernel-parameters.txt, `virtio_mmio.device`).
    pub(super) fn cmdline(self) -> String {
        format!("virtio_mmio.device=4K@{:#x}:{}", self.address, self.gsi)
    }
}

/// Interrupts that the configuration gives to others.
pub(super) fn taken(config: &Config, lines: impl Iterator<Item = u32>) -> Vec<u32> {
    config.stub.iter().filter_map(|stub| stub.irq).chain(lines).collect()
}

/// Puts a device on the bus: its registers, its interrupt by an irqfd, its doorbells by ioeventfds.
pub(super) fn plug(
    part: VirtioPart,
    place: Place,
    vm: &Vm,
    ram: &Ram,
    bus: &mut Bus,
) -> Result<(), BuildError> {
    let VirtioPart { name, device, .. } = part;
    let line = Arc::new(IrqFdLine::new(vm, place.gsi)?);
    let memory: DeviceMemory = Arc::new(ram.device_memory());
    let transport = VirtioMmio::new(device, memory, line);
    for (queue, doorbell) in (0..).zip(transport.doorbells()) {
        vm.ring_on_write(doorbell.event(), place.address + VirtioMmio::NOTIFY, queue)?;
    }
    bus.insert(place.address, VirtioMmio::LEN, &name, Arc::new(Mutex::new(transport)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_devices_have_one_interrupt() {
        let places = places(16, &[]).unwrap();
        assert_eq!(places[0], Place { address: layout::VIRTIO_MMIO, gsi: 16 });
        assert_eq!(places[1].address, layout::VIRTIO_MMIO + layout::PAGE_SIZE);
        let mut gsis: Vec<_> = places.iter().map(|place| place.gsi).collect();
        gsis.sort_unstable();
        gsis.dedup();
        assert_eq!(gsis.len(), 16);
    }

    #[test]
    fn what_others_have_is_left_to_them() {
        assert_eq!(places(1, &[16, 18]).unwrap()[0].gsi, 17);
        let error = places(16, &[16]).unwrap_err();
        assert!(matches!(error, DeviceError::TooMany { count: 16, most: 15 }), "{error}");
    }

    #[test]
    fn kernels_are_told_in_two_ways() {
        let place = Place { address: 0xd000_1000, gsi: 17 };
        assert_eq!(place.cmdline(), "virtio_mmio.device=4K@0xd0001000:17");
        let acpi = AcpiDevice::VirtioMmio { address: 0xd000_1000, len: 0x1000, gsi: 17 };
        assert_eq!(place.acpi(), acpi);
    }
}
