//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address of one station: not of a group.
///
/// ```
/// use strata_devices::virtio::net::Mac;
///
/// let mac: Mac = "52:54:00:12:34:56".parse()?;
/// assert_eq!(mac.bytes(), [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
/// assert_eq!(mac.to_string(), "52:54:00:12:34:56");
/// assert!("53:54:00:12:34:56".parse::<Mac>().is_err(), "that is a group's");
/// # Ok::<(), strata_devices::virtio::net::MacError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac([u8; 6]);

/// Why something is not a station's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MacError {
    /// It is not written as one.
    #[error("an Ethernet address is six bytes with colons between, in hexadecimal: 52:54:00:12:34:56")]
    Form,
    /// The lowest bit of its first byte is set.
    #[error("this Ethernet address is a group's: its first byte must be even")]
    Group,
    /// It is nobody's.
    #[error("an Ethernet address of zeros is nobody's")]
    Zero,
}

impl Mac {
    /// The address of these bytes, as they are sent.
    ///
    /// # Errors
    ///
    /// They are a group's or nobody's.
    pub fn new(bytes: [u8; 6]) -> Result<Self, MacError> {
        match bytes {
            [0, 0, 0, 0, 0, 0] => Err(MacError::Zero),
            [first, ..] if first & 1 != 0 => Err(MacError::Group),
            _ => Ok(Self(bytes)),
        }
    }

    /// An address that belongs to no maker's card, made of 46 bits that are random or of the machine's own: the bit
    /// for "locally administered" is set in it, that for "group" is not.
    pub fn local(bits: u64) -> Self {
        let [_, _, mut bytes @ ..] = bits.to_be_bytes();
        bytes[0] = bytes[0] & !1 | 2;
        Self(bytes)
    }

    /// Its bytes, as they are sent.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or(MacError::Form)?;
        }
        if parts.next().is_some() { Err(MacError::Form) } else { Self::new(bytes) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

#[cfg(test)]
#[path = "mac_test.rs"]
mod tests;
