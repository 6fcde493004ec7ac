//! Builds 4-level page tables as bytes. SDM 3A 5.5 "4-Level Paging"; APM 2 5.3.

use thiserror::Error;

use super::{Access, Mapping, PageSize};
use crate::x86_64::flags::PageEntry;

/// Bytes of one table, whatever its level.
const TABLE_BYTES: usize = 4096;
/// Bytes of one table, as an address difference.
const TABLE_STRIDE: u64 = 4096;
/// Entries of one table.
const ENTRIES: u64 = 512;
/// The most the architecture has. SDM 3A 5.1.4, MAXPHYADDR; APM 2 5.1.
const MAX_PHYS_BITS: u8 = 52;
/// Tables a builder makes at most: 4 GiB of them, which map 2 TiB even by 4 KiB pages.
const MAX_TABLES: u64 = 1 << 20;
/// PML4 is level 4, a PT level 1.
const TOP_LEVEL: u32 = 4;

/// Why a mapping was refused. Nothing is changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MapError {
    /// Tables lie at multiples of 4 KiB.
    #[error("page tables cannot lie at {tables_at:#x}: use a multiple of 0x1000")]
    TablesMisaligned {
        /// Where they were to lie.
        tables_at: u64,
    },
    /// The tables themselves need room below the end of physical memory.
    #[error("{tables} page tables from {tables_at:#x} end beyond the {phys_bits}-bit physical addresses")]
    TablesBeyondPhysical {
        /// Where the tables start.
        tables_at: u64,
        /// How many there would be, at most.
        tables: u64,
        /// Width of a physical address.
        phys_bits: u8,
    },
    /// It would take more than 4 GiB of tables.
    #[error("mapping {mapping} takes up to {tables} page tables of 4 KiB: use larger pages")]
    TooManyTables {
        /// What was asked for.
        mapping: Mapping,
        /// How many there would be, at most.
        tables: u64,
    },
    /// The length is zero.
    #[error("mapping {mapping} is empty: give it a length of at least one page")]
    Empty {
        /// What was asked for.
        mapping: Mapping,
    },
    /// An address or the length is no multiple of the page size.
    #[error(
        "mapping {mapping} is misaligned: both addresses and the length must be multiples of {:#x}",
        .mapping.page.bytes()
    )]
    Misaligned {
        /// What was asked for.
        mapping: Mapping,
    },
    /// Bits 63 to 47 of a virtual address must be equal, all through the range. SDM 1 3.3.7.1.
    #[error(
        "mapping {mapping} is not canonical: stay below 0x800000000000 or at and above 0xffff800000000000"
    )]
    NonCanonical {
        /// What was asked for.
        mapping: Mapping,
    },
    /// A physical address is wider than the processor has.
    #[error("mapping {mapping} ends beyond the {phys_bits}-bit physical addresses")]
    BeyondPhysical {
        /// What was asked for.
        mapping: Mapping,
        /// Width of a physical address.
        phys_bits: u8,
    },
    /// It could be written and executed, which was not asked for explicitly.
    #[error("mapping {mapping} can be written and executed: ask for it with Access::RWX, or drop one")]
    WriteAndExecute {
        /// What was asked for.
        mapping: Mapping,
    },
    /// Some of its virtual addresses are mapped already.
    #[error("mapping {new} overlaps mapping {old}")]
    Overlap {
        /// What was asked for.
        new: Mapping,
        /// What is there.
        old: Mapping,
    },
}

/// Page tables under construction; start with [`PageTables::new`].
///
/// It looks at virtual addresses one mapping at a time: two mappings may make the same physical page
/// writable here and executable there.
#[derive(Clone, Debug)]
pub struct PageTablesBuilder {
    tables_at: u64,
    phys_bits: u8,
    /// Tables in address order, zero behind the first `used` of them; made when the first mapping comes,
    /// which mostly is the only one and says how much is needed.
    bytes: Vec<u8>,
    /// Tables in use; the PML4 always is.
    used: usize,
    /// Sorted by virtual address, disjoint.
    mappings: Vec<Mapping>,
}

impl PageTablesBuilder {
    /// Sets the width of a physical address, 32 to 52 bits; other values are clamped. It is 52 to begin with.
    ///
    /// A processor says its own in CPUID `8000_0008H`:EAX bits 7 to 0. It is checked by the mappings that
    /// follow.
    pub fn phys_bits(&mut self, bits: u8) -> &mut Self {
        self.phys_bits = bits.clamp(32, MAX_PHYS_BITS);
        self
    }

    /// Adds a mapping, or refuses it and changes nothing.
    pub fn map(&mut self, mapping: Mapping) -> Result<&mut Self, MapError> {
        self.check(&mapping)?;
        // The first mapping that ends at or behind the start of the new one is the only one it can hit first.
        let at = self.mappings.partition_point(|old| last_virt(old) < mapping.virt);
        if let Some(&old) = self.mappings.get(at).filter(|old| old.virt <= last_virt(&mapping)) {
            return Err(MapError::Overlap { new: mapping, old });
        }
        let tables = self.tables_with(&mapping)?;
        self.make_room(tables);
        self.mappings.insert(at, mapping);
        let mut rest = Rest::of(&mapping);
        self.fill(0, TOP_LEVEL, &mut rest);
        Ok(self)
    }

    /// The finished tables; the builder starts again without a mapping.
    pub fn build(&mut self) -> PageTables {
        let mut done = std::mem::replace(self, Self::new(self.tables_at));
        self.phys_bits = done.phys_bits;
        done.bytes.resize(done.used * TABLE_BYTES, 0);
        PageTables { tables_at: done.tables_at, bytes: done.bytes }
    }

    fn new(tables_at: u64) -> Self {
        Self { tables_at, phys_bits: MAX_PHYS_BITS, bytes: Vec::new(), used: 1, mappings: Vec::new() }
    }

    fn check(&self, mapping: &Mapping) -> Result<(), MapError> {
        let &Mapping { virt, phys, len, page, access } = mapping;
        let (mapping, phys_bits) = (*mapping, self.phys_bits);
        if !self.tables_at.is_multiple_of(TABLE_STRIDE) {
            return Err(MapError::TablesMisaligned { tables_at: self.tables_at });
        }
        if len == 0 {
            return Err(MapError::Empty { mapping });
        }
        if (virt | phys | len) % page.bytes() != 0 {
            return Err(MapError::Misaligned { mapping });
        }
        if virt.checked_add(len - 1).is_none_or(|last| !same_canonical_half(virt, last)) {
            return Err(MapError::NonCanonical { mapping });
        }
        if phys.checked_add(len - 1).is_none_or(|last| last >> phys_bits != 0) {
            return Err(MapError::BeyondPhysical { mapping, phys_bits });
        }
        if access.write && access.execute && !access.allow_write_execute {
            return Err(MapError::WriteAndExecute { mapping });
        }
        Ok(())
    }

    /// How many tables there are at most once `mapping` has been added, if that many are allowed.
    fn tables_with(&self, mapping: &Mapping) -> Result<u64, MapError> {
        let tables_at = self.tables_at;
        let phys_bits = self.phys_bits;
        let levels = leaf_level(mapping.page)..TOP_LEVEL;
        let new: u64 = levels
            .map(|level| (last_virt(mapping) >> shift(level + 1)) - (mapping.virt >> shift(level + 1)) + 1)
            .sum();
        let tables = self.used as u64 + new;
        if tables > MAX_TABLES {
            return Err(MapError::TooManyTables { mapping: *mapping, tables });
        }
        match tables_at.checked_add(tables * TABLE_STRIDE - 1) {
            Some(last) if last >> phys_bits == 0 => Ok(tables),
            _ => Err(MapError::TablesBeyondPhysical { tables_at, tables, phys_bits }),
        }
    }

    /// Makes `bytes` long enough for `tables`, which [`MAX_TABLES`] bounds.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 2^20 tables; 32-bit hosts fail to allocate, not here"
    )]
    fn make_room(&mut self, tables: u64) {
        let wanted = tables as usize * TABLE_BYTES;
        if wanted <= self.bytes.len() {
            return;
        }
        // New memory comes zeroed from the kernel, which is much cheaper than to clear it here;
        // to double at least keeps many small mappings from copying the tables each time.
        let mut bytes = vec![0; wanted.max(self.bytes.len() * 2)];
        for (new, old) in bytes.chunks_exact_mut(TABLE_BYTES).zip(self.bytes.chunks_exact(TABLE_BYTES)) {
            new.copy_from_slice(old);
        }
        self.bytes = bytes;
    }

    /// Fills the part of `rest` that lies in `table`, and with it what hangs below.
    fn fill(&mut self, table: usize, level: u32, rest: &mut Rest) {
        let first = index(rest.virt, level);
        if level == rest.leaf_level {
            let count = rest.pages.min(ENTRIES - first);
            self.fill_leaves(table, first, count, rest);
            rest.advance(count);
            return;
        }
        for slot in first..ENTRIES {
            if rest.pages == 0 {
                return;
            }
            let child = self.child(table, slot, rest.user);
            self.fill(child, level - 1, rest);
        }
    }

    /// The hot loop: nothing but one store and one addition an entry.
    #[expect(clippy::cast_possible_truncation, reason = "first and count are at most 512")]
    fn fill_leaves(&mut self, table: usize, first: u64, count: u64, rest: &Rest) {
        let mut entry = rest.entry;
        let range = first as usize..(first + count) as usize;
        for slot in self.entries_mut(table).get_mut(range).unwrap_or_default() {
            *slot = entry.to_le_bytes();
            entry = entry.wrapping_add(rest.stride);
        }
    }

    /// The table that entry `slot` of `table` points to; made if there is none.
    #[expect(clippy::cast_possible_truncation, reason = "a slot is below 512, a table's number below 2^20")]
    fn child(&mut self, table: usize, slot: u64, user: bool) -> usize {
        // Rights are those of all levels together, so the levels above a leaf allow everything but what no
        // leaf below allows: user access. Accessed is set beforehand: see `leaf_bits`.
        let rights = PageEntry::PRESENT | PageEntry::WRITABLE | PageEntry::ACCESSED;
        let rights = if user { rights | PageEntry::USER } else { rights };
        let (tables_at, unused) = (self.tables_at, self.used);
        let Some(entry) = self.entries_mut(table).get_mut(slot as usize) else { return unused };
        let old = u64::from_le_bytes(*entry);
        let frame = match old & PageEntry::ADDRESS {
            _ if old == 0 => tables_at + unused as u64 * TABLE_STRIDE,
            frame => frame,
        };
        *entry = (old | frame | rights.bits()).to_le_bytes();
        self.used += usize::from(old == 0);
        ((frame - tables_at) / TABLE_STRIDE) as usize
    }

    fn entries_mut(&mut self, table: usize) -> &mut [[u8; 8]] {
        let start = table * TABLE_BYTES;
        self.bytes.get_mut(start..start + TABLE_BYTES).unwrap_or_default().as_chunks_mut().0
    }
}

/// What of a mapping has not been entered yet.
struct Rest {
    virt: u64,
    pages: u64,
    /// The next leaf entry.
    entry: u64,
    /// From one page to the next, and from one leaf entry to the next.
    stride: u64,
    leaf_level: u32,
    user: bool,
}

impl Rest {
    fn of(mapping: &Mapping) -> Self {
        let stride = mapping.page.bytes();
        Self {
            virt: mapping.virt,
            pages: mapping.len / stride,
            entry: mapping.phys | leaf_bits(mapping.page, mapping.access).bits(),
            stride,
            leaf_level: leaf_level(mapping.page),
            user: mapping.access.user,
        }
    }

    fn advance(&mut self, pages: u64) {
        self.pages -= pages;
        // The page behind the last may lie beyond the last address; it is never used.
        self.virt = self.virt.wrapping_add(pages * self.stride);
        self.entry = self.entry.wrapping_add(pages * self.stride);
    }
}

/// The flags of a leaf.
///
/// Accessed, and dirty where it can be written, are set beforehand: the processor then has no reason to write
/// to the tables, so they may lie in read-only memory, and a dirty log shows what the guest wrote and no
/// more.
/// A read-only page does not get the dirty flag, because that would make it a shadow stack (SDM 3A 5.6).
fn leaf_bits(page: PageSize, access: Access) -> PageEntry {
    let mut bits = PageEntry::PRESENT | PageEntry::ACCESSED;
    bits.set(PageEntry::WRITABLE | PageEntry::DIRTY, access.write);
    bits.set(PageEntry::USER, access.user);
    bits.set(PageEntry::NO_EXECUTE, !access.execute);
    bits.set(PageEntry::HUGE, page != PageSize::Size4K);
    bits
}

/// The level whose entries are leaves for this page size.
const fn leaf_level(page: PageSize) -> u32 {
    match page {
        PageSize::Size4K => 1,
        PageSize::Size2M => 2,
        PageSize::Size1G => 3,
    }
}

/// The lowest address bit of the index into a table of `level`; twelve bits of offset, then nine a level.
const fn shift(level: u32) -> u32 {
    12 + 9 * (level - 1)
}

const fn index(virt: u64, level: u32) -> u64 {
    virt >> shift(level) & (ENTRIES - 1)
}

/// The last byte of a mapping that has been checked.
const fn last_virt(mapping: &Mapping) -> u64 {
    mapping.virt + (mapping.len - 1)
}

/// Bits 63 to 47 are equal in each, and the same in both.
const fn same_canonical_half(first: u64, last: u64) -> bool {
    let (first, last) = (first >> 47, last >> 47);
    first == last && (first == 0 || first == (1 << 17) - 1)
}

/// Finished page tables: consecutive pages of 4 KiB, PML4 first, the others in the order they were needed.
///
/// ```
/// use strata_cpu::{Access, Mapping, PageSize, PageTables};
///
/// let page = PageSize::Size4K;
/// let mut tables = PageTables::new(0x9000);
/// tables
///     .map(Mapping { virt: 0, phys: 0x10_0000, len: 0x3000, page, access: Access::RX })?
///     .map(Mapping { virt: 0x3000, phys: 0x20_0000, len: 0x1000, page, access: Access::RW })?;
/// let tables = tables.build();
/// assert_eq!((tables.cr3(), tables.end()), (0x9000, 0xd000)); // PML4, PDPT, PD, PT
/// # Ok::<(), strata_cpu::MapError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageTables {
    tables_at: u64,
    bytes: Vec<u8>,
}

impl PageTables {
    /// Starts tables that will lie at guest-physical `tables_at`, a multiple of 4 KiB.
    #[expect(clippy::new_ret_no_self, reason = "tables are what the builder ends with")]
    pub fn new(tables_at: u64) -> PageTablesBuilder {
        PageTablesBuilder::new(tables_at)
    }

    /// Tables that map the first `len` bytes to themselves.
    pub fn identity(tables_at: u64, len: u64, page: PageSize, access: Access) -> Result<Self, MapError> {
        Ok(Self::new(tables_at).map(Mapping::identity(0, len, page, access))?.build())
    }

    /// What CR3 has to hold: the address of the PML4.
    pub const fn cr3(&self) -> u64 {
        self.tables_at
    }

    /// The guest-physical address behind the last table.
    pub fn end(&self) -> u64 {
        self.tables_at + self.bytes.len() as u64
    }

    /// The tables as they lie in memory, from [`PageTables::cr3`] on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each table with its guest-physical address.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &[u8; TABLE_BYTES])> {
        (self.tables_at..).step_by(TABLE_BYTES).zip(self.bytes.as_chunks().0)
    }

    /// Writes the tables into guest memory. On an error some of them may have been written.
    #[cfg(feature = "vm-memory")]
    pub fn write_to<M: vm_memory::Bytes<vm_memory::GuestAddress>>(&self, memory: &M) -> Result<(), M::E> {
        memory.write_slice(&self.bytes, vm_memory::GuestAddress(self.tables_at))
    }
}

#[cfg(test)]
#[path = "builder_test.rs"]
mod tests;
