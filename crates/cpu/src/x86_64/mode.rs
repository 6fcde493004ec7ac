//! The three modes a guest can be entered in.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The processor mode of a guest's first instruction. SDM 3A 2.2 "Modes of Operation"; APM 2 1.3.
///
/// In text, also in configuration files: `real16`, `protected32`, `long64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 16-bit real-address mode, as after reset: no protection, 1 MiB of addresses.
    Real16,
    /// 32-bit protected mode with flat segments, paging off.
    Protected32,
    /// 64-bit mode of long mode (IA-32e), paging on, as it must be.
    Long64,
}

impl Mode {
    /// All modes, in the order the processor goes through them.
    pub const ALL: [Self; 3] = [Self::Real16, Self::Protected32, Self::Long64];

    /// The name the mode has in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Real16 => "real16",
            Self::Protected32 => "protected32",
            Self::Long64 => "long64",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no mode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no processor mode; use real16, protected32 or long64")]
pub struct ParseModeError {
    /// What was given.
    pub text: String,
}

impl FromStr for Mode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, ParseModeError> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| ParseModeError { text: text.into() })
    }
}

#[cfg(test)]
#[path = "mode_test.rs"]
mod tests;
