//! Values that a person writes with a unit.

use std::fmt;
use std::str::FromStr;
use std::time;

use serde::{Deserialize, Deserializer, de};
use strata_boot::Format;
use strata_cpu::PageSize;

/// A number of bytes: an integer, or a string with the unit `K`, `M`, `G` or `T` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A span of time: `"5s"`, `"100ms"`, `"2m"`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub time::Duration);

/// A value whose text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

const SIZE: &str = "a size: write for example 64K, 256M, 2G or 0x4000";
const TIME: &str = "a time: write for example 500ms, 5s or 2m";

/// Splits `12ab` into the number and what follows; the number may be hexadecimal (`0x10`), then nothing follows.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(|number| (number, ""));
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim()))
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parse = || {
            let (number, unit) = number_and_unit(text.trim())?;
            let shift = match unit.to_ascii_uppercase().as_str() {
                "" | "B" => 0,
                "K" | "KB" | "KIB" => 10,
                "M" | "MB" | "MIB" => 20,
                "G" | "GB" | "GIB" => 30,
                "T" | "TB" | "TIB" => 40,
                _ => return None,
            };
            number.checked_mul(1 << shift).map(Self)
        };
        parse().ok_or_else(|| UnitError { text: text.to_owned(), expected: SIZE })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|&(shift, _)| self.0 >> shift > 0 && self.0.trailing_zeros() >= shift) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parse = || {
            let (number, unit) = number_and_unit(text.trim())?;
            let milliseconds = match unit {
                "ms" => Some(number),
                "" | "s" => number.checked_mul(1000),
                "m" | "min" => number.checked_mul(60_000),
                _ => None,
            };
            milliseconds.map(|ms| Self(time::Duration::from_millis(ms)))
        };
        parse().ok_or_else(|| UnitError { text: text.to_owned(), expected: TIME })
    }
}

/// Takes an integer or a string, as TOML gives it; anything else is not what `expected` says.
struct Value<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = UnitError>> de::Visitor<'_> for Value<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value(SIZE, std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value(TIME, std::marker::PhantomData))
    }
}

/// For values of other crates, which know nothing of serde: the text, through `FromStr`.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

/// As [`from_text`], for a value that can be left out.
pub(super) fn some_from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    from_text(deserializer).map(Some)
}

/// An image format, or `auto`.
pub(super) fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Format>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "auto" => Ok(None),
        text => text.parse().map(Some).map_err(de::Error::custom),
    }
}

pub(super) fn page_4k() -> PageSize {
    PageSize::Size4K
}
