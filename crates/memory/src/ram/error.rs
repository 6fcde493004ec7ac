//! Why RAM could not be had.

use std::{fmt, io};

use thiserror::Error;
use vm_memory::GuestRegionCollectionError;
use vm_memory::mmap::MmapRegionError;

use super::{HugePageSize, Piece};
use crate::layout::PHYSICAL_ADDRESS_END;

/// Why [`RamSpec::build`](super::RamSpec::build) failed. Sizes are in bytes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RamError {
    /// There is no piece at all.
    #[error("the guest has no RAM: give it a size, or at least one piece")]
    Empty,
    /// A piece has no bytes.
    #[error("the RAM at {start:#x} has size 0: give it at least one page of 4 KiB, or leave it out")]
    ZeroSize {
        /// Where it was to start.
        start: u64,
    },
    /// A piece starts or ends inside a page (of the size its backing has).
    #[error(
        "RAM of {} at {start:#x} is misaligned: both have to be multiples of {}",
        Bytes(*.len),
        Bytes(*.required)
    )]
    Misaligned {
        /// Where it was to start.
        start: u64,
        /// Its size.
        len: u64,
        /// What start and size have to be multiples of.
        required: u64,
    },
    /// Two pieces share an address.
    #[error("the RAM pieces {a} and {b} overlap: move or shorten one of them")]
    Overlap {
        /// The one that starts first.
        a: Piece,
        /// The one that starts inside it.
        b: Piece,
    },
    /// A piece ends beyond what a guest-physical address can name.
    #[error("RAM of {} at {start:#x} ends beyond {PHYSICAL_ADDRESS_END:#x}, where physical addresses end: \
             move it down or make it smaller", Bytes(*.len))]
    AddressOverflow {
        /// Where it was to start.
        start: u64,
        /// Its size.
        len: u64,
    },
    /// More is asked for than the host has, its swap included.
    #[error("{} of RAM is more than the host's {} (memory and swap): give the guest less",
            Bytes(*.requested), Bytes(*.host))]
    TooLarge {
        /// The sum of all pieces.
        requested: u64,
        /// What the host has in all, free or not.
        host: u64,
    },
    /// The host has not enough free huge pages of this size, or none at all.
    #[error("{needs} huge pages of {size} are needed, {} on this host: \
             as root, write {needs} or more to /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages, \
             or back the RAM with something else", Free(*.free), .size.bytes() >> 10)]
    HugePagesUnavailable {
        /// Their size.
        size: HugePageSize,
        /// How many the guest needs.
        needs: u64,
        /// How many are free now; `None` when the host has no huge pages of this size.
        free: Option<u64>,
        /// What the kernel said.
        source: io::Error,
    },
    /// The backing file is shorter than the RAM.
    #[error(
        "the backing file has {has} bytes, the RAM needs {needs}: lengthen it first (truncate -s {needs})"
    )]
    FileTooSmall {
        /// The file's length.
        has: u64,
        /// The sum of all pieces.
        needs: u64,
    },
    /// The backing file's length could not be read.
    #[error("the backing file's length cannot be read")]
    BackingFile {
        /// What the kernel said.
        source: io::Error,
    },
    /// No memory file could be made.
    #[error("no memory file can be made for the RAM: use anonymous memory instead")]
    Memfd {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a mapping.
    #[error(
        "the RAM at {piece} cannot be mapped: \
             check the process's limits (ulimit -v) and, with a backing file, \
             that it is open for reading and writing"
    )]
    Map {
        /// What was to be mapped.
        piece: Piece,
        /// What the kernel said.
        source: io::Error,
    },
    /// `vm-memory` refused a mapping that the kernel had made.
    #[error("the mapping is none that vm-memory takes")]
    Region {
        /// What it said.
        source: MmapRegionError,
    },
    /// `vm-memory` refused the mappings taken together.
    #[error("the mappings are none that vm-memory takes together")]
    Collection {
        /// What it said.
        source: GuestRegionCollectionError,
    },
}

/// A size for people: in the largest binary unit that divides it.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shift, unit) = match self.0.trailing_zeros() {
            30..64 => (30, "GiB"),
            20..30 => (20, "MiB"),
            10..20 => (10, "KiB"),
            _ => (0, "bytes"),
        };
        write!(f, "{} {unit}", self.0 >> shift)
    }
}

struct Free(Option<u64>);

impl fmt::Display for Free {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(free) => write!(f, "{free} are free"),
            None => f.write_str("there are none"),
        }
    }
}

#[cfg(test)]
#[path = "error_test.rs"]
mod tests;
