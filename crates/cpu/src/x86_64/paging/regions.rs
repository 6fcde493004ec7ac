//! Page tables as regions: everything they map, in runs.
//!
//! The tables are the guest's, so they may do anything: loop, share, lead nowhere, map 2^36 pages. Work and memory are
//! bounded by [`RegionLimits`], and a table that is found again and again is not gone through again: see [`Window`].

use std::{collections::HashMap, fmt, ops::ControlFlow};

use super::{Access, FaultReason, Level, WalkContext, WalkStep, walker::Shape};
use crate::x86_64::flags::{Cr0, PageEntry};

/// How often one table is gone through at one level. Tables are shared on purpose (Linux' KASAN maps one page of zeros
/// over terabytes), and more often than this nobody wants to read of it.
const VISITS: u32 = 8;

/// Addresses that follow each other, at physical addresses that do too, with the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRegion {
    /// First linear address.
    pub virt: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes; a multiple of 4 KiB, not zero.
    pub len: u64,
    /// Bytes of its smallest page.
    pub smallest_page: u64,
    /// Bytes of its largest page.
    pub largest_page: u64,
    /// All entries allow writing. Ring 0 can write all the same while CR0.WP is clear.
    pub writable: bool,
    /// No entry forbids to fetch instructions.
    pub executable: bool,
    /// All entries allow ring 3.
    pub user: bool,
}

impl PageRegion {
    /// The last linear address.
    pub fn last(&self) -> u64 {
        self.virt.wrapping_add(self.len - 1)
    }

    /// The last physical address.
    pub fn last_phys(&self) -> u64 {
        self.phys.saturating_add(self.len - 1)
    }

    /// It can be written and executed, which is mostly a mistake.
    pub fn is_write_execute(&self) -> bool {
        self.writable && self.executable
    }

    /// What may be done there.
    pub fn access(&self) -> Access {
        Access {
            write: self.writable,
            execute: self.executable,
            user: self.user,
            allow_write_execute: self.is_write_execute(),
        }
    }

    /// `next` goes on where this ends.
    fn joins(&self, next: &Self) -> bool {
        let rights = |region: &Self| (region.writable, region.executable, region.user);
        // Behind the last address comes none.
        self.virt.checked_add(self.len) == Some(next.virt)
            && self.phys.checked_add(self.len) == Some(next.phys)
            && rights(self) == rights(next)
    }
}

/// One line: addresses, rights and page sizes.
impl fmt::Display for PageRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { virt, phys, len, .. } = self;
        write!(f, "{virt:#x} to {phys:#x}, {len:#x} bytes, {}", self.access())
    }
}

/// Addresses that are mapped through tables which are listed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First linear address.
    pub virt: u64,
    /// Bytes.
    pub len: u64,
    /// The table that is not gone through here, a physical address; of several that follow each other the first.
    pub table: u64,
    /// Why not.
    pub kind: WindowKind,
    /// The entries so far allow writing; of the page tables themselves, if they are mapped here.
    pub writable: bool,
}

/// Why a table is not gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// It is one of those that lead to it. The tables appear as pages there, which many a small kernel uses to change
    /// them; or it is a mistake.
    Loop,
    /// It has been listed at several other addresses.
    Shared,
}

/// Entries that are present and map nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrokenEntry {
    /// First linear address.
    pub virt: u64,
    /// Bytes that it would map.
    pub len: u64,
    /// Reserved bits, or a table that is not in memory.
    pub why: FaultReason,
    /// The entry with the reserved bits, or the one that points nowhere; `None` for CR3.
    pub step: Option<WalkStep>,
}

/// Where [`PageRegions::read`] stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionLimits {
    /// Entries of tables that are looked at.
    pub entries: u64,
    /// Regions, windows and broken entries that are kept, of each.
    pub regions: usize,
}

impl Default for RegionLimits {
    /// Four million entries, which is 16 GiB of tables' worth of 4 KiB pages, and 65536 regions: under 10 MiB.
    fn default() -> Self {
        Self { entries: 4 << 20, regions: 1 << 16 }
    }
}

/// Two regions that share physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alias {
    /// First physical address of what they share.
    pub phys: u64,
    /// Bytes.
    pub len: u64,
    /// The one that begins first in physical memory.
    pub first: PageRegion,
    /// The other.
    pub second: PageRegion,
}

impl Alias {
    /// What can be written through one can be executed through the other.
    pub fn is_write_execute(&self) -> bool {
        let (first, second) = (&self.first, &self.second);
        first.writable && second.executable || first.executable && second.writable
    }
}

/// Everything that page tables map. [`PageRegions::read`] makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRegions {
    /// By linear address, lower half first.
    pub regions: Vec<PageRegion>,
    /// Also by linear address; none of them is among the regions.
    pub windows: Vec<Window>,
    /// Also by linear address.
    pub broken: Vec<BrokenEntry>,
    /// Where tables lie, physical addresses with the names of their entries, in the order in which they were found; as
    /// many as regions at most.
    pub tables: Vec<(u64, Level)>,
    /// How many entries were looked at.
    pub entries: u64,
    /// The linear address at which a limit was reached; of those from there on nothing is known.
    pub truncated_at: Option<u64>,
}

impl PageRegions {
    /// Goes through the tables that `context` says, of any paging mode. `read` is as for [`walk`](super::walk).
    ///
    /// ```
    /// use strata_cpu::{Access, PageRegions, PageSize, PageTables, RegionLimits, WalkContext};
    ///
    /// let tables = PageTables::identity(0, 0x20_0000, PageSize::Size4K, Access::RW)?;
    /// let read = |at: u64| {
    ///     let (_, page) = tables.pages().find(|(start, _)| *start == at & !0xfff)?;
    ///     page.as_chunks().0.get(at as usize % 0x1000 / 8).map(|entry| u64::from_le_bytes(*entry))
    /// };
    /// let context = WalkContext { cr3: tables.cr3(), ..WalkContext::LONG_MODE };
    /// let found = PageRegions::read(read, &context, RegionLimits::default());
    /// assert_eq!(found.regions[0].to_string(), "0x0 to 0x0, 0x200000 bytes, rw");
    /// # Ok::<(), strata_cpu::MapError>(())
    /// ```
    pub fn read(read: impl FnMut(u64) -> Option<u64>, context: &WalkContext, limits: RegionLimits) -> Self {
        let mut found = Self::default();
        let rights = Rights { writable: true, executable: true, user: true };
        if !context.cr0.contains(Cr0::PG) {
            // With paging off linear addresses are physical. SDM 3A 5.1.1.
            found.regions.push(region(0, 0, 1 << 32, rights));
            return found;
        }
        let shape = context.shape();
        let mut reader =
            Reader { read, context, shape, limits, found, path: Vec::new(), visits: HashMap::new() };
        let table = Table {
            at: context.cr3 & shape.cr3_address,
            virt: 0,
            shift: shape.top_shift,
            from: None,
            rights,
        };
        if let ControlFlow::Break(virt) = reader.table(shape.levels, &table) {
            reader.found.truncated_at = Some(virt);
        }
        reader.found
    }

    /// Those that can be written and executed.
    pub fn write_execute(&self) -> impl Iterator<Item = &PageRegion> {
        self.regions.iter().filter(|region| region.is_write_execute())
    }

    /// Physical memory that is mapped more than once: pairs of regions, by physical address, at most `limit` of them.
    pub fn aliases(&self, limit: usize) -> Vec<Alias> {
        let mut sorted = self.regions.clone();
        sorted.sort_by_key(|region| region.phys);
        let (mut open, mut aliases) = (Vec::<PageRegion>::new(), Vec::new());
        for second in sorted {
            // What is left after this shares memory with `second`, so no step is for nothing.
            open.retain(|first| first.last_phys() >= second.phys);
            for first in &open {
                if aliases.len() == limit {
                    return aliases;
                }
                let len = first.last_phys().min(second.last_phys()) - second.phys + 1;
                aliases.push(Alias { phys: second.phys, len, first: *first, second });
            }
            open.push(second);
        }
        aliases
    }
}

/// What the entries so far have left. SDM 3A 5.6.1.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rights {
    writable: bool,
    executable: bool,
    user: bool,
}

fn region(virt: u64, phys: u64, len: u64, rights: Rights) -> PageRegion {
    let Rights { writable, executable, user } = rights;
    PageRegion { virt, phys, len, smallest_page: len, largest_page: len, writable, executable, user }
}

/// Keeps `item`, of `virt`, if there is room.
fn keep<T>(list: &mut Vec<T>, item: T, virt: u64, limit: usize) -> ControlFlow<u64> {
    if list.len() >= limit {
        return ControlFlow::Break(virt);
    }
    list.push(item);
    ControlFlow::Continue(())
}

/// A table, and how it was come by.
struct Table {
    at: u64,
    /// The first address that it translates, before the sign is extended.
    virt: u64,
    /// The lowest address bit of its index.
    shift: u32,
    /// The entry that points to it.
    from: Option<WalkStep>,
    rights: Rights,
}

struct Reader<'a, R> {
    read: R,
    context: &'a WalkContext,
    shape: Shape,
    limits: RegionLimits,
    found: PageRegions,
    /// The tables that lead to the present one.
    path: Vec<u64>,
    /// How often a table was gone through at a level; not more of them than `limits.entries` allows to read.
    visits: HashMap<(u64, Level), u32>,
}

impl<R: FnMut(u64) -> Option<u64>> Reader<'_, R> {
    /// Goes through a table and those below; breaks off at a linear address.
    fn table(&mut self, levels: &'static [Level], table: &Table) -> ControlFlow<u64> {
        let Some((&level, below)) = levels.split_first() else { return ControlFlow::Continue(()) };
        let visits = self.visits.entry((table.at, level)).or_default();
        *visits += 1;
        if *visits == 1 && self.found.tables.len() < self.limits.regions {
            self.found.tables.push((table.at, level));
        }
        // The top table of PAE paging has four entries only.
        let bits = self.shape.index_bits.min(self.shape.width - table.shift);
        let mut reachable = true;
        for index in 0..1 << bits {
            let virt = self.extend(table.virt | index << table.shift);
            if self.found.entries == self.limits.entries {
                return ControlFlow::Break(virt);
            }
            self.found.entries += 1;
            let entry_at = self.shape.entry_at(table.at, index);
            let Some(word) = (self.read)(entry_at & !7) else {
                // Said once a table: mostly all of it is missing.
                if std::mem::take(&mut reachable) {
                    let len = ((1 << bits) - index) << table.shift;
                    let why = FaultReason::Unreadable { entry_at };
                    self.broken(BrokenEntry { virt, len, why, step: table.from })?;
                }
                continue;
            };
            let step = WalkStep { level, index, entry_at, entry: self.shape.entry_of(word, entry_at) };
            self.entry(&step, virt, table, below)?;
        }
        ControlFlow::Continue(())
    }

    fn entry(
        &mut self,
        step: &WalkStep,
        virt: u64,
        table: &Table,
        below: &'static [Level],
    ) -> ControlFlow<u64> {
        if !step.has(PageEntry::PRESENT) {
            return ControlFlow::Continue(());
        }
        let len = 1 << table.shift;
        let bits = step.entry & self.context.reserved(step);
        if bits != 0 {
            return self.broken(BrokenEntry {
                virt,
                len,
                why: FaultReason::Reserved { bits },
                step: Some(*step),
            });
        }
        let mut rights = table.rights;
        if !self.context.is_pae_top(step) {
            rights.writable &= step.has(PageEntry::WRITABLE);
            rights.executable &= !step.has(PageEntry::NO_EXECUTE);
            rights.user &= step.has(PageEntry::USER);
        }
        if below.is_empty() || self.context.is_huge(step) {
            let phys = self.context.frame(step, table.shift);
            return self.page(region(virt, phys, len, rights));
        }
        let at = step.entry & PageEntry::ADDRESS;
        if let Some(kind) = self.window(at, table.at, below) {
            return self.push_window(Window { virt, len, table: at, kind, writable: rights.writable });
        }
        self.path.push(table.at);
        let shift = table.shift.saturating_sub(self.shape.index_bits);
        let found = self.table(below, &Table { at, virt, shift, from: Some(*step), rights });
        self.path.pop();
        found
    }

    /// Whether the table at `at`, which has entries of the first of `levels` and to which `parent` leads, is not to be
    /// gone through.
    fn window(&self, at: u64, parent: u64, levels: &[Level]) -> Option<WindowKind> {
        if at == parent || self.path.contains(&at) {
            return Some(WindowKind::Loop);
        }
        let visits = levels.first().and_then(|level| self.visits.get(&(at, *level)));
        visits.is_some_and(|visits| *visits >= VISITS).then_some(WindowKind::Shared)
    }

    /// Above the bits that are translated an address repeats the highest of them, in long mode.
    fn extend(&self, virt: u64) -> u64 {
        let above = 64 - self.shape.width;
        if self.shape.width == 32 { virt } else { ((virt << above).cast_signed() >> above).cast_unsigned() }
    }

    fn page(&mut self, next: PageRegion) -> ControlFlow<u64> {
        if let Some(last) = self.found.regions.last_mut().filter(|last| last.joins(&next)) {
            last.len += next.len;
            last.smallest_page = last.smallest_page.min(next.smallest_page);
            last.largest_page = last.largest_page.max(next.largest_page);
            return ControlFlow::Continue(());
        }
        keep(&mut self.found.regions, next, next.virt, self.limits.regions)
    }

    fn push_window(&mut self, next: Window) -> ControlFlow<u64> {
        let joins = |last: &Window| {
            last.kind == next.kind
                && last.writable == next.writable
                && last.virt.checked_add(last.len) == Some(next.virt)
        };
        if let Some(last) = self.found.windows.last_mut().filter(|last| joins(last)) {
            last.len += next.len;
            return ControlFlow::Continue(());
        }
        keep(&mut self.found.windows, next, next.virt, self.limits.regions)
    }

    fn broken(&mut self, next: BrokenEntry) -> ControlFlow<u64> {
        keep(&mut self.found.broken, next, next.virt, self.limits.regions)
    }
}

#[cfg(test)]
#[path = "regions_test.rs"]
mod tests;
