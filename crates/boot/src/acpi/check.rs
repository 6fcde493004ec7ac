//! What cannot be told of in tables, found before any are made.

use thiserror::Error;

use super::{Acpi, AcpiDevice};

/// Lines of the I/O APIC: those of the 82093AA (its data sheet, 1), and of KVM's.
const IOAPIC_LINES: u32 = 24;
/// A node's name is a letter and three hexadecimal digits.
const NAMES: usize = 0x1000;
/// The highest value of the three bits `SLP_TYP` (ACPI 6.5, 4.8.3.7).
const SLP_TYP_MAX: u8 = 7;

/// Why there are no ACPI tables of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcpiError {
    /// There is no processor.
    #[error("the machine has no vCPUs: give it at least one")]
    NoCpus,
    /// The APIC IDs are not in order, or one occurs twice.
    #[error("vCPU {cpu} has the APIC ID {id:#x}, not above that of the vCPU before it: sort them")]
    ApicIdOrder {
        /// Which vCPU, from 0.
        cpu: usize,
        /// Its APIC ID.
        id: u32,
    },
    /// The ID means all processors (SDM vol. 3A 12.12.9).
    #[error("vCPU {cpu} has the APIC ID 0xffffffff, which addresses all vCPUs: give it another")]
    BroadcastApicId {
        /// Which vCPU, from 0.
        cpu: usize,
    },
    /// There are no names for so many processors or devices.
    #[error("{count} {what} are more than the {limit} that there are names for: take some away")]
    TooMany {
        /// `vCPUs` or `devices`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there can be.
        limit: usize,
    },
    /// The sleep control register cannot hold the type.
    #[error("the sleep type {s5_type} of S5 does not fit into the register's three bits: take 0 to 7")]
    SleepType {
        /// The type.
        s5_type: u8,
    },
    /// The I/O APIC has no such line.
    #[error("{device} has GSI {gsi}, and the I/O APIC has the lines 0 to 23: give it one of those")]
    Gsi {
        /// The device.
        device: &'static str,
        /// Its GSI.
        gsi: u32,
    },
    /// There are not so many ports.
    #[error("{device} has {len} ports from {port:#x} on, and the last port is 0xffff: move it down")]
    Ports {
        /// The device.
        device: &'static str,
        /// Its first port.
        port: u16,
        /// How many it takes.
        len: u8,
    },
    /// The registers have no bytes, or end beyond 4 GiB.
    #[error("{device} has {len:#x} bytes from {address:#x} on: it needs some, and all below 4 GiB")]
    Memory {
        /// The device.
        device: &'static str,
        /// The guest-physical address of the first.
        address: u32,
        /// How many.
        len: u32,
    },
    /// The tables are larger than the area for them.
    #[error("the ACPI tables take {len} bytes and have room for {room}: take vCPUs or devices away")]
    TooLarge {
        /// What they take.
        len: u64,
        /// What they may take.
        room: u64,
    },
}

impl AcpiDevice {
    /// For error messages.
    const fn name(&self) -> &'static str {
        match self {
            Self::Serial { .. } => "the serial port",
            Self::Rtc { .. } => "the clock",
            Self::I8042 { .. } => "the keyboard",
            Self::VirtioMmio { .. } => "the virtio device",
            Self::PowerButton { .. } => "the power button",
            Self::Pvpanic { .. } => "pvpanic",
        }
    }

    pub(super) const fn gsi(&self) -> Option<u32> {
        match *self {
            Self::Rtc { gsi, .. } => gsi,
            Self::Serial { gsi, .. }
            | Self::I8042 { gsi }
            | Self::VirtioMmio { gsi, .. }
            | Self::PowerButton { gsi, .. } => Some(gsi),
            Self::Pvpanic { .. } => None,
        }
    }

    /// The first port and how many, where the device can be moved.
    pub(super) const fn ports(&self) -> Option<(u16, u8)> {
        match *self {
            Self::Serial { port, .. } => Some((port, 8)),
            Self::Rtc { port, .. } => Some((port, 2)),
            Self::PowerButton { port, .. } | Self::Pvpanic { port } => Some((port, 1)),
            Self::I8042 { .. } | Self::VirtioMmio { .. } => None,
        }
    }

    fn check(&self) -> Result<(), AcpiError> {
        let device = self.name();
        check_gsi(device, self.gsi())?;
        if let Some((port, len)) = self.ports()
            && port.checked_add(u16::from(len) - 1).is_none()
        {
            return Err(AcpiError::Ports { device, port, len });
        }
        if let Self::VirtioMmio { address, len, .. } = *self
            && len.checked_sub(1).and_then(|rest| address.checked_add(rest)).is_none()
        {
            return Err(AcpiError::Memory { device, address, len });
        }
        Ok(())
    }
}

impl Acpi {
    pub(super) fn check(&self) -> Result<(), AcpiError> {
        let Self { apic_ids, power, pic: _, pit_gsi, devices } = self;
        if apic_ids.is_empty() {
            return Err(AcpiError::NoCpus);
        }
        for (what, count) in [("vCPUs", apic_ids.len()), ("devices", devices.len())] {
            if count > NAMES {
                return Err(AcpiError::TooMany { what, count, limit: NAMES });
            }
        }
        let pairs = apic_ids.iter().zip(apic_ids.iter().skip(1));
        if let Some((cpu, (_, &id))) = (1..).zip(pairs).find(|(_, (before, id))| before >= id) {
            return Err(AcpiError::ApicIdOrder { cpu, id });
        }
        if let Some(cpu) = apic_ids.iter().position(|id| *id == u32::MAX) {
            return Err(AcpiError::BroadcastApicId { cpu });
        }
        if power.s5_type > SLP_TYP_MAX {
            return Err(AcpiError::SleepType { s5_type: power.s5_type });
        }
        check_gsi("the PIT", *pit_gsi)?;
        devices.iter().try_for_each(AcpiDevice::check)
    }
}

fn check_gsi(device: &'static str, gsi: Option<u32>) -> Result<(), AcpiError> {
    match gsi {
        Some(gsi @ IOAPIC_LINES..) => Err(AcpiError::Gsi { device, gsi }),
        _ => Ok(()),
    }
}
