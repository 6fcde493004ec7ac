//! The multiple APIC description table: processors and interrupt controllers (ACPI 6.5, 5.2.12).

use acpi_tables::Aml;
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::sdt::Sdt;
use strata_memory::layout;

use super::{Acpi, OEM_ID, OEM_REVISION, OEM_TABLE_ID};

/// The version of ACPI 6.5 (5.2.12).
const REVISION: u8 = 6;
/// The length of a table's header.
const HEADER: u32 = 36;
/// The table's one flag: there are 8259s, too.
const PCAT_COMPAT: u32 = 1 << 0;

/// Types of entries that `acpi_tables` does not have (ACPI 6.5, 5.2.12).
mod kind {
    pub(super) const INTERRUPT_SOURCE_OVERRIDE: u8 = 2;
    pub(super) const LOCAL_APIC_NMI: u8 = 4;
    pub(super) const LOCAL_X2APIC: u8 = 9;
    pub(super) const LOCAL_X2APIC_NMI: u8 = 10;
}

/// A processor can be used.
const ENABLED: u32 = 1 << 0;
/// Polarity and trigger mode are the bus's own: high and edge.
const CONFORMS: u16 = 0;
/// The local APIC's pin for NMIs.
const LINT1: u8 = 1;

/// The table has 32 bits for the addresses of interrupt controllers.
const LAPIC: u32 = address(layout::LAPIC);
const IOAPIC: u32 = address(layout::IOAPIC);

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked, and by the compiler, since it runs for constants"
)]
const fn address(address: u64) -> u32 {
    assert!(address <= u32::MAX as u64);
    address as u32
}

pub(super) fn table(acpi: &Acpi) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut x2apic = false;
    for (uid, &id) in (0..).zip(&acpi.apic_ids) {
        // From 255 on, which an 8-bit APIC takes as "all", an ID needs the larger entry; below, the smaller one
        // is required (ACPI 6.5, 5.2.12.12). IDs ascend, so the UID of the smaller one is less than 255, too.
        if let (Ok(id @ ..=0xfe), Ok(uid)) = (u8::try_from(id), u8::try_from(uid)) {
            ProcessorLocalApic::new(uid, id, EnabledStatus::Enabled).to_aml_bytes(&mut entries);
        } else {
            x2apic = true;
            local_x2apic(&mut entries, id, uid);
        }
    }
    // The ID is what the register of KVM's reads after a reset.
    IoApic::new(0, IOAPIC, 0).to_aml_bytes(&mut entries);
    if let Some(gsi) = acpi.pit_gsi.filter(|gsi| *gsi != 0) {
        interrupt_source_override(&mut entries, 0, gsi);
    }
    local_apic_nmi(&mut entries);
    if x2apic {
        local_x2apic_nmi(&mut entries);
    }

    let mut table = Sdt::new(*b"APIC", HEADER, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&LAPIC.to_le_bytes());
    table.append_slice(&if acpi.pic { PCAT_COMPAT } else { 0 }.to_le_bytes());
    table.append_slice(&entries);
    table.as_slice().to_vec()
}

/// ACPI 6.5, 5.2.12.12.
fn local_x2apic(entries: &mut Vec<u8>, id: u32, uid: u32) {
    entries.extend([kind::LOCAL_X2APIC, 16, 0, 0]);
    for field in [id, ENABLED, uid] {
        entries.extend(field.to_le_bytes());
    }
}

/// ACPI 6.5, 5.2.12.5: an ISA interrupt that does not arrive at the line of its own number.
fn interrupt_source_override(entries: &mut Vec<u8>, irq: u8, gsi: u32) {
    const ISA: u8 = 0;
    entries.extend([kind::INTERRUPT_SOURCE_OVERRIDE, 10, ISA, irq]);
    entries.extend(gsi.to_le_bytes());
    entries.extend(CONFORMS.to_le_bytes());
}

/// ACPI 6.5, 5.2.12.7, for all processors.
fn local_apic_nmi(entries: &mut Vec<u8>) {
    entries.extend([kind::LOCAL_APIC_NMI, 6, u8::MAX]);
    entries.extend(CONFORMS.to_le_bytes());
    entries.push(LINT1);
}

/// ACPI 6.5, 5.2.12.13, for all processors.
fn local_x2apic_nmi(entries: &mut Vec<u8>) {
    entries.extend([kind::LOCAL_X2APIC_NMI, 12]);
    entries.extend(CONFORMS.to_le_bytes());
    entries.extend(u32::MAX.to_le_bytes());
    entries.extend([LINT1, 0, 0, 0]);
}
