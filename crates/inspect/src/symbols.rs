//! Names and source lines of a guest's addresses.
//!
//! Two formats: ELF images (System V ABI, "Symbol Table"; DWARF 5, 6.2 "Line Number Information"), and the text that `nm`
//! prints, of which Linux's `System.map` and `/proc/kallsyms` are examples.
//!
//! An image may come from anywhere and may be damaged on purpose. What is read is bounded: the image's size, the number
//! of its sections and symbols, the length of each name. Work and memory grow with the image, not faster.

mod elf;
#[cfg(test)]
pub(crate) mod exercise;
mod lines;
mod name;
mod nm;
#[cfg(test)]
pub(crate) mod sample;
mod table;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use thiserror::Error;

use lines::Lines;
use table::Table;

/// The longest image that is read, in bytes: a Linux kernel with all its debug information has half of it.
pub const MAX_IMAGE: u64 = 1 << 30;
/// The most symbols an image may have: a Linux kernel has a fifth of it.
pub const MAX_SYMBOLS: usize = 1 << 20;

/// The symbols of one guest image.
///
/// ```
/// use strata_inspect::Symbols;
///
/// let map = b"ffffffff81000000 T _text\nffffffff81000040 T startup_64\n";
/// let symbols = Symbols::read(map)?;
/// assert_eq!(symbols.find(0xffff_ffff_8100_005c).unwrap().to_string(), "startup_64+0x1c");
/// # Ok::<(), strata_inspect::symbols::SymbolError>(())
/// ```
#[derive(Debug, Default)]
pub struct Symbols {
    table: Table,
    lines: Lines,
    loads: Vec<Load>,
    bias: u64,
}

/// A segment that lies elsewhere in physical memory than it is linked for. Until such a kernel has turned paging on, it
/// runs at the physical addresses.
#[derive(Clone, Copy, Debug)]
struct Load {
    phys: u64,
    virt: u64,
    len: u64,
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
pub enum SymbolError {
    /// Longer than [`MAX_IMAGE`].
    #[error("the image has more than {MAX_IMAGE:#x} bytes; strip its debug information")]
    TooLong,
    /// More symbols than [`MAX_SYMBOLS`], or names too long in sum.
    #[error(
        "the image has more than {MAX_SYMBOLS} symbols, or their names are too long; strip those nobody needs"
    )]
    TooMany,
    /// More sections than a linked image has.
    #[error("the image has {0} sections; no linked image has so many: build it anew")]
    TooManySections(usize),
    /// The file header is damaged, or of another byte order than x86's.
    #[error("the image's ELF header is wrong ({0}); build it anew for x86")]
    Header(object::Error),
    /// The section table is damaged.
    #[error("the image's section table is wrong ({0}); build it anew")]
    Sections(object::Error),
    /// The symbol table or its strings are damaged.
    #[error("the image's symbol table is wrong ({0}); build it anew")]
    Table(object::Error),
    /// An object file.
    #[error("the image is an object file, whose symbols have no addresses yet; link it")]
    NotLinked,
    /// `/proc/kallsyms` as an unprivileged user sees it.
    #[error("the address of every symbol is 0: the kernel that printed them hides them; read them as root")]
    Hidden,
    /// A pipe, a folder or a device: reading it might never end.
    #[error("{} is no regular file; write the symbols to one", .0.display())]
    NoFile(PathBuf),
    /// Reading the file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Symbols {
    /// Reads the symbols of an ELF image, or of `nm`'s output. Anything else, and a stripped image, has none: that is no
    /// error.
    pub fn read(image: &[u8]) -> Result<Self, SymbolError> {
        if image.len() as u64 > MAX_IMAGE {
            return Err(SymbolError::TooLong);
        }
        if image.starts_with(&object::elf::ELFMAG) {
            return elf::read(image);
        }
        Ok(Self { table: nm::read(image)?, ..Self::default() })
    }

    /// [`read`](Self::read)s a regular file, of which no more than [`MAX_IMAGE`] bytes are looked at.
    pub fn open(path: &Path) -> Result<Self, SymbolError> {
        // Before it is opened: opening a FIFO waits for a writer.
        if !fs::metadata(path)?.is_file() {
            return Err(SymbolError::NoFile(path.to_owned()));
        }
        let mut image = Vec::new();
        File::open(path)?.take(MAX_IMAGE + 1).read_to_end(&mut image)?;
        Self::read(&image)
    }

    /// The same symbols for a kernel that runs `bias` bytes above where it was linked (modulo 2^64): one that was moved
    /// (KASLR), or is position-independent.
    #[must_use]
    pub fn with_bias(self, bias: u64) -> Self {
        Self { bias, ..self }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What lies at a linear address: the function or variable that it is in, or else the label before it.
    pub fn find(&self, addr: u64) -> Option<Symbol<'_>> {
        self.linked(addr).find_map(|addr| self.table.find(addr))
    }

    /// The source line of the instruction at a linear address, where the image has debug information.
    ///
    /// The first call reads the line tables once, which takes about a second for a Linux kernel.
    pub fn line(&self, addr: u64) -> Option<Line> {
        self.linked(addr).find_map(|addr| self.lines.find(addr))
    }

    /// The linear address of the symbol of that name.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        Some(self.table.address_of(name)?.wrapping_add(self.bias))
    }

    /// Where an address that the guest uses may lie in the image: as it was linked, or as it was loaded.
    fn linked(&self, addr: u64) -> impl Iterator<Item = u64> {
        let addr = addr.wrapping_sub(self.bias);
        let moved = self.loads.iter().filter_map(move |load| {
            let offset = addr.checked_sub(load.phys).filter(|offset| *offset < load.len)?;
            Some(load.virt.wrapping_add(offset))
        });
        std::iter::once(addr).chain(moved)
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

#[cfg(test)]
#[path = "symbols_test.rs"]
mod tests;
