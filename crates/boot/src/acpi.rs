//! ACPI tables: which processors and devices there are, told to a guest as firmware tells it.
//!
//! [`Acpi`] says what is in the machine, as plain data; [`Acpi::tables`] makes the bytes of it, to be put at
//! [`layout::RSDP`]: RSDP, XSDT, FADT, MADT and a DSDT with a node for each device of the list and for no
//! other. Nothing is probed for and nothing is guessed: what is not in the list, a guest that believes its
//! tables does not look for.
//!
//! The machine is *hardware-reduced* (ACPI 6.5, 4.1): of ACPI's fixed hardware it has a sleep and a reset
//! register and nothing else. There is no power management timer, no SCI and no SMI; the power button is a
//! device in the DSDT.
//!
//! # What that means for Linux
//!
//! Linux sees the flag and forgets the PC's legacy interrupts and timer (`acpi_generic_reduced_hw_init` in
//! `arch/x86/kernel/acpi/boot.c`):
//!
//! * It uses neither the 8259s nor the PIT's interrupt, and never masks an 8259. A VMM that has 8259s and
//!   leaves the local APICs' LINT0 open for them (virtual wire mode) must therefore mask all their lines
//!   before it enters the guest, or an interrupt that a device raises arrives twice, once with a vector that
//!   nobody chose.
//! * Its only timers are the TSC and the local APIC's. It has to be able to learn the TSC's frequency, from
//!   KVM's clock or from CPUID: where it cannot, and measuring against the PIT's second channel fails, the
//!   boot ends there.
//! * Interrupt lines are those of the I/O APIC, and each device's is the one that its node names; drivers
//!   that assume one (IRQ 4 of COM1, IRQ 8 of the clock) get none. Linux numbers them as it likes.
//! * COM1, found first at its old address and used without interrupts, gets its line when the node
//!   `PNP0501` is found. The console works before that.
//! * The clock and the keyboard controller are looked for only where the tables say so; see
//!   [`AcpiDevice::Rtc`] and [`AcpiDevice::I8042`].
//! * Power-off writes the sleep control register; it needs no driver.
//! * Reboot, unless the command line says how (`reboot=a` is the reset register, `reboot=k` the keyboard
//!   controller), is EFI's affair on such a machine (`reboot_init` in `arch/x86/kernel/reboot.c`), and where
//!   there is no EFI, Linux goes back to real mode and jumps to the BIOS. That is why a few bytes of code lie
//!   at [`layout::RESET_VECTOR`], which write the reset register.
//!
//! # Examples
//!
//! ```
//! use strata_boot::acpi::{Acpi, AcpiDevice, PowerRegisters};
//! use strata_memory::RamSpec;
//!
//! let ram = RamSpec::new(16 << 20).build()?;
//! let acpi = Acpi {
//!     apic_ids: vec![0, 1],
//!     power: PowerRegisters {
//!         sleep_control: 0x600,
//!         sleep_status: 0x601,
//!         s5_type: 5,
//!         reset: 0x602,
//!         reset_value: 1,
//!     },
//!     pic: true,
//!     pit_gsi: None,
//!     devices: vec![
//!         AcpiDevice::Serial { port: 0x3f8, gsi: 4 },
//!         AcpiDevice::Rtc { port: 0x70, gsi: None },
//!         AcpiDevice::PowerButton { port: 0x603, gsi: 9 },
//!     ],
//! };
//! let tables = acpi.tables()?;
//! assert_eq!(tables.rsdp(), 0xe_0000);
//! tables.write_to(ram.memory())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`layout::RSDP`]: strata_memory::layout::RSDP
//! [`layout::RESET_VECTOR`]: strata_memory::layout::RESET_VECTOR

mod check;
mod dsdt;
mod fadt;
mod madt;
mod reset;

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use strata_memory::layout;
use vm_memory::GuestMemory;

pub use check::AcpiError;

use crate::entry::{Loaded, What};
use crate::plan::{PlaceError, Plan};

/// Who made the tables, in the header of each (ACPI 6.5, 5.2.6).
const OEM_ID: [u8; 6] = *b"STRATA";
const OEM_TABLE_ID: [u8; 8] = *b"STRATAVM";
const OEM_REVISION: u32 = 1;

/// How much room there is: the area that is searched for an RSDP (ACPI 6.5, 5.2.5.1), less its end.
const ROOM: u64 = layout::RESET_VECTOR - layout::RSDP;

/// What is in a machine.
///
/// Besides what is listed here, the tables tell of one I/O APIC at [`layout::IOAPIC`] with the lines 0 to 23,
/// of a local APIC at [`layout::LAPIC`] for each vCPU, and that LINT1 is the NMI on all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acpi {
    /// The local APIC ID of each vCPU, ascending. The first is that of the boot processor; the place in the
    /// list is the processor's UID.
    ///
    /// An ID from 255 on needs a guest in x2APIC mode, and takes an entry of the kind for it.
    pub apic_ids: Vec<u32>,
    /// The registers for sleep and reset.
    pub power: PowerRegisters,
    /// Whether there is a pair of 8259s. KVM's interrupt controllers in the kernel include one, unless they
    /// are split.
    pub pic: bool,
    /// The line of the I/O APIC that the PIT's interrupt, IRQ 0, arrives at, if there is a PIT: 2 on a PC,
    /// but 0 with the routing that KVM starts with.
    pub pit_gsi: Option<u32>,
    /// The devices.
    pub devices: Vec<AcpiDevice>,
}

/// Ports and values of the registers that hardware-reduced ACPI has. Each is a byte wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PowerRegisters {
    /// The port of the sleep control register (ACPI 6.5, 4.8.3.7).
    pub sleep_control: u16,
    /// The port of the sleep status register (ACPI 6.5, 4.8.3.7).
    pub sleep_status: u16,
    /// What the sleep control register takes as the type of S5, soft off: 0 to 7.
    pub s5_type: u8,
    /// The port of the reset register (ACPI 6.5, 4.8.3.6).
    pub reset: u16,
    /// What resets the machine when it is written there.
    pub reset_value: u8,
}

/// A device that a guest is told of. A `gsi` is a line of the I/O APIC, 0 to 23; interrupts are edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcpiDevice {
    /// A 16550 serial port, `PNP0501`.
    Serial {
        /// The first of its 8 ports.
        port: u16,
        /// Its interrupt.
        gsi: u32,
    },
    /// A CMOS clock, `PNP0B00`. Without one, the FADT says that none is there, and Linux does not look.
    Rtc {
        /// The first of its 2 ports.
        port: u16,
        /// Its interrupt, if it has one. Linux offers alarms if there is a line here, and polls for the
        /// start of a second if there is none.
        gsi: Option<u32>,
    },
    /// A keyboard controller with a keyboard, `PNP0303`, at the ports 0x60 and 0x64.
    ///
    /// A controller without a keyboard need not be listed, even if it is there to reset the machine: the
    /// FADT then says that there is none, and Linux leaves it alone instead of probing it, but still knows
    /// how to reset by it if asked (`reboot=k`).
    I8042 {
        /// The keyboard's interrupt. Linux gives the device up if it cannot have it.
        gsi: u32,
    },
    /// A virtio device on the MMIO transport, `LNRO0005` (Linux, `drivers/virtio/virtio_mmio.c`).
    VirtioMmio {
        /// The guest-physical address of its registers, below 4 GiB.
        address: u32,
        /// How many bytes of address space it takes.
        len: u32,
        /// Its interrupt. Several of these devices can share one.
        gsi: u32,
    },
    /// A power button, `PNP0C0C`, whose presses a generic event device, `ACPI0013`, tells of (ACPI 6.5,
    /// 4.8.2.2.1.2 and 5.6.9).
    PowerButton {
        /// The port of the event register, which is read after each interrupt, and which reading clears.
        /// Bit 0 is the button.
        port: u16,
        /// The interrupt that comes with an event.
        gsi: u32,
    },
    /// QEMU's pvpanic, `QEMU0001` (QEMU, docs/specs/pvpanic.rst).
    Pvpanic {
        /// Its one port.
        port: u16,
    },
}

/// What firmware leaves to a guest: ACPI tables, and the code at the reset vector. The bytes are right for
/// one place only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tables {
    bytes: Vec<u8>,
    reset: [u8; reset::LEN],
}

impl Acpi {
    /// Makes the tables.
    ///
    /// # Errors
    /// Each case of [`AcpiError`].
    pub fn tables(&self) -> Result<Tables, AcpiError> {
        self.check()?;
        let mut bytes = vec![0; Rsdp::len()];
        let mut put = |table: Vec<u8>| {
            bytes.resize(bytes.len().next_multiple_of(16), 0);
            let address = layout::RSDP + bytes.len() as u64;
            bytes.extend(table);
            address
        };
        let dsdt = put(dsdt::table(self));
        let madt = put(madt::table(self));
        let fadt = put(fadt::table(self, dsdt));

        let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
        xsdt.add_entry(fadt);
        xsdt.add_entry(madt);
        let xsdt = put(aml(&xsdt));
        bytes.splice(..Rsdp::len(), aml(&Rsdp::new(OEM_ID, xsdt)));

        let len = bytes.len() as u64;
        if len > ROOM {
            Err(AcpiError::TooLarge { len, room: ROOM })
        } else {
            Ok(Tables { bytes, reset: reset::code(self.power) })
        }
    }
}

impl Tables {
    /// The guest-physical address of the first byte, which is that of the RSDP: [`layout::RSDP`].
    ///
    /// Guests find it there by themselves; boot protocols that have a field for it take this.
    pub const fn rsdp(&self) -> u64 {
        layout::RSDP
    }

    /// The bytes of the tables, RSDP first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The code at the reset vector: real mode, [`layout::RESET_VECTOR`].
    pub const fn reset_code(&self) -> &[u8] {
        &self.reset
    }

    /// Puts all of it into memory. What was written where is returned, to be kept out of the memory that a
    /// guest may use as it likes.
    ///
    /// # Errors
    /// There is no RAM where it belongs.
    pub fn write_to<M: GuestMemory + ?Sized>(&self, memory: &M) -> Result<Vec<Loaded>, PlaceError> {
        let mut plan = Plan::new(memory);
        self.plan(&mut plan)?;
        plan.commit()
    }

    /// Plans all of it, for a loader that has more to write.
    pub(crate) fn plan<'a, M: GuestMemory + ?Sized>(
        &'a self,
        plan: &mut Plan<'a, M>,
    ) -> Result<(), PlaceError> {
        plan.add(self.rsdp(), self.bytes(), What::AcpiTables)?;
        plan.add(layout::RESET_VECTOR, self.reset_code(), What::ResetVector)
    }
}

/// The bytes of one object.
fn aml(object: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
#[path = "acpi_test.rs"]
mod tests;
