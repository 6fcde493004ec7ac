//! Named sets of features that a guest can rely on.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// What a guest's processor can do, whatever host it runs on.
///
/// The levels are those of the x86-64 psABI (System V Application Binary Interface, AMD64 Architecture Processor
/// Supplement, 3.1.1 "Processor Architecture", table 3.1), and what an operating system needs with them; see
/// [`Class`](super::Class). In text, also in configuration files: `host`, `x86-64-v2`, `x86-64-v3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Baseline {
    /// Everything that the host's KVM has and the machine can back: fastest, but no two hosts need be alike.
    #[default]
    Host,
    /// SSE4.2, POPCNT, CMPXCHG16B: processors since 2009 (Intel Nehalem) and 2011 (AMD Bulldozer).
    X86_64V2,
    /// AVX2, BMI2, FMA, MOVBE: processors since 2013 (Intel Haswell) and 2015 (AMD Excavator).
    X86_64V3,
}

impl Baseline {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Host, Self::X86_64V2, Self::X86_64V3];

    /// The name it has in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::X86_64V2 => "x86-64-v2",
            Self::X86_64V3 => "x86-64-v3",
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no baseline.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no CPU baseline; use host, x86-64-v2 or x86-64-v3")]
pub struct ParseBaselineError {
    /// What was given.
    pub text: String,
}

impl FromStr for Baseline {
    type Err = ParseBaselineError;

    fn from_str(text: &str) -> Result<Self, ParseBaselineError> {
        Self::ALL
            .into_iter()
            .find(|baseline| baseline.name() == text)
            .ok_or_else(|| ParseBaselineError { text: text.into() })
    }
}
