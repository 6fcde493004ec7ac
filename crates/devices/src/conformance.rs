//! What every device has to bear, as a kit that any device can be put through.
//!
//! A guest chooses the place, the width, the data and the order of its accesses. The kit makes the same
//! choices for it: every width from 0 to 8 bytes and some beyond, every offset of the range (of a large one,
//! its edges and a sample), offsets that straddle its end, lie behind it or at 2^64 - 1, every value of a
//! byte in every register, and then many thousand accesses in a random order, which is the same in every run.
//!
//! ```
//! use std::sync::Mutex;
//! use strata_devices::{DeviceMut, Effect, conformance};
//!
//! struct Latch(u8);
//!
//! impl DeviceMut for Latch {
//!     fn read(&mut self, _: u64, data: &mut [u8]) {
//!         data[0] = self.0; // what if `data` is empty, or longer than that?
//!     }
//!     fn write(&mut self, _: u64, data: &[u8]) -> Effect {
//!         self.0 = data.first().copied().unwrap_or(self.0);
//!         Effect::None
//!     }
//! }
//!
//! let violation = conformance::check("latch", 1, || Mutex::new(Latch(0))).unwrap_err();
//! assert!(violation.to_string().starts_with("device latch panics"));
//! ```

mod accesses;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::{Device, DeviceMut, Effect, Saveable};

/// An access of the kit's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// From the start of the device's range.
    pub offset: u64,
    /// In bytes.
    pub width: usize,
    /// What is written, byte by byte counting up from here; `None` for a read.
    pub value: Option<u8>,
}

impl Access {
    /// The data of a write.
    fn data(self) -> Vec<u8> {
        let first = self.value.unwrap_or(0);
        (0..=u8::MAX).cycle().skip(first.into()).take(self.width).collect()
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, width, .. } = *self;
        match self.value {
            None => write!(f, "a read of {width} bytes at offset {offset:#x}"),
            Some(_) => write!(f, "a write of {:02x?} at offset {offset:#x}", self.data()),
        }
    }
}

/// What a device did wrong. The access named is the last of a sequence that is the same in every run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It panicked, which a guest must not be able to bring about.
    #[error("device {device} panics on {access}")]
    Panics {
        /// The device.
        device: String,
        /// What it was doing.
        access: Access,
    },
    /// A read did not fill its data: the guest would see what was there before.
    #[error(
        "device {device} leaves byte {byte} unfilled in {access}: fill it, \
        with 0xff if nothing answers for it"
    )]
    Unfilled {
        /// The device.
        device: String,
        /// The read.
        access: Access,
        /// Which byte, from 0.
        byte: usize,
    },
    /// A write of no bytes had an effect.
    #[error("device {device} returns {effect:?} for {access}: a write of nothing must do nothing")]
    EffectOfNothing {
        /// The device.
        device: String,
        /// The write.
        access: Access,
        /// Its effect.
        effect: Effect,
    },
    /// Two new devices with the same history answer differently.
    #[error(
        "device {device} answers {access} with {one:02x?} and its twin with {other:02x?}: \
        give them a clock and inputs that do not change"
    )]
    Unrepeatable {
        /// The device.
        device: String,
        /// The access.
        access: Access,
        /// What one answered.
        one: Answer,
        /// What the other answered.
        other: Answer,
    },
    /// A device refuses a state that a device of its kind has saved.
    #[error("device {device} refuses its own state as it was after {access}")]
    RefusesOwnState {
        /// The device.
        device: String,
        /// The last access before it was saved.
        access: Access,
    },
    /// A restored device is in another state than the one that was saved.
    #[error("device {device} has another state after a restore than it had after {access}")]
    StateChanges {
        /// The device.
        device: String,
        /// The last access before it was saved.
        access: Access,
    },
    /// A restored device does not go on as the one that was saved: some state is missing.
    #[error(
        "device {device}, restored, answers {access} with {restored:02x?} where the original answers \
        {original:02x?}: some of its state is not saved"
    )]
    ForgetsState {
        /// The device.
        device: String,
        /// The first access with a different answer.
        access: Access,
        /// What the restored device answered.
        restored: Answer,
        /// What the original answered.
        original: Answer,
    },
}

/// What a device made of an access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The data of a read.
    Data(Vec<u8>),
    /// The effect of a write.
    Effect(Effect),
}

/// Puts a device through every kind of access.
///
/// `make` makes a new device each time it is called, each like the other, that takes `len` bytes of address
/// space. The device must do nothing on a panic but unwind, so a build with `panic = "abort"` cannot be
/// checked.
///
/// # Errors
///
/// The first [`Violation`].
pub fn check<D: Device>(name: &str, len: u64, mut make: impl FnMut() -> D) -> Result<(), Violation> {
    let (one, twin) = (make(), make());
    for access in accesses::thorough(len).chain(accesses::random(len, 0).take(RANDOM)) {
        // Two fillings, so that a byte that was left alone shows whatever the device's answer would have
        // been.
        let answer = apply(name, &one, access, 0x5a)?;
        let other = apply(name, &twin, access, 0xa5)?;
        if answer != other {
            return Err(differs(name, access, answer, other));
        }
        if let (0, Answer::Effect(effect)) = (access.width, answer)
            && effect != Effect::None
        {
            return Err(Violation::EffectOfNothing { device: name.to_owned(), access, effect });
        }
    }
    Ok(())
}

/// How many random accesses a device gets; a taste of them in miri, which is a thousand times slower.
const RANDOM: usize = if cfg!(miri) { 500 } else { 20_000 };
/// How often the state is saved and restored, after how many accesses, and how many are compared afterwards.
const SAVES: u64 = if cfg!(miri) { 2 } else { 64 };
const BEFORE: usize = 50;
const AFTER: usize = 200;

/// Saves a device at many moments, restores a new one from each, and compares how both go on.
///
/// `make` and `len` are as for [`check`].
///
/// # Errors
///
/// The first [`Violation`].
pub fn check_saveable<D>(name: &str, len: u64, mut make: impl FnMut() -> D) -> Result<(), Violation>
where
    D: DeviceMut + Saveable,
{
    let device = || name.to_owned();
    let original = Mutex::new(make());
    for round in 1..=SAVES {
        let mut access = Access { offset: 0, width: 0, value: None };
        for next in accesses::random(len, round).take(BEFORE) {
            access = next;
            apply(name, &original, access, 0)?;
        }
        let state = original.lock().unwrap_or_else(PoisonError::into_inner).save();
        let mut copy = make();
        if copy.restore(&state).is_err() {
            return Err(Violation::RefusesOwnState { device: device(), access });
        }
        if copy.save() != state {
            return Err(Violation::StateChanges { device: device(), access });
        }
        let copy = Mutex::new(copy);
        for access in accesses::random(len, !round).take(AFTER) {
            let original = apply(name, &original, access, 0)?;
            let restored = apply(name, &copy, access, 0)?;
            if original != restored {
                return Err(Violation::ForgetsState { device: device(), access, restored, original });
            }
        }
    }
    Ok(())
}

/// Makes one access; a read into data that was filled with `filling`.
fn apply(name: &str, device: &impl Device, access: Access, filling: u8) -> Result<Answer, Violation> {
    let answer = catch_unwind(AssertUnwindSafe(|| {
        if access.value.is_some() {
            Answer::Effect(device.write(access.offset, &access.data()))
        } else {
            let mut data = vec![filling; access.width];
            device.read(access.offset, &mut data);
            Answer::Data(data)
        }
    }));
    answer.map_err(|_| Violation::Panics { device: name.to_owned(), access })
}

/// Why the answers of twins differ.
fn differs(name: &str, access: Access, one: Answer, other: Answer) -> Violation {
    let device = name.to_owned();
    if let (Answer::Data(one), Answer::Data(other)) = (&one, &other)
        && let Some(byte) = one.iter().zip(other).position(|bytes| bytes == (&0x5a, &0xa5))
    {
        return Violation::Unfilled { device, access, byte };
    }
    Violation::Unrepeatable { device, access, one, other }
}

#[cfg(test)]
#[path = "conformance_test.rs"]
mod tests;
