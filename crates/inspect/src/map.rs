//! What lies where: the guest-physical addresses, and what the guest's page tables make of them.
//!
//! The caller says what it knows as plain [`Area`]s; a [`Map`] sorts them, finds what is not there and what should not
//! be, and prints itself as text or as an [SVG](Map::svg). Both are bounded, however many areas and regions there are.

mod svg;
mod text;

use std::fmt;

use strata_cpu::{AccessKind, Cr0, Level, PageRegions, RegionLimits, X86State};
use vm_memory::{Bytes, GuestAddress};

use crate::view::View;

/// What an area is. Those that come first contain those that come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AreaKind {
    /// Memory that the guest may use.
    Ram,
    /// A device's registers.
    Device,
    /// A slot: a piece of memory as the hypervisor knows it.
    Slot,
    /// What was loaded: a kernel, its command line, an initial RAM disk.
    Image,
    /// What the processor or the kernel finds its way by: GDT, IDT, page tables, zero page, ACPI.
    Table,
}

impl AreaKind {
    /// One word, lower case but for RAM.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ram => "RAM",
            Self::Device => "device",
            Self::Slot => "slot",
            Self::Image => "image",
            Self::Table => "table",
        }
    }
}

/// A named piece of the guest-physical address space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Area {
    /// First guest-physical address.
    pub start: u64,
    /// Bytes; one of zero is left out.
    pub len: u64,
    /// What it is called. Control characters are not printed.
    pub name: String,
    /// What it is.
    pub kind: AreaKind,
}

impl Area {
    /// `len` bytes from `start` on.
    pub fn new(start: u64, len: u64, kind: AreaKind, name: impl Into<String>) -> Self {
        Self { start, len, name: name.into(), kind }
    }

    /// The last address.
    pub fn last(&self) -> u64 {
        self.start.saturating_add(self.len.saturating_sub(1))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.last() && other.start <= self.last()
    }

    /// Both cannot be: they overlap in part, or RAM and a device answer at one address.
    fn conflicts(&self, other: &Self) -> bool {
        let inside = |one: &Self, of: &Self| of.start <= one.start && one.last() <= of.last();
        let nested = inside(self, other) || inside(other, self);
        let device = |area: &Self| area.kind == AreaKind::Device;
        // What was loaded may be used up, and its memory be something else's.
        let reused = |one: &Self, other: &Self| one.kind == AreaKind::Image && other.kind == AreaKind::Table;
        if reused(self, other) || reused(other, self) {
            return false;
        }
        self.overlaps(other) && (!nested || device(self) != device(other))
    }
}

/// An area in its place.
struct Placed<'a> {
    area: &'a Area,
    /// How many areas it lies in.
    depth: usize,
    /// One before it that it cannot share its addresses with.
    conflict: Option<&'a Area>,
}

/// A guest's memory, to be looked at.
///
/// ```
/// use strata_inspect::map::{Area, AreaKind, Map};
///
/// let map = Map::new([
///     Area::new(0, 0x800_0000, AreaKind::Ram, ""),
///     Area::new(0x10_0000, 0x5_3000, AreaKind::Image, "kernel"),
///     Area::new(0xd000_0000, 0x1000, AreaKind::Device, "virtio0 (block)"),
/// ]);
/// println!("{map}");
/// std::fs::write("/dev/null", map.svg().to_string())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Map {
    /// Sorted: what contains others comes before them.
    areas: Vec<Area>,
    pages: Option<Paging>,
    lines: usize,
}

/// What becomes of linear addresses.
#[derive(Clone, Debug)]
enum Paging {
    /// They are physical ones. SDM 3A 5.1.1.
    Off,
    /// Page tables say so.
    On(PageRegions),
}

impl Map {
    /// Lines of each list, unless [`lines`](Self::lines) says otherwise.
    const LINES: usize = 256;

    /// A map of `areas`, which may come in any order.
    pub fn new(areas: impl IntoIterator<Item = Area>) -> Self {
        let mut areas: Vec<_> = areas.into_iter().filter(|area| area.len > 0).collect();
        areas.sort_by_key(|area| (area.start, std::cmp::Reverse(area.last()), area.kind));
        Self { areas, pages: None, lines: Self::LINES }
    }

    /// Adds what a page table walk has found.
    #[must_use]
    pub fn with_regions(self, pages: PageRegions) -> Self {
        Self { pages: Some(Paging::On(pages)), ..self }
    }

    /// Adds what a processor knows: its page tables and what they map, GDT, IDT and TSS as far as they are mapped.
    #[must_use]
    pub fn with_view<M: Bytes<GuestAddress>>(self, view: &View<'_, M>) -> Self {
        if !view.state().cr0.contains(Cr0::PG) {
            let Self { mut areas, lines, .. } = self;
            areas.extend(tables(view));
            return Self { lines, pages: Some(Paging::Off), ..Self::new(areas) };
        }
        let context = view.state().walk_context();
        let pages = PageRegions::read(|at| view.word(at), &context, RegionLimits::default());
        let Self { mut areas, lines, .. } = self;
        areas.extend(page_tables(&pages));
        areas.extend(tables(view));
        Self { lines, ..Self::new(areas) }.with_regions(pages)
    }

    /// Prints at most `lines` of each list, and then how many are left out.
    #[must_use]
    pub fn lines(self, lines: usize) -> Self {
        Self { lines, ..self }
    }

    /// The map as a picture: a whole SVG file that needs no other, for light and dark backgrounds.
    pub fn svg(&self) -> impl fmt::Display {
        svg::Svg(self)
    }

    fn place(&self) -> Vec<Placed<'_>> {
        let (mut placed, mut open) = (Vec::with_capacity(self.areas.len()), Vec::<&Area>::new());
        for area in &self.areas {
            // The address space nests a few deep; what overlaps without end is nobody's map.
            open.retain(|outer| outer.last() >= area.start);
            open.truncate(8);
            let conflict = open.iter().rev().find(|outer| outer.conflicts(area)).copied();
            placed.push(Placed { area, depth: open.len(), conflict });
            open.push(area);
        }
        placed
    }
}

/// GDT, IDT and TSS, each from where its first byte lies to the end of that page or its own.
fn tables<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Vec<Area> {
    const PAGE: u64 = 4096;
    let X86State { gdt, idt, tr, .. } = view.state();
    let whole = |limit: u16| u64::from(limit) + 1;
    let known = [
        ("GDT", gdt.base, whole(gdt.limit), true),
        ("IDT", idt.base, whole(idt.limit), idt.limit != 0),
        ("TSS", tr.base, u64::from(tr.limit) + 1, !tr.unusable && tr.selector & !3 != 0),
    ];
    let context = strata_cpu::WalkContext { cpl: 0, alignment_check: true, ..view.state().walk_context() };
    let found = known.into_iter().filter(|(.., loaded)| *loaded).filter_map(|(name, base, len, _)| {
        let phys = view.translate_as(&context, base, AccessKind::Read).ok()?.phys;
        Some(Area::new(phys, len.min(PAGE - phys % PAGE), AreaKind::Table, name))
    });
    found.collect()
}

/// Tables that lie one behind the other are one area.
fn page_tables(pages: &PageRegions) -> Vec<Area> {
    const TABLE: u64 = 4096;
    let mut starts: Vec<_> = pages.tables.iter().map(|(at, level)| (at & !(TABLE - 1), *level)).collect();
    // A table that is used at two levels is named by the upper one.
    starts.sort_by_key(|(at, level)| (*at, std::cmp::Reverse(*level)));
    starts.dedup_by_key(|(at, _)| *at);
    let mut areas = Vec::<(Area, Level)>::new();
    for (at, level) in starts {
        match areas.last_mut() {
            Some((last, of)) if *of == level && last.start.checked_add(last.len) == Some(at) => {
                last.len += TABLE;
            }
            _ => {
                areas.push((Area::new(at, TABLE, AreaKind::Table, format!("page tables ({level}s)")), level));
            }
        }
    }
    areas.into_iter().map(|(area, _)| area).collect()
}

/// The same without what could steer a terminal.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| fmt::Write::write_char(f, if c.is_control() { '?' } else { c }))
    }
}

/// An area's name, or what it is.
fn name(area: &Area) -> &str {
    if area.name.is_empty() { area.kind.name() } else { &area.name }
}

/// Bytes in the largest unit that leaves no rest, such as `640 KiB`; if that is long, to the nearest: `~16 TiB`.
struct Size(u128);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let (mut value, mut rest, mut half, mut unit) = (self.0, 0, false, 0);
        // Exact as long as that is four digits.
        while value >= 1024 && unit + 1 < UNITS.len() && (rest == 0 && value % 1024 == 0 || value >= 10_000) {
            (rest, half) = (rest | (value % 1024), value % 1024 >= 512);
            (value, unit) = (value / 1024, unit + 1);
        }
        let unit = UNITS.get(unit).copied().unwrap_or_default();
        f.pad(&if rest == 0 {
            format!("{value} {unit}")
        } else {
            format!("~{} {unit}", value + u128::from(half))
        })
    }
}

#[cfg(test)]
#[path = "map_test.rs"]
mod tests;
