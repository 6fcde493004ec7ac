//! The PC's real-time clock and its battery-backed memory ("CMOS").

mod calendar;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{DeviceMut, Effect, RestoreError, Saveable, bytewise};

use calendar::{DateTime, Format};

/// Offsets from port 0x70: which register, and its contents.
const INDEX: u64 = 0;
const DATA: u64 = 1;

/// How many registers there are; the top bit of the index port masks NMIs on a PC, which are not in the
/// model.
const REGISTERS: usize = 128;
const INDEX_MASK: u8 = 0x7f;

/// The registers (Motorola MC146818A data sheet, "Address Map"; 1, 3 and 5, the alarm, are plain memory
/// here).
mod register {
    pub(super) const SECONDS: u8 = 0x00;
    pub(super) const MINUTES: u8 = 0x02;
    pub(super) const HOURS: u8 = 0x04;
    pub(super) const WEEKDAY: u8 = 0x06;
    pub(super) const DAY: u8 = 0x07;
    pub(super) const MONTH: u8 = 0x08;
    pub(super) const YEAR: u8 = 0x09;
    pub(super) const A: u8 = 0x0a;
    pub(super) const B: u8 = 0x0b;
    pub(super) const C: u8 = 0x0c;
    pub(super) const D: u8 = 0x0d;
    /// Not of the chip: where IBM's PC/AT keeps the century, and where ACPI's FADT says it is.
    pub(super) const CENTURY: u8 = 0x32;

    pub(super) const TIME: [u8; 8] = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY];
}

/// Register A: a 32,768 Hz crystal, and a periodic rate of 1,024 Hz, as the PC's firmware sets them.
const A_DEFAULT: u8 = 0b010_0110;
/// Register A: an update is in progress. Read-only.
const A_UIP: u8 = 1 << 7;
/// Register B: the time stands still and may be set.
const B_SET: u8 = 1 << 7;
/// Register B: interrupt after each update.
const B_UIE: u8 = 1 << 4;
/// Register B: the time registers are binary, not BCD.
const B_BINARY: u8 = 1 << 2;
/// Register B: hours count to 23.
const B_24H: u8 = 1 << 1;
/// Register C: some flag whose interrupt is enabled is set.
const C_IRQF: u8 = 1 << 7;
/// Register C: the time has advanced since register C was last read.
const C_UF: u8 = 1 << 4;
/// Register D: the battery is good.
const D_VRT: u8 = 1 << 7;

/// Tells the time to a [`Cmos`]. A closure that returns an `i64` is one, so that a test can say what time it
/// is.
pub trait Clock: Send {
    /// Seconds since 1970-01-01 00:00:00 UTC, without leap seconds.
    fn unix_seconds(&self) -> i64;
}

impl<F: Fn() -> i64 + Send> Clock for F {
    fn unix_seconds(&self) -> i64 {
        self()
    }
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_seconds(&self) -> i64 {
        let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => seconds(since),
            Err(before) => -seconds(before.duration()),
        }
    }
}

/// An MC146818A with the PC's 128 bytes of battery-backed memory.
///
/// The time is the clock's in UTC, moved by whatever the guest sets it to; the host's clock is never touched.
/// The registers follow bits `DM` (BCD or binary) and `24/12` of register B, and stand still while `SET` is
/// 1. Register 0x32 holds the century.
///
/// Three things are simpler than on the chip. An update takes no time, so `UIP` in register A is never seen
/// and nobody has to wait for it; as on the chip, a guest that reads several registers compares the seconds
/// before and after. The weekday follows from the date, whatever is written there. There is no interrupt: of
/// the flags in register C only `UF` works, for guests that poll for the start of a second.
///
/// It is made for port 0x70 with [`Cmos::LEN`] ports.
///
/// ```
/// use strata_devices::{Cmos, DeviceMut};
///
/// let mut rtc = Cmos::with_clock(|| 951_782_400); // 2000-02-29 00:00:00
/// let mut year = [0];
/// let _ = rtc.write(0, &[0x09]);
/// rtc.read(1, &mut year);
/// assert_eq!(year, [0x00]);
/// ```
pub struct Cmos {
    clock: Box<dyn Clock>,
    /// What to add to the clock's seconds.
    shift: i64,
    /// The register that the data port reaches.
    index: u8,
    /// All registers as last written. The time is in them only while it stands still.
    ram: [u8; REGISTERS],
    /// The clock's second when register C was last read.
    flags_read_at: i64,
}

impl Cmos {
    /// How many ports it takes.
    pub const LEN: u64 = 2;

    /// An RTC that shows the host's time.
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// An RTC that shows `clock`'s time.
    pub fn with_clock(clock: impl Clock + 'static) -> Self {
        let flags_read_at = clock.unix_seconds();
        let mut cmos =
            Self { clock: Box::new(clock), shift: 0, index: 0, ram: [0; REGISTERS], flags_read_at };
        cmos.set(register::A, A_DEFAULT);
        cmos.set(register::B, B_24H);
        cmos
    }

    /// Tells firmware how much RAM there is, in bytes below and from 4 GiB on, in the registers where QEMU's
    /// and Bochs' do: 0x15 (below 640 KiB, in KiB), 0x17 and 0x30 (from 1 MiB, in KiB), 0x34 (from 16 MiB, in
    /// 64 KiB), 0x5b (from 4 GiB, in 64 KiB). What does not fit into a register is shown as its highest
    /// value.
    #[must_use]
    pub fn with_memory(mut self, below_4g: u64, from_4g: u64) -> Self {
        let kib = below_4g >> 10;
        self.set_wide(0x15, 2, kib.min(640));
        self.set_wide(0x17, 2, kib.saturating_sub(1 << 10));
        self.set_wide(0x30, 2, kib.saturating_sub(1 << 10));
        self.set_wide(0x34, 2, kib.saturating_sub(16 << 10) >> 6);
        self.set_wide(0x5b, 3, from_4g >> 16);
        self
    }

    /// Sets `len` registers from `first` on, low byte first, to `value` or to the highest that they can hold.
    fn set_wide(&mut self, first: u8, len: u8, value: u64) {
        let value = value.min((1 << (8 * len)) - 1);
        for (register, byte) in (first..first + len).zip(value.to_le_bytes()) {
            self.set(register, byte);
        }
    }

    fn get(&self, register: u8) -> u8 {
        self.ram.get(usize::from(register)).copied().unwrap_or(0xff)
    }

    fn set(&mut self, register: u8, value: u8) {
        if let Some(cell) = self.ram.get_mut(usize::from(register)) {
            *cell = value;
        }
    }

    fn format(&self) -> Format {
        let b = self.get(register::B);
        Format { binary: b & B_BINARY != 0, hours24: b & B_24H != 0 }
    }

    fn standing_still(&self) -> bool {
        self.get(register::B) & B_SET != 0
    }

    /// Now, as the time registers show it, in the order of [`register::TIME`].
    fn time(&self) -> [u8; 8] {
        let now = self.clock.unix_seconds().saturating_add(self.shift);
        DateTime::from_unix(now).encode(self.format())
    }

    /// Copies the running time into memory, where it can be changed.
    fn hold(&mut self) {
        for (register, value) in register::TIME.into_iter().zip(self.time()) {
            self.set(register, value);
        }
    }

    /// Lets the time run on from what is in memory.
    fn release(&mut self) {
        let registers = register::TIME.map(|register| self.get(register));
        let time = DateTime::decode(registers, self.format()).to_unix();
        self.shift = time.saturating_sub(self.clock.unix_seconds());
    }

    fn read_register(&mut self) -> u8 {
        let register = self.index;
        match register {
            register::C => self.read_flags(),
            register::D => D_VRT,
            _ if self.standing_still() => self.get(register),
            _ => {
                let place = register::TIME.iter().position(|&time| time == register);
                place.and_then(|place| self.time().get(place).copied()).unwrap_or_else(|| self.get(register))
            }
        }
    }

    /// Register C; reading it clears it.
    fn read_flags(&mut self) -> u8 {
        let now = self.clock.unix_seconds();
        let updated = now != self.flags_read_at && !self.standing_still();
        self.flags_read_at = now;
        match (updated, self.get(register::B) & B_UIE != 0) {
            (false, _) => 0,
            (true, false) => C_UF,
            (true, true) => C_IRQF | C_UF,
        }
    }

    fn write_register(&mut self, value: u8) {
        let stood_still = self.standing_still();
        match self.index {
            register::A => self.set(register::A, value & !A_UIP),
            register::B => {
                if !stood_still {
                    self.hold();
                }
                self.set(register::B, value);
                if !self.standing_still() && stood_still {
                    self.release();
                }
            }
            register::C | register::D => {}
            register if register::TIME.contains(&register) && !stood_still => {
                self.hold();
                self.set(register, value);
                self.release();
            }
            register => self.set(register, value),
        }
    }
}

impl Default for Cmos {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cmos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cmos").field("index", &self.index).field("shift", &self.shift).finish_non_exhaustive()
    }
}

impl DeviceMut for Cmos {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        bytewise::read(offset, data, |at| match at {
            DATA => self.read_register(),
            // The index port can only be written.
            _ => 0xff,
        });
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        bytewise::write(offset, data, |at, value| {
            match at {
                INDEX => self.index = value & INDEX_MASK,
                DATA => self.write_register(value),
                _ => {}
            }
            Effect::None
        })
    }
}

/// The state of a [`Cmos`]. The guest's time goes on with the clock while the state lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmosV1 {
    /// The register that the data port reaches; its low seven bits count.
    pub index: u8,
    /// Seconds that the guest's time is ahead of the clock.
    pub shift: i64,
    /// All registers as last written.
    pub ram: [u8; REGISTERS],
    /// The clock's second, since 1970, in which register C was last read.
    pub flags_read_at: i64,
}

impl Saveable for Cmos {
    type State = CmosV1;

    fn save(&self) -> CmosV1 {
        let &Self { clock: _, shift, index, ram, flags_read_at } = self;
        CmosV1 { index, shift, ram, flags_read_at }
    }

    fn restore(&mut self, state: &CmosV1) -> Result<(), RestoreError> {
        let &CmosV1 { index, shift, ram, flags_read_at } = state;
        (self.index, self.shift, self.ram, self.flags_read_at) =
            (index & INDEX_MASK, shift, ram, flags_read_at);
        Ok(())
    }
}

#[cfg(test)]
#[path = "rtc_test.rs"]
mod tests;
