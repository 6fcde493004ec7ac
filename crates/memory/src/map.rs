//! The memory map a guest is told of: address ranges and what each is for.
//!
//! The kinds are those of e820, the BIOS call whose table every x86 boot protocol still hands on (ACPI 6.5,
//! table 15.4). A map starts as plain RAM, and each [`insert`](MemoryMap::insert) carves its range out of
//! what was there: the last word wins, as it must when firmware tables are put into the middle of RAM.

use thiserror::Error;

use crate::ram::{Piece, RamSpec};

/// What an address range is for. The discriminants are e820's type numbers (ACPI 6.5, table 15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Kind {
    /// RAM the guest may use as it likes.
    Usable = 1,
    /// Not for the guest's allocator: devices, firmware, read-only RAM.
    Reserved = 2,
    /// RAM with ACPI tables; usable once the guest has read them.
    AcpiReclaimable = 3,
    /// RAM the guest must save over a sleep (ACPI NVS).
    AcpiNvs = 4,
    /// RAM in which errors were found.
    Unusable = 5,
    /// Persistent memory.
    Persistent = 7,
}

impl Kind {
    /// The type number in an e820 entry.
    pub const fn e820(self) -> u32 {
        self as u32
    }
}

/// One range of a [`MemoryMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The first guest-physical address, any byte.
    pub start: u64,
    /// Its size in bytes, never 0 inside a map.
    pub len: u64,
    /// What it is for.
    pub kind: Kind,
}

impl Entry {
    /// One past the last address. Does not overflow for an entry of a map.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Why a range was not put into a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The range has no bytes.
    #[error("the range at {start:#x} is empty: leave it out of the memory map")]
    ZeroSize {
        /// Its first address.
        start: u64,
    },
    /// The range ends beyond 2^64.
    #[error("{len:#x} bytes at {start:#x} end beyond the 64-bit address space: check start and length")]
    AddressOverflow {
        /// Its first address.
        start: u64,
        /// Its size in bytes.
        len: u64,
    },
}

/// Ranges of guest-physical addresses: sorted, disjoint, and merged where neighbours are of one kind.
///
/// ```
/// use strata_memory::{Entry, Kind, MemoryMap, RamSpec};
///
/// let mut map = MemoryMap::of(&RamSpec::new(16 << 20));
/// map.insert(Entry { start: 0x9_fc00, len: 0x400, kind: Kind::Reserved })?;
/// let kinds: Vec<_> = map.entries().iter().map(|entry| entry.kind).collect();
/// assert_eq!(kinds, [Kind::Usable, Kind::Reserved, Kind::Usable]);
/// # Ok::<(), strata_memory::map::InsertError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    entries: Vec<Entry>,
}

impl MemoryMap {
    /// A map without entries.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The map of the RAM that `spec` asks for: writable pieces are usable, read-only ones reserved.
    ///
    /// Pieces that [`RamSpec::build`] would refuse for having no bytes or no end are left out.
    pub fn of(spec: &RamSpec) -> Self {
        Self::of_pieces(spec.pieces())
    }

    /// The same for the pieces of a built [`Ram`](crate::Ram).
    pub fn of_pieces(pieces: &[Piece]) -> Self {
        let mut map = Self::new();
        for piece in pieces {
            let kind = if piece.read_only { Kind::Reserved } else { Kind::Usable };
            // An error is a piece which cannot exist, so there is nothing to tell the guest of.
            let _ = map.insert(Entry { start: piece.start.0, len: piece.len, kind });
        }
        map
    }

    /// The ranges in ascending order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The kind of the byte at `address`, `None` where the map has nothing.
    pub fn kind_at(&self, address: u64) -> Option<Kind> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        (address < entry.end()).then_some(entry.kind)
    }

    /// How many bytes are of `kind`.
    pub fn total(&self, kind: Kind) -> u64 {
        self.entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.len).sum()
    }

    /// Puts a range in, carving it out of whatever was there.
    ///
    /// # Errors
    /// A range without bytes, or one that ends beyond 2^64.
    pub fn insert(&mut self, entry: Entry) -> Result<(), InsertError> {
        let Entry { start, len, .. } = entry;
        if len == 0 {
            return Err(InsertError::ZeroSize { start });
        }
        let end = start.checked_add(len).ok_or(InsertError::AddressOverflow { start, len })?;

        let mut entries = Vec::with_capacity(self.entries.len() + 2);
        for old in &self.entries {
            if old.start < start {
                entries.push(Entry { len: old.end().min(start) - old.start, ..*old });
            }
            if old.end() > end {
                let from = old.start.max(end);
                entries.push(Entry { start: from, len: old.end() - from, ..*old });
            }
        }
        entries.push(entry);
        entries.sort_unstable_by_key(|entry| entry.start);
        entries.dedup_by(|next, entry| {
            let joins = entry.kind == next.kind && entry.end() == next.start;
            if joins {
                entry.len += next.len;
            }
            joins
        });
        self.entries = entries;
        Ok(())
    }
}

#[cfg(test)]
#[path = "map_test.rs"]
mod tests;
