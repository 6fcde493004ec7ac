//! Every CPUID bit that has a name, and what becomes of it in a guest.
//!
//! Names are the manuals' mnemonics in lower case, for the most part as Linux prints them in `/proc/cpuinfo`.

use std::fmt;

pub use super::table::WORDS;
use super::{Baseline, Options, Register};

/// What decides whether a guest sees a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Part of the first x86-64 level, and so of all others. x86-64 psABI 3.1.1, table 3.1.
    Level1,
    /// Part of `x86-64-v2` and above. x86-64 psABI 3.1.1, table 3.1.
    Level2,
    /// Part of `x86-64-v3`. x86-64 psABI 3.1.1, table 3.1; AVX needs XSAVE there (its OSXSAVE is the kernel's answer).
    Level3,
    /// What every 64-bit operating system relies on; part of each named baseline. Linux
    /// `arch/x86/include/asm/required-features.h` asks for most of these.
    System,
    /// Kept under every baseline where the host has it, and missed nowhere: what protects the guest, tells time, or lets it
    /// know its hypervisor. Only kernels use these; they look before they do.
    Kept,
    /// Only under [`Baseline::Host`].
    Host,
    /// Needs a local APIC in the kernel: see [`Options::local_apic`]. Kept under every baseline, like [`Class::Kept`].
    Apic,
    /// Needs [`Options::nested`], under [`Baseline::Host`].
    Nested,
    /// Needs [`Options::pmu`], under [`Baseline::Host`].
    Pmu,
    /// Follows from the topology.
    Topology,
    /// KVM itself sets it while the guest runs, from the guest's control registers.
    Runtime,
    /// Set for every guest.
    Always,
    /// Never set: nothing stands behind it in a virtual machine. The reason ends "cleared, since..".
    Unbacked(&'static str),
}

impl Class {
    /// Whether a host that lacks it cannot run guests of `baseline`.
    pub const fn is_part_of(self, baseline: Baseline) -> bool {
        match self {
            Self::Level1 | Self::Level2 | Self::System => !matches!(baseline, Baseline::Host),
            Self::Level3 => matches!(baseline, Baseline::X86_64V3),
            _ => false,
        }
    }

    /// Whether a guest of `baseline` has it where the host does.
    pub const fn survives(self, baseline: Baseline, options: Options) -> bool {
        let host = matches!(baseline, Baseline::Host);
        match self {
            Self::Level1 | Self::Level2 | Self::System | Self::Kept | Self::Always | Self::Topology => true,
            Self::Level3 => host || matches!(baseline, Baseline::X86_64V3),
            Self::Host => host,
            Self::Apic => options.local_apic,
            Self::Nested => host && options.nested,
            Self::Pmu => host && options.pmu,
            Self::Runtime | Self::Unbacked(_) => false,
        }
    }

    /// Why a guest that lacks it does, in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Level1 | Self::Level2 | Self::System | Self::Kept | Self::Always => "the host lacks it",
            Self::Level3 | Self::Host => "not part of the baseline",
            Self::Apic => "no local APIC, or not asked for",
            Self::Nested => "nested virtualisation is not asked for",
            Self::Pmu => "performance counters are not asked for",
            Self::Topology => "follows from the number of vCPUs",
            Self::Runtime => "set by KVM as the guest runs",
            Self::Unbacked(reason) => reason,
        }
    }
}

/// A register of feature bits.
#[derive(Debug)]
pub struct Word {
    /// The leaf.
    pub function: u32,
    /// Its subleaf, where it has several.
    pub index: Option<u32>,
    /// The register.
    pub register: Register,
    /// The paragraph that describes its bits.
    pub source: &'static str,
    /// Bit, name, class.
    pub(super) bits: &'static [(u8, &'static str, Class)],
}

impl Word {
    /// The features in it, from bit 0 up.
    pub fn features(&'static self) -> impl Iterator<Item = Feature> {
        self.bits.iter().map(move |&(bit, name, class)| Feature { name, word: self, bit, class })
    }

    /// The feature of one bit, where it has a name.
    pub fn feature(&'static self, bit: u8) -> Option<Feature> {
        self.features().find(|feature| feature.bit == bit)
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        (self.function, self.index, self.register) == (other.function, other.index, other.register)
    }
}

impl Eq for Word {}

/// `0x7.0 ebx`
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.function)?;
        if let Some(index) = self.index {
            write!(f, ".{index}")?;
        }
        write!(f, " {}", self.register)
    }
}

/// One named bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, for instance `avx2`.
    pub name: &'static str,
    /// Where it is.
    pub word: &'static Word,
    /// Which bit, 0 to 31.
    pub bit: u8,
    /// What decides about it.
    pub class: Class,
}

impl Feature {
    /// Every feature, by leaf and bit.
    pub fn all() -> impl Iterator<Item = Self> {
        WORDS.iter().flat_map(Word::features)
    }

    /// The feature of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|feature| feature.name == name)
    }

    /// The bit in its register.
    pub const fn mask(&self) -> u32 {
        1 << (self.bit & 31)
    }
}

#[cfg(test)]
#[path = "feature_test.rs"]
mod tests;
