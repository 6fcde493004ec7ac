//! Names of devices' registers.

use strata_vmm::devices::AddressSpace;
use strata_vmm::devices::virtio::VirtioMmio;
use strata_vmm::memory::layout;

use super::place::Place;

/// A register that an access is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Register {
    /// Its name, behind the device's; of a port that no device has, with what would be there on a PC.
    pub(super) name: &'static str,
    /// It takes text.
    pub(super) text: bool,
}

const fn register(name: &'static str) -> Register {
    Register { name, text: false }
}

const fn text(name: &'static str) -> Register {
    Register { name, text: true }
}

/// The register at an address of a device. `dlab` is the top bit of a serial port's line control register, which
/// turns its first two registers into the divisor.
pub(super) fn of_device(place: &Place, at: u64, is_write: bool, dlab: bool) -> Option<Register> {
    let offset = at.checked_sub(place.first)?;
    match (place.space, place.name.as_str()) {
        (AddressSpace::Pio, "com1") => uart(offset, is_write, dlab),
        // What is left of well-known devices is at well-known ports.
        (AddressSpace::Pio, "i8042" | "rtc" | "acpi" | "pci") => {
            of_port(at, is_write).map(|(_, register)| register)
        }
        (AddressSpace::Mmio, _) if is_virtio(place) => virtio_mmio(offset).map(register),
        _ => None,
    }
}

/// Virtio devices have names of their own, but a place that is theirs.
fn is_virtio(place: &Place) -> bool {
    place.first.checked_add(VirtioMmio::LEN - 1) == Some(place.last)
        && (layout::VIRTIO_MMIO..layout::IOAPIC).contains(&place.first)
}

/// A 16550 (PC16550D data sheet, table 1).
fn uart(offset: u64, is_write: bool, dlab: bool) -> Option<Register> {
    Some(match (offset, is_write) {
        (0, _) if dlab => register("dll"),
        (1, _) if dlab => register("dlm"),
        (0, true) => text("thr"),
        (0, false) => register("rbr"),
        (1, _) => register("ier"),
        (2, true) => register("fcr"),
        (2, false) => register("iir"),
        (3, _) => register("lcr"),
        (4, _) => register("mcr"),
        (5, _) => register("lsr"),
        (6, _) => register("msr"),
        (7, _) => register("scr"),
        _ => return None,
    })
}

/// The offset of a serial port's line control register.
pub(super) const LCR: u64 = 3;
/// Its bit DLAB.
pub(super) const DLAB: u64 = 1 << 7;

/// What is at a port of a PC: the device, and its register.
pub(super) fn of_port(port: u64, is_write: bool) -> Option<(&'static str, Register)> {
    Some(match (port, is_write) {
        (0x20, _) => ("pic1", register("command")),
        (0x21, _) => ("pic1", register("data")),
        (0xa0, _) => ("pic2", register("command")),
        (0xa1, _) => ("pic2", register("data")),
        (0x4d0, _) => ("pic1", register("elcr")),
        (0x4d1, _) => ("pic2", register("elcr")),
        (0x40, _) => ("pit", register("channel0")),
        (0x41, _) => ("pit", register("channel1")),
        (0x42, _) => ("pit", register("channel2")),
        (0x43, _) => ("pit", register("mode")),
        (0x60, _) => ("i8042", register("data")),
        (0x64, true) => ("i8042", register("command")),
        (0x64, false) => ("i8042", register("status")),
        (0x61, _) => ("speaker", register("gate")),
        (0x70, _) => ("rtc", register("index")),
        (0x71, _) => ("rtc", register("data")),
        (0x80, _) => ("post", register("code")),
        (0x92, _) => ("system", register("control")),
        (0xe9, _) => ("debugcon", text("data")),
        (0x2f8..=0x2ff, _) => ("com2", uart(port - 0x2f8, is_write, false)?),
        (0x3f8..=0x3ff, _) => ("com1", uart(port - 0x3f8, is_write, false)?),
        (0x3d4, _) => ("vga", register("crtc_index")),
        (0x3d5, _) => ("vga", register("crtc_data")),
        (0x600, _) => ("acpi", register("sleep_control")),
        (0x601, _) => ("acpi", register("sleep_status")),
        (0x602, _) => ("acpi", register("reset")),
        (0x603, _) => ("acpi", register("events")),
        (0xcf8..=0xcfb, _) => ("pci", register("config_address")),
        (0xcfc..=0xcff, _) => ("pci", register("config_data")),
        _ => return None,
    })
}

/// Virtio 1.2, 4.2.2 "MMIO Device Register Layout".
fn virtio_mmio(offset: u64) -> Option<&'static str> {
    Some(match offset {
        0x00 => "magic",
        0x04 => "version",
        0x08 => "device_id",
        0x0c => "vendor_id",
        0x10 => "device_features",
        0x14 => "device_features_sel",
        0x20 => "driver_features",
        0x24 => "driver_features_sel",
        0x30 => "queue_sel",
        0x34 => "queue_size_max",
        0x38 => "queue_size",
        0x44 => "queue_ready",
        0x50 => "queue_notify",
        0x60 => "interrupt_status",
        0x64 => "interrupt_ack",
        0x70 => "status",
        0x80 => "queue_desc_low",
        0x84 => "queue_desc_high",
        0x90 => "queue_driver_low",
        0x94 => "queue_driver_high",
        0xa0 => "queue_device_low",
        0xa4 => "queue_device_high",
        0xac => "shm_sel",
        0xb0 => "shm_len_low",
        0xb4 => "shm_len_high",
        0xb8 => "shm_base_low",
        0xbc => "shm_base_high",
        0xc0 => "queue_reset",
        0xfc => "config_generation",
        0x100..=0xfff => "config",
        _ => return None,
    })
}

#[cfg(test)]
#[path = "registers_test.rs"]
mod tests;
