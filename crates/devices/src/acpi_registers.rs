//! The registers of a machine with hardware-reduced ACPI.

use std::fmt;
use std::sync::Arc;

use crate::{DeviceMut, Effect, IrqLine, RestoreError, Saveable, bytewise};

/// Bits of the sleep control register (ACPI 6.5, 4.8.3.7). `SLP_EN` reads as 0.
mod control {
    pub(super) const SLP_TYP: u8 = 0b111 << SLP_TYP_SHIFT;
    pub(super) const SLP_TYP_SHIFT: u8 = 2;
    pub(super) const SLP_EN: u8 = 1 << 5;
}

/// The one bit of the sleep status register (ACPI 6.5, 4.8.3.7): the machine has woken from a sleep.
/// Writing a 1 clears it.
const WAK_STS: u8 = 1 << 7;

/// The few registers that are left of ACPI's fixed hardware when a machine calls itself hardware-reduced, and
/// the one that its events are told apart by. Each is a byte wide.
///
/// | offset | register | source |
/// | --- | --- | --- |
/// | [`SLEEP_CONTROL`](Self::SLEEP_CONTROL) | sleep control | ACPI 6.5, 4.8.3.7 |
/// | [`SLEEP_STATUS`](Self::SLEEP_STATUS) | sleep status | ACPI 6.5, 4.8.3.7 |
/// | [`RESET`](Self::RESET) | reset | ACPI 6.5, 4.8.3.6 |
/// | [`EVENTS`](Self::EVENTS) | events that have happened since it was last read | of this device |
///
/// The only sleep is S5, soft off, which is [`Effect::PowerOff`]. A guest that asks for another one stays
/// awake and is told that it has woken, so that it does not wait for ever. [`RESET_VALUE`](Self::RESET_VALUE)
/// in the reset register is [`Effect::Reset`].
///
/// An event is a pulse of the interrupt line and a bit in the event register. In ACPI's terms the line is
/// that of a generic event device (ACPI 6.5, 5.6.9), whose `_EVT` method reads the register, and with the
/// read clears it. The only event is the power button.
///
/// Where the registers are and what the values mean, the guest learns from the ACPI tables, which have to say
/// the same as the constants here. By custom of this house the ports are 0x600 to 0x603.
///
/// ```
/// use std::sync::Arc;
/// use strata_devices::{AcpiRegisters, DeviceMut, Effect, NoIrq};
///
/// let mut registers = AcpiRegisters::new(Arc::new(NoIrq));
/// registers.power_button();
/// let mut events = [0];
/// registers.read(AcpiRegisters::EVENTS, &mut events);
/// assert_eq!(events, [AcpiRegisters::POWER_BUTTON]);
///
/// // The guest shuts down and enters S5.
/// let sleep = AcpiRegisters::S5 << 2 | 1 << 5;
/// assert_eq!(registers.write(AcpiRegisters::SLEEP_CONTROL, &[sleep]), Effect::PowerOff);
/// ```
#[derive(Clone)]
pub struct AcpiRegisters {
    irq: Arc<dyn IrqLine>,
    /// `SLP_TYP` as last written, at its place.
    sleep_type: u8,
    /// `WAK_STS`.
    woken: bool,
    /// Events that the guest has not read of.
    events: u8,
}

impl fmt::Debug for AcpiRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { irq: _, sleep_type, woken, events } = self;
        f.debug_struct("AcpiRegisters")
            .field("sleep_type", sleep_type)
            .field("woken", woken)
            .field("events", events)
            .finish_non_exhaustive()
    }
}

impl AcpiRegisters {
    /// How many ports it takes.
    pub const LEN: u64 = 4;
    /// The offset of the sleep control register.
    pub const SLEEP_CONTROL: u64 = 0;
    /// The offset of the sleep status register.
    pub const SLEEP_STATUS: u64 = 1;
    /// The offset of the reset register.
    pub const RESET: u64 = 2;
    /// The offset of the event register.
    pub const EVENTS: u64 = 3;

    /// The type of S5 for `SLP_TYP`, the first number of the package `\_S5` (ACPI 6.5, 7.4.2).
    pub const S5: u8 = 5;
    /// What resets when it is written to the reset register: `RESET_VALUE` in the FADT. No other value does.
    pub const RESET_VALUE: u8 = 1;
    /// The bit of the power button in the event register.
    pub const POWER_BUTTON: u8 = 1 << 0;

    /// A machine that is awake and that nothing has happened to. Events pulse `irq`.
    pub fn new(irq: Arc<dyn IrqLine>) -> Self {
        Self { irq, sleep_type: 0, woken: false, events: 0 }
    }

    /// Presses the power button: asks the guest to shut down in good order.
    ///
    /// Nothing happens if the guest does not listen. A press that the guest has not yet read of swallows the
    /// next ones.
    pub fn power_button(&mut self) {
        // The bit first: a guest that is interrupted finds it.
        self.events |= Self::POWER_BUTTON;
        self.irq.pulse();
    }

    fn sleep(&mut self, control: u8) -> Effect {
        self.sleep_type = control & control::SLP_TYP;
        if control & control::SLP_EN == 0 {
            return Effect::None;
        }
        if self.sleep_type == Self::S5 << control::SLP_TYP_SHIFT {
            return Effect::PowerOff;
        }
        self.woken = true;
        Effect::None
    }
}

impl DeviceMut for AcpiRegisters {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| match at {
            Self::SLEEP_CONTROL => self.sleep_type,
            Self::SLEEP_STATUS if self.woken => WAK_STS,
            Self::SLEEP_STATUS | Self::RESET => 0,
            Self::EVENTS => std::mem::take(&mut self.events),
            _ => 0xff,
        });
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        bytewise::write(offset, data, |at, byte| match at {
            Self::SLEEP_CONTROL => self.sleep(byte),
            Self::SLEEP_STATUS => {
                self.woken &= byte & WAK_STS == 0;
                Effect::None
            }
            Self::RESET if byte == Self::RESET_VALUE => Effect::Reset,
            _ => Effect::None,
        })
    }
}

/// The state of [`AcpiRegisters`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiRegistersV1 {
    /// What the sleep control register reads as; only `SLP_TYP`, bits 2 to 4, counts.
    pub sleep_control: u8,
    /// `WAK_STS` in the sleep status register.
    pub woken: bool,
    /// The event register. The interrupt of an event that is set here was raised before the save.
    pub events: u8,
}

impl Saveable for AcpiRegisters {
    type State = AcpiRegistersV1;

    fn save(&self) -> AcpiRegistersV1 {
        let &Self { irq: _, sleep_type, woken, events } = self;
        AcpiRegistersV1 { sleep_control: sleep_type, woken, events }
    }

    fn restore(&mut self, state: &AcpiRegistersV1) -> Result<(), RestoreError> {
        let &AcpiRegistersV1 { sleep_control, woken, events } = state;
        (self.sleep_type, self.woken, self.events) = (sleep_control & control::SLP_TYP, woken, events);
        Ok(())
    }
}

#[cfg(test)]
#[path = "acpi_registers_test.rs"]
mod tests;
