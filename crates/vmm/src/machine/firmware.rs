//! What a kernel is told of its machine: the memory map, and the devices that are really there.

use strata_boot::acpi::{Acpi, AcpiDevice, PowerRegisters};
use strata_boot::{Loaded, PlaceError};
use strata_devices::AcpiRegisters;
use strata_memory::{Entry, Kind, MemoryMap, Ram, layout};

use super::BuildError;
use super::devices::{ACPI_REGISTERS, CMOS_PORT, COM1, GED_GSI, PVPANIC_PORT};
use super::virtio::Place;
use crate::config::{Config, Serial};

/// What firmware has left in RAM.
#[derive(Debug, Default)]
pub(super) struct Firmware {
    /// Where the guest finds its ACPI tables, if it has any.
    pub(super) rsdp: Option<u64>,
    /// What lies where.
    pub(super) loaded: Vec<Loaded>,
}

/// Writes the ACPI tables of a machine that has them.
pub(super) fn write(config: &Config, virtio: &[Place], ram: &Ram) -> Result<Firmware, BuildError> {
    if config.acpi != Some(true) {
        return Ok(Firmware::default());
    }
    let tables = acpi(config, virtio).tables().map_err(BuildError::Acpi)?;
    let loaded = tables.write_to(ram.memory()).map_err(BuildError::Firmware)?;
    Ok(Firmware { rsdp: Some(tables.rsdp()), loaded })
}

impl Firmware {
    /// Refuses an image that lies over the tables.
    pub(super) fn check_clear_of(&self, image: &[Loaded]) -> Result<(), BuildError> {
        let overlaps = |a: &Loaded, b: &Loaded| {
            a.start < b.start.saturating_add(b.len) && b.start < a.start.saturating_add(a.len)
        };
        let pairs = self.loaded.iter().flat_map(|a| image.iter().map(move |b| (a, b)));
        match pairs.into_iter().find(|(a, b)| overlaps(a, b)) {
            Some((&a, &b)) => Err(BuildError::Firmware(PlaceError::Overlap { a, b })),
            None => Ok(()),
        }
    }
}

/// RAM, less what a PC has at the end of its first MiB: the ACPI tables are there.
pub(super) fn memory_map(ram: &Ram) -> MemoryMap {
    let mut map = MemoryMap::of_pieces(ram.pieces());
    let len = layout::HIGH_MEMORY - layout::EBDA;
    // Neither empty nor beyond the end of the address space, which is all that is refused.
    let _ = map.insert(Entry { start: layout::EBDA, len, kind: Kind::Reserved });
    map
}

/// The machine of this configuration.
pub(super) fn acpi(config: &Config, virtio: &[Place]) -> Acpi {
    let port = |offset: u64| ACPI_REGISTERS.saturating_add(u16::try_from(offset).unwrap_or_default());
    let mut devices = vec![
        AcpiDevice::PowerButton { port: port(AcpiRegisters::EVENTS), gsi: GED_GSI },
        AcpiDevice::Pvpanic { port: PVPANIC_PORT },
    ];
    if config.devices.serial == Serial::Stdio {
        let (port, gsi) = COM1;
        devices.push(AcpiDevice::Serial { port, gsi });
    }
    if config.devices.rtc {
        // It raises no interrupt.
        devices.push(AcpiDevice::Rtc { port: CMOS_PORT, gsi: None });
    }
    devices.extend(virtio.iter().map(|place| place.acpi()));
    // The i8042 has no keyboard and is not listed: Linux then does not wait for one, and can still reset by it.
    Acpi {
        apic_ids: (0..config.cpus).collect(),
        power: PowerRegisters {
            sleep_control: port(AcpiRegisters::SLEEP_CONTROL),
            sleep_status: port(AcpiRegisters::SLEEP_STATUS),
            s5_type: AcpiRegisters::S5,
            reset: port(AcpiRegisters::RESET),
            reset_value: AcpiRegisters::RESET_VALUE,
        },
        pic: true,
        // KVM's routing has IRQ 0 of the PIT at pin 0.
        pit_gsi: None,
        devices,
    }
}
