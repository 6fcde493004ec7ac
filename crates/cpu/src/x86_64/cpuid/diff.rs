//! Two sets of leaves compared, bit by bit where registers are bits.

use std::fmt;

use super::{Cpuid, Feature, Leaf, Register, WORDS, is_indexed};

/// What differs in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A feature bit.
    Bit {
        /// Which one, 0 to 31.
        bit: u8,
        /// Its name, where it has one.
        feature: Option<Feature>,
        /// Whether the second set has it; the first then has not.
        set: bool,
    },
    /// A register of numbers.
    Value {
        /// In the first set.
        from: u32,
        /// In the second.
        to: u32,
    },
}

/// A difference, and where it is.
///
/// In text: `- avx2 (0x7.0 ebx bit 5)`, `~ 0x4.3 eax: 0x1c03c163 -> 0x00004163`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The leaf.
    pub function: u32,
    /// Its subleaf, where the answer depends on it.
    pub index: Option<u32>,
    /// The register.
    pub register: Register,
    /// What differs.
    pub change: Change,
}

impl Difference {
    /// The leaf and the register, and the bit where it is one: `0x7.0 ebx bit 5`.
    pub fn place(&self) -> String {
        let index = self.index.map_or(String::new(), |index| format!(".{index}"));
        let register = format!("{:#x}{index} {}", self.function, self.register);
        match self.change {
            Change::Bit { bit, .. } => format!("{register} bit {bit}"),
            Change::Value { .. } => register,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match self.change {
            Change::Bit { feature, set, .. } => {
                let sign = if set { '+' } else { '-' };
                let name = feature.map_or("unnamed", |feature| feature.name);
                write!(f, "{sign} {name} ({place})")
            }
            Change::Value { from, to } => write!(f, "~ {place}: {from:#010x} -> {to:#010x}"),
        }
    }
}

/// What is different in `to`, by leaf, subleaf, register and bit.
///
/// # Examples
///
/// ```
/// use strata_cpu::x86_64::cpuid::{Cpuid, Leaf, diff};
///
/// let from = Cpuid::new([Leaf { ebx: 1 << 5 | 1 << 22, ..Leaf::zero(7, Some(0)) }]);
/// let to = Cpuid::new([Leaf { ebx: 1 << 8, ..Leaf::zero(7, Some(0)) }]);
/// let lines: Vec<_> = diff(&from, &to).iter().map(ToString::to_string).collect();
/// assert_eq!(lines, ["- avx2 (0x7.0 ebx bit 5)", "+ bmi2 (0x7.0 ebx bit 8)", "- unnamed (0x7.0 ebx bit 22)"]);
/// ```
pub fn diff(from: &Cpuid, to: &Cpuid) -> Vec<Difference> {
    let both = Cpuid::new(from.leaves().iter().chain(to.leaves()).copied());
    both.leaves().iter().flat_map(|leaf| differences(from, to, leaf)).collect()
}

fn differences(from: &Cpuid, to: &Cpuid, leaf: &Leaf) -> Vec<Difference> {
    let Leaf { function, index, .. } = *leaf;
    let subleaf = index.unwrap_or(0);
    let (before, after) = (from.get(function, subleaf), to.get(function, subleaf));
    let mut found = Vec::new();
    for register in Register::ALL {
        let (from, to) = (before.register(register), after.register(register));
        if from == to {
            continue;
        }
        let word = WORDS.iter().find(|word| {
            let subleaf = if is_indexed(function) { index } else { None };
            (word.function, word.index, word.register) == (function, subleaf, register)
        });
        let at = |change| Difference { function, index, register, change };
        match word {
            None => found.push(at(Change::Value { from, to })),
            Some(word) => {
                let bits = (0..32).filter(|bit| (from ^ to) >> bit & 1 == 1);
                found.extend(
                    bits.map(|bit| {
                        at(Change::Bit { bit, feature: word.feature(bit), set: to >> bit & 1 == 1 })
                    }),
                );
            }
        }
    }
    found
}
