//! What an explanation is made from.

use strata_cpu::Registers;
use strata_vmm::Stop;
use strata_vmm::devices::AddressSpace;
use strata_vmm::machine::Place;
use strata_vmm::vcpu::{ExitRecord, Recorded};

use crate::{Symbols, View};

/// A guest that has ended, as far as it is known.
#[derive(Debug)]
pub struct Death<'a, M> {
    /// How.
    pub stop: &'a Stop,
    /// The processor that ended it, at or right before its last instruction, and the memory.
    pub view: View<'a, M>,
    /// Which processor that is, if it has to be said: in a machine of several.
    pub vcpu: Option<u8>,
    /// The names in the guest's image.
    pub symbols: Option<&'a Symbols>,
    /// The processor's last exits, the oldest first.
    pub exits: &'a [LastExit],
    /// Where the processor's last instructions were, the oldest first, if it was stepped: by a replay, the last of them
    /// being the fatal one, or after its time was used up.
    pub trail: &'a [u64],
    /// The machine.
    pub machine: &'a Facts<'a>,
}

/// One of the last exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// The registers with which the processor came out, where they are known.
    pub registers: Option<Registers>,
    /// The exit.
    pub exit: ExitRecord,
}

impl From<&Recorded> for LastExit {
    fn from(recorded: &Recorded) -> Self {
        Self { registers: recorded.registers(), exit: recorded.exit() }
    }
}

/// What a machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Something can interrupt its processors.
    pub interrupt_controller: bool,
    /// The host runs ring 0 by KVM's instruction emulator, as those do that have neither VMX nor SVM.
    pub emulated: bool,
    /// The devices.
    pub devices: Vec<DeviceRange<'a>>,
}

/// Addresses that a device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRange<'a> {
    /// They are ports; otherwise guest-physical addresses.
    pub ports: bool,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// The device's name.
    pub name: &'a str,
}

impl<'a> From<&'a Place> for DeviceRange<'a> {
    fn from(place: &'a Place) -> Self {
        let ports = place.space == AddressSpace::Pio;
        Self { ports, first: place.first, last: place.last, name: &place.name }
    }
}

impl Facts<'_> {
    /// The name of the device at a port or an address.
    pub fn device_at(&self, ports: bool, at: u64) -> Option<&str> {
        let mut devices = self.devices.iter().filter(|range| range.ports == ports);
        devices.find(|range| (range.first..=range.last).contains(&at)).map(|range| range.name)
    }
}
