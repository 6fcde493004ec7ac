//! Device buses and device models, without a hypervisor.
//!
//! A VMM routes a guest's accesses to a [`Bus`]; the bus finds the [`Device`]; the device answers reads and
//! returns what a write means for the machine as an [`Effect`]. Devices never exit, print or reset by
//! themselves, and nothing that a guest reads or writes makes one panic: [`conformance`] is the kit that
//! checks this, for devices of your own too.
//!
//! | device | what | where it usually is |
//! | --- | --- | --- |
//! | [`Serial`] | 16550A; [`SerialInput`] feeds it from a file descriptor | ports 0x3f8 to 0x3ff, IRQ 4 |
//! | [`I8042`] | keyboard controller without a keyboard, resets the machine | ports 0x60 to 0x64 |
//! | [`Cmos`] | MC146818 clock with its memory | ports 0x70, 0x71 |
//! | [`DebugExit`] | ends the guest with a code, as QEMU's isa-debug-exit | port 0xf4 |
//! | [`AcpiRegisters`] | switches off, resets, tells of the power button: ACPI hardware-reduced | ports 0x600 to 0x603, IRQ 9 |
//! | [`PciPorts`] | a PCI bus without devices; can reset | ports 0xcf8 to 0xcff |
//! | [`Pvpanic`] | tells of a kernel's panic, as QEMU's pvpanic | port 0x505 |
//! | [`PowerOff`] | switches off, as the PM1 control register of QEMU's PIIX4 | port 0x604 |
//! | [`Stub`] | answers from a list: for tests | anywhere |
//!
//! Interrupts leave through an [`IrqLine`], which the VMM implements. With the feature `vm-device` the same
//! devices work on rust-vmm's bus (`adapter`).

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod acpi_registers;
#[cfg(feature = "vm-device")]
pub mod adapter;
mod bus;
pub mod bytewise;
pub mod conformance;
mod debug_exit;
mod device;
mod i8042;
mod irq;
mod pci_ports;
mod ports;
mod power_off;
mod pvpanic;
mod rtc;
mod saved;
mod serial;
mod stub;
#[cfg(test)]
mod testing;
#[cfg(feature = "virtio")]
pub mod virtio;

pub use acpi_registers::{AcpiRegisters, AcpiRegistersV1};
pub use bus::{AddressSpace, Bus, BusError};
pub use debug_exit::DebugExit;
pub use device::{Device, DeviceMut, Effect};
pub use i8042::{I8042, I8042V1};
pub use irq::{IrqLine, NoIrq};
pub use pci_ports::{PciPorts, PciPortsV1};
pub use power_off::PowerOff;
pub use pvpanic::Pvpanic;
pub use rtc::{Clock, Cmos, CmosV1, SystemClock};
pub use saved::{RestoreError, Saveable};
pub use serial::{InputEnd, Serial, SerialInput, SerialV1};
pub use stub::{Stub, StubV1};

pub use event_manager;
#[cfg(feature = "vm-device")]
pub use vm_device;

#[cfg(all(doctest, feature = "vm-device"))]
#[doc = include_str!("../README.md")]
struct Readme;
