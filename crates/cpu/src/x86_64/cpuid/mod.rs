//! CPUID: what a guest is told about its processor.
//!
//! ```text
//! what KVM can give ─► guest(baseline, topology, options) ─► for_vcpu(apic id) ─► KVM_SET_CPUID2
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | [`feature`] | every bit that has a name, with its manual and what becomes of it |
//! | [`baseline`] | `host`, `x86-64-v2`, `x86-64-v3` |
//! | [`topology`] | how many processors there are, and which caches they share |
//! | [`policy`] | [`guest`]: from the host's set to the guest's |
//! | [`diff`](mod@diff) | two sets compared bit by bit |

pub mod baseline;
pub mod diff;
pub mod feature;
pub mod policy;
mod table;
pub mod topology;

use std::{fmt, str::FromStr};

pub use baseline::{Baseline, ParseBaselineError};
pub use diff::{Change, Difference, diff};
pub use feature::{Class, Feature, WORDS, Word};
pub use policy::{CpuidError, Options, guest};
use thiserror::Error;
pub use topology::Topology;

/// One of the four registers in which CPUID answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

impl Register {
    /// All four, in the order of their names.
    pub const ALL: [Self; 4] = [Self::Eax, Self::Ebx, Self::Ecx, Self::Edx];
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Eax => "eax",
            Self::Ebx => "ebx",
            Self::Ecx => "ecx",
            Self::Edx => "edx",
        })
    }
}

/// What CPUID answers to one question. SDM 2A, "CPUID"; APM 3, appendix E.
///
/// In text it is a line as the tool cpuid(1) prints with `--raw`:
/// `0x00000001 0x00: eax=0x00a10f11 ebx=0x00020800 ecx=0x81202000 edx=0x078bfbff`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// The question: EAX. Basic leaves begin at 0, the hypervisor's at `0x4000_0000`, extended ones at `0x8000_0000`.
    pub function: u32,
    /// The subleaf: ECX. None where the answer does not depend on it.
    pub index: Option<u32>,
    /// The answer's EAX.
    pub eax: u32,
    /// The answer's EBX.
    pub ebx: u32,
    /// The answer's ECX.
    pub ecx: u32,
    /// The answer's EDX.
    pub edx: u32,
}

impl Leaf {
    /// The leaf that answers zeros.
    pub const fn zero(function: u32, index: Option<u32>) -> Self {
        Self { function, index, eax: 0, ebx: 0, ecx: 0, edx: 0 }
    }

    /// Whether the answer is zeros, which is also what a leaf answers that does not exist.
    pub const fn is_zero(&self) -> bool {
        self.eax == 0 && self.ebx == 0 && self.ecx == 0 && self.edx == 0
    }

    /// One register of the answer.
    pub const fn register(&self, register: Register) -> u32 {
        match register {
            Register::Eax => self.eax,
            Register::Ebx => self.ebx,
            Register::Ecx => self.ecx,
            Register::Edx => self.edx,
        }
    }

    /// One register of the answer, to be changed.
    pub const fn register_mut(&mut self, register: Register) -> &mut u32 {
        match register {
            Register::Eax => &mut self.eax,
            Register::Ebx => &mut self.ebx,
            Register::Ecx => &mut self.ecx,
            Register::Edx => &mut self.edx,
        }
    }

    const fn key(&self) -> (u32, u32) {
        (
            self.function,
            match self.index {
                Some(index) => index,
                None => 0,
            },
        )
    }
}

/// Whether the answer of `function` depends on the subleaf in ECX. SDM 2A, "CPUID"; APM 3, E.3 and E.4.
pub const fn is_indexed(function: u32) -> bool {
    matches!(
        function,
        0x4 | 0x7 | 0xb | 0xd | 0xf | 0x10 | 0x12 | 0x14 | 0x17 | 0x18 | 0x1d
            ..=0x20 | 0x23 | 0x24 | 0x8000_001d | 0x8000_0020 | 0x8000_0026
    )
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, index, eax, ebx, ecx, edx } = self;
        let index = index.unwrap_or(0);
        write!(
            f,
            "{function:#010x} {index:#04x}: eax={eax:#010x} ebx={ebx:#010x} ecx={ecx:#010x} edx={edx:#010x}"
        )
    }
}

/// The text is no CPUID leaf.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no CPUID leaf; write one as `cpuid --raw` prints it: 0x00000001 0x00: eax=0x.. ebx=0x.. ecx=0x.. edx=0x.."
)]
pub struct ParseLeafError {
    /// What was given.
    pub text: String,
}

impl FromStr for Leaf {
    type Err = ParseLeafError;

    fn from_str(text: &str) -> Result<Self, ParseLeafError> {
        let hex = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let parse = || {
            let (question, answer) = text.split_once(':')?;
            let mut question = question.split_ascii_whitespace().map(hex);
            let (function, index) = (question.next()??, question.next()??);
            let mut answer = answer.split_ascii_whitespace();
            let mut leaf = Self::zero(function, is_indexed(function).then_some(index));
            for register in Register::ALL {
                let (name, value) = answer.next()?.split_once('=')?;
                (name == register.to_string()).then_some(())?;
                *leaf.register_mut(register) = hex(value)?;
            }
            (question.next().is_none() && answer.next().is_none()).then_some(leaf)
        };
        parse().ok_or_else(|| ParseLeafError { text: text.into() })
    }
}

/// The leaves of one processor, sorted by function and subleaf.
///
/// # Examples
///
/// ```
/// use strata_cpu::x86_64::cpuid::{Cpuid, Feature, Leaf};
///
/// let cpuid = Cpuid::new([Leaf { edx: 1 << 26, ..Leaf::zero(1, None) }]);
/// assert_eq!(cpuid.get(1, 0).edx, 1 << 26);
/// assert!(cpuid.get(7, 0).is_zero()); // a leaf that does not exist answers zeros
/// assert!(cpuid.has(Feature::named("sse2").unwrap()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpuid(Vec<Leaf>);

impl Cpuid {
    /// These leaves, sorted. Of two for the same question, the first is the one that answers.
    pub fn new(leaves: impl IntoIterator<Item = Leaf>) -> Self {
        let leaves = leaves.into_iter();
        let mut sorted = Vec::<Leaf>::with_capacity(leaves.size_hint().0);
        for leaf in leaves {
            // They come sorted for the most part.
            if sorted.last().is_none_or(|last| last.key() < leaf.key()) {
                sorted.push(leaf);
            } else if let Err(at) = sorted.binary_search_by_key(&leaf.key(), Leaf::key) {
                sorted.insert(at, leaf);
            }
        }
        Self(sorted)
    }

    /// What CPUID answers; zeros where there is no such leaf.
    pub fn get(&self, function: u32, index: u32) -> Leaf {
        self.find(function, index).unwrap_or(Leaf::zero(function, is_indexed(function).then_some(index)))
    }

    fn find(&self, function: u32, index: u32) -> Option<Leaf> {
        self.0
            .iter()
            .find(|leaf| leaf.function == function && leaf.index.is_none_or(|own| own == index))
            .copied()
    }

    /// A leaf to be changed; it is made, as zeros, where there is none.
    pub fn get_mut(&mut self, function: u32, index: Option<u32>) -> &mut Leaf {
        let new = Leaf::zero(function, index);
        let at = match self.0.binary_search_by_key(&new.key(), Leaf::key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, new);
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or inserted there, just now")]
        &mut self.0[at]
    }

    /// The leaves, in order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.0
    }

    /// Keeps those leaves that `keep` approves of.
    pub fn retain(&mut self, keep: impl FnMut(&Leaf) -> bool) {
        self.0.retain(keep);
    }

    /// Whether the bit of `feature` is set.
    pub fn has(&self, feature: Feature) -> bool {
        let word = feature.word;
        self.get(word.function, word.index.unwrap_or(0)).register(word.register) & feature.mask() != 0
    }

    /// The highest leaf of the range that begins at `start`: 0, `0x4000_0000` or `0x8000_0000`. SDM 2A, "CPUID", EAX of
    /// the range's first leaf.
    pub fn highest(&self, start: u32) -> u32 {
        self.get(start, 0).eax
    }

    /// The twelve letters in leaf 0: `GenuineIntel`, `AuthenticAMD`.. SDM 2A, "CPUID"; APM 3, E.3.1.
    pub fn vendor(&self) -> [u8; 12] {
        let Leaf { ebx, ecx, edx, .. } = self.get(0, 0);
        let mut vendor = [0; 12];
        for (into, from) in vendor.chunks_exact_mut(4).zip([ebx, edx, ecx]) {
            into.copy_from_slice(&from.to_le_bytes());
        }
        vendor
    }

    /// Whether this is an AMD processor, or Hygon's, which is AMD's design: they keep topology elsewhere.
    pub fn is_amd(&self) -> bool {
        matches!(&self.vendor(), b"AuthenticAMD" | b"HygonGenuine")
    }

    /// The same with one vCPU's own APIC id in it, wherever CPUID reports that.
    ///
    /// Leaf 1 EBX\[31:24\] (the initial APIC id: 8 bits), EDX of every subleaf of 0xb and 0x1f (the x2APIC id) (SDM 2A,
    /// "CPUID"); on AMD also `0x8000_001e` (EAX, and the core's number in EBX\[7:0\]) and EDX of `0x8000_0026` (APM 3, E.4.16
    /// and E.4.24).
    #[must_use]
    pub fn for_vcpu(&self, apic_id: u32) -> Self {
        let mut own = self.clone();
        for leaf in &mut own.0 {
            match leaf.function {
                0x1 => leaf.ebx = leaf.ebx & 0x00ff_ffff | (apic_id & 0xff) << 24,
                0xb | 0x1f | 0x8000_0026 => leaf.edx = apic_id,
                0x8000_001e => {
                    let threads = (leaf.ebx >> 8 & 0xff) + 1;
                    leaf.eax = apic_id;
                    leaf.ebx = leaf.ebx & !0xff | ((apic_id / threads) & 0xff);
                }
                _ => {}
            }
        }
        own
    }
}

impl FromIterator<Leaf> for Cpuid {
    fn from_iter<I: IntoIterator<Item = Leaf>>(leaves: I) -> Self {
        Self::new(leaves)
    }
}

#[cfg(test)]
#[path = "cpuid_test.rs"]
mod tests;
