//! The fixed ACPI description table: what the machine has of ACPI's own hardware, and of a PC's legacy.
//!
//! Flags (ACPI 6.5, 5.2.9), and why they are set:
//!
//! | flag | because |
//! | --- | --- |
//! | `HW_REDUCED_ACPI` | there is no PM1, GPE or timer block; their fields stay 0 |
//! | `RESET_REG_SUP` | there is a reset register; Linux writes it if told `reboot=a` |
//! | `WBINVD` | the instruction works, which a 64-bit processor must say |
//! | `PWR_BUTTON`, `SLP_BUTTON` | 0 would mean a button in the PM1 block; a button is a node, or absent |
//! | `FIX_RTC` | 0 would mean that a bit in the PM1 block tells of the clock's alarm |
//!
//! Boot architecture flags (ACPI 6.5, 5.2.9.3), and what Linux makes of them:
//!
//! | flag | set | Linux |
//! | --- | --- | --- |
//! | `LEGACY_DEVICES` | never: all devices are in the DSDT | does not look for a plug-and-play BIOS |
//! | `8042` | if [`AcpiDevice::I8042`] is listed | without it, and without a node, does not probe for one |
//! | VGA not present | always | does not touch VGA's registers and memory |
//! | `PCIe` ASPM controls | always: there is no PCI | leaves link power management alone |
//! | CMOS RTC not present | if no [`AcpiDevice::Rtc`] is listed | does not make up a clock at port 0x70 |
//!
//! "MSI not supported" stays 0: there is nothing against MSI, only nothing to send any.

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::{Acpi, AcpiDevice, OEM_ID, OEM_REVISION, OEM_TABLE_ID, aml};

/// Boot architecture flags.
mod boot {
    pub(super) const I8042: u16 = 1 << 1;
    pub(super) const NO_VGA: u16 = 1 << 2;
    pub(super) const NO_ASPM: u16 = 1 << 4;
    pub(super) const NO_CMOS_RTC: u16 = 1 << 5;
}

/// Where the clock keeps the century, as it does in the PC/AT. Linux reads it there if this says so, also on
/// a hardware-reduced machine.
const RTC_CENTURY: u8 = 0x32;

/// For those who look for the name of the hypervisor here (ACPI 6.5, 5.2.9).
const HYPERVISOR: [u8; 8] = *b"STRATA\0\0";

pub(super) fn table(acpi: &Acpi, dsdt: u64) -> Vec<u8> {
    let has = |wanted: fn(&AcpiDevice) -> bool| acpi.devices.iter().any(wanted);
    let i8042 = has(|device| matches!(device, AcpiDevice::I8042 { .. }));
    let rtc = has(|device| matches!(device, AcpiDevice::Rtc { .. }));

    // Version 6.5, without a FACS: there is none to find on a hardware-reduced machine (ACPI 6.5, 5.2.10).
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc);
    let mut flags = boot::NO_VGA | boot::NO_ASPM;
    flags |= if i8042 { boot::I8042 } else { 0 };
    flags |= if rtc { 0 } else { boot::NO_CMOS_RTC };
    fadt.iapc_boot_arch = flags.into();
    fadt.century = if rtc { RTC_CENTURY } else { 0 };
    fadt.sleep_control_reg = port(acpi.power.sleep_control);
    fadt.sleep_status_reg = port(acpi.power.sleep_status);
    fadt.reset_reg = port(acpi.power.reset);
    fadt.reset_value = acpi.power.reset_value;
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(HYPERVISOR).into();
    aml(&fadt.finalize())
}

/// A register of one byte at a port (ACPI 6.5, 5.2.3.2).
fn port(port: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into())
}
