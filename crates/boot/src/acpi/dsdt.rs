//! The differentiated system description table: the devices, in AML, the byte code of ACPI (ACPI 6.5, 20).
//!
//! A device's node is named by a letter for its kind and its place in the list, which is its `_UID`, too.

use acpi_tables::aml::{
    And, Device, EISAName, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, IO, If,
    Interrupt, Memory32Fixed, Method, Name, Notify, ONE, OpRegion, OpRegionSpace, Package, Path,
    ResourceTemplate, Scope, ZERO,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

use super::{Acpi, AcpiDevice, OEM_ID, OEM_REVISION, OEM_TABLE_ID, aml};

/// The length of a table's header.
const HEADER: u32 = 36;
/// From this version on, AML's integers have 64 bits (ACPI 6.5, 5.2.11.1).
const REVISION: u8 = 2;

/// A button's notification that it was pressed (ACPI 6.5, 4.8.2.2.1.2).
const PRESSED: u8 = 0x80;
/// The ports of a keyboard controller, on every PC.
const I8042_PORTS: [u16; 2] = [0x60, 0x64];

/// AML that is already encoded.
struct Encoded(Vec<u8>);

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

pub(super) fn table(acpi: &Acpi) -> Vec<u8> {
    // The first number is for the sleep control register; the others are for machines with PM1 blocks.
    let s5: Vec<&dyn Aml> = vec![&acpi.power.s5_type, &ZERO, &ZERO, &ZERO];
    let mut body = aml(&Name::new("_S5_".into(), &Package::new(s5)));

    let mut nodes = processors(acpi.apic_ids.len());
    for (place, device) in acpi.devices.iter().enumerate() {
        nodes.extend(self::nodes(device, place));
    }
    body.extend(aml(&Scope::new("\\_SB_".into(), vec![&Encoded(nodes)])));

    let mut table = Sdt::new(*b"DSDT", HEADER, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&body);
    table.as_slice().to_vec()
}

/// A container with a node for each processor, whose `_UID` is that of its entry in the MADT (ACPI 6.5, 8.4).
fn processors(count: usize) -> Vec<u8> {
    let processors = (0..count).flat_map(|cpu| node(&name('C', cpu), &"ACPI0007", cpu, &[]));
    node("CPUS", &"ACPI0010", 0, &[&Encoded(processors.collect())])
}

/// What tells of one device.
fn nodes(device: &AcpiDevice, place: usize) -> Vec<u8> {
    let resources = Encoded(resources(device));
    let resources = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&resources]));
    let (letter, id) = match *device {
        AcpiDevice::Serial { .. } => ('S', aml(&EISAName::new("PNP0501"))),
        AcpiDevice::Rtc { .. } => ('R', aml(&EISAName::new("PNP0B00"))),
        AcpiDevice::I8042 { .. } => ('K', aml(&EISAName::new("PNP0303"))),
        AcpiDevice::VirtioMmio { .. } => ('V', aml(&"LNRO0005")),
        AcpiDevice::Pvpanic { .. } => ('P', aml(&"QEMU0001")),
        AcpiDevice::PowerButton { port, .. } => return power_button(place, port, &resources),
    };
    node(&name(letter, place), &Encoded(id), place, &[&resources])
}

/// Descriptors of the addresses and the interrupt that a device takes (ACPI 6.5, 6.4).
fn resources(device: &AcpiDevice) -> Vec<u8> {
    let mut resources = match *device {
        AcpiDevice::I8042 { .. } => I8042_PORTS.iter().flat_map(|port| ports(*port, 1)).collect(),
        AcpiDevice::VirtioMmio { address, len, .. } => aml(&Memory32Fixed::new(true, address, len)),
        // The port is the event method's affair; Linux' driver of event devices bears nothing but interrupts.
        AcpiDevice::PowerButton { .. } => Vec::new(),
        _ => device.ports().map(|(first, count)| ports(first, count)).unwrap_or_default(),
    };
    if let Some(gsi) = device.gsi() {
        let shared = matches!(device, AcpiDevice::VirtioMmio { .. });
        // An edge of a line that is normally low. The descriptor is the one for numbers of any length (ACPI
        // 6.5, 6.4.3.6): Linux takes its edge as it is, where it looks up that of the shorter descriptor in
        // its list of legacy interrupts.
        resources.extend(aml(&Interrupt::new(true, true, false, shared, gsi)));
    }
    resources
}

fn ports(first: u16, count: u8) -> Vec<u8> {
    aml(&IO::new(first, first, 1, count))
}

/// A button, and the generic event device that tells of it (ACPI 6.5, 5.6.9). In ACPI's own language, the
/// event device has
///
/// ```asl
/// OperationRegion (EVTR, SystemIO, PORT, One)
/// Field (EVTR, ByteAcc, NoLock, WriteAsZeros) { EVTS, 8 }
/// Method (_EVT, 1, Serialized) { If (EVTS & One) { Notify (\_SB.BUTTON, 0x80) } }
/// ```
fn power_button(place: usize, port: u16, resources: &Name) -> Vec<u8> {
    let button = name('B', place);
    let mut nodes = node(&button, &EISAName::new("PNP0C0C"), place, &[]);

    let region = OpRegion::new("EVTR".into(), OpRegionSpace::SystemIO, &port, &ONE);
    let field = Field::new(
        "EVTR".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![FieldEntry::Named(*b"EVTS", 8)],
    );
    // The register is read once: reading clears it.
    let (events, button) = (Path::new("EVTS"), Path::new(&format!("\\_SB_.{button}")));
    let pressed = And::new(&ZERO, &events, &ONE);
    let notify = Notify::new(&button, &PRESSED);
    let if_pressed = If::new(&pressed, vec![&notify]);
    let event = Method::new("_EVT".into(), 1, true, vec![&if_pressed]);

    let parts: [&dyn Aml; 4] = [resources, &region, &field, &event];
    nodes.extend(node(&name('G', place), &"ACPI0013", place, &parts));
    nodes
}

/// A letter and three digits. There are no more places than that (`check::NAMES`).
fn name(letter: char, place: usize) -> String {
    format!("{letter}{place:03X}")
}

fn node(name: &str, id: &dyn Aml, uid: usize, parts: &[&dyn Aml]) -> Vec<u8> {
    let (id, uid) = (Name::new("_HID".into(), id), Name::new("_UID".into(), &uid));
    let mut children: Vec<&dyn Aml> = vec![&id, &uid];
    children.extend(parts);
    aml(&Device::new(name.into(), children))
}
