//! Exceptions: their vectors, names and error codes, and which two of them make a double fault.
//!
//! SDM 3A 7.3 "Sources of Interrupts", table 7-1; 7.15 "Exception and Interrupt Reference"; APM 2 8.2.

use std::fmt;

/// An exception as the processor raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exception {
    /// 0 to 31.
    pub vector: u8,
    /// What is pushed behind the return address, for the vectors that push something.
    pub error_code: Option<u32>,
    /// What #PF leaves in CR2: the linear address.
    pub address: Option<u64>,
}

/// The short names of the manuals, by vector; those that are reserved have none. SDM 3A table 7-1; APM 2 table 8-1.
const NAMES: [Option<&str>; 32] = [
    Some("#DE"),
    Some("#DB"),
    Some("NMI"),
    Some("#BP"),
    Some("#OF"),
    Some("#BR"),
    Some("#UD"),
    Some("#NM"),
    Some("#DF"),
    None,
    Some("#TS"),
    Some("#NP"),
    Some("#SS"),
    Some("#GP"),
    Some("#PF"),
    None,
    Some("#MF"),
    Some("#AC"),
    Some("#MC"),
    Some("#XM"),
    Some("#VE"),
    Some("#CP"),
    None,
    None,
    None,
    None,
    None,
    None,
    Some("#HV"),
    Some("#VC"),
    Some("#SX"),
    None,
];

impl Exception {
    /// Divide error.
    pub const DE: Self = Self::plain(0);
    /// Debug.
    pub const DB: Self = Self::plain(1);
    /// Breakpoint.
    pub const BP: Self = Self::plain(3);
    /// Invalid opcode.
    pub const UD: Self = Self::plain(6);
    /// Device not available.
    pub const NM: Self = Self::plain(7);
    /// Double fault; its error code is always 0.
    pub const DF: Self = Self { error_code: Some(0), ..Self::plain(8) };

    /// One that pushes no error code.
    pub const fn plain(vector: u8) -> Self {
        Self { vector, error_code: None, address: None }
    }

    /// Invalid TSS, segment not present, stack fault or general protection: 10 to 13, with its error code.
    pub const fn with_code(vector: u8, error_code: u32) -> Self {
        Self { vector, error_code: Some(error_code), address: None }
    }

    /// General protection. SDM 3A 7.13: the code is a selector with its lowest bits EXT, IDT and TI, or 0.
    pub const fn gp(error_code: u32) -> Self {
        Self::with_code(13, error_code)
    }

    /// Page fault at a linear address. SDM 3A 7.15, "Interrupt 14".
    pub const fn pf(address: u64, error_code: u32) -> Self {
        Self { vector: 14, error_code: Some(error_code), address: Some(address) }
    }

    /// `#PF`, or `vector 9` for one without a name.
    pub fn name(&self) -> VectorName {
        VectorName(self.vector)
    }

    /// Whether raising `second` while this is delivered is a double fault instead: a contributory exception in a
    /// contributory one, either in a page fault. SDM 3A 7.15, "Interrupt 8", table 7-5; APM 2 8.2.9.
    pub fn doubles_with(&self, second: &Self) -> bool {
        let second = second.class();
        match self.class() {
            Class::Benign => false,
            Class::Contributory => second == Class::Contributory,
            Class::PageFault => second != Class::Benign,
        }
    }

    fn class(&self) -> Class {
        match self.vector {
            0 | 10..=13 | 21 => Class::Contributory,
            14 | 20 => Class::PageFault,
            _ => Class::Benign,
        }
    }
}

/// SDM 3A table 7-4.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
}

/// Prints the short name of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VectorName(pub u8);

impl fmt::Display for VectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)).copied().flatten() {
            Some(name) => f.pad(name),
            None => write!(f, "vector {}", self.0),
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match self.error_code {
            Some(code) => write!(f, "({code:#x})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_manuals() {
        assert_eq!(Exception::pf(0x1000, 2).to_string(), "#PF(0x2)");
        assert_eq!(Exception::UD.to_string(), "#UD");
        assert_eq!(VectorName(9).to_string(), "vector 9");
        assert_eq!(VectorName(0x80).to_string(), "vector 128");
    }

    #[test]
    fn two_faults_double_as_the_table_says() {
        let (pf, gp, ud) = (Exception::pf(0, 0), Exception::gp(0), Exception::UD);
        for (first, second, doubles) in [
            (pf, pf, true),
            (pf, gp, true),
            (gp, gp, true),
            (Exception::DE, gp, true),
            (gp, pf, false),
            (ud, gp, false),
            (gp, ud, false),
            (pf, ud, false),
            (Exception::BP, pf, false),
        ] {
            assert_eq!(first.doubles_with(&second), doubles, "{first} then {second}");
        }
    }
}
