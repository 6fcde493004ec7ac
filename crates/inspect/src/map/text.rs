//! The map as aligned lines.

use std::fmt;

use strata_cpu::{BrokenEntry, FaultReason, PageRegion, PageRegions, Window, WindowKind};

use super::{Map, Paging, Placed, Printable, Size, name};

/// Lines of each list of what to look at.
const NOTES: usize = 16;
/// Ranges on one line.
const RANGES: usize = 4;
/// Pairs of regions that are looked at: a thousand mappings of one page would be half a million.
const ALIASES: usize = 1 << 12;

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let placed = self.place();
        writeln!(f, "guest-physical memory")?;
        let mut seen = 0;
        for one in placed.iter().take(self.lines) {
            hole(f, seen, u128::from(one.area.start))?;
            area(f, one)?;
            seen = seen.max(u128::from(one.area.last()) + 1);
        }
        more(f, placed.len(), self.lines, "areas")?;
        match &self.pages {
            Some(Paging::On(found)) => pages(f, found, self.lines),
            Some(Paging::Off) => writeln!(f, "\npaging is off: linear addresses are physical"),
            None => Ok(()),
        }
    }
}

fn hole(f: &mut fmt::Formatter<'_>, from: u128, to: u128) -> fmt::Result {
    if from >= to {
        return Ok(());
    }
    writeln!(f, "  {from:#014x} to {:#014x}  {:>9}  -", to - 1, Size(to - from))
}

fn area(f: &mut fmt::Formatter<'_>, Placed { area, depth, conflict }: &Placed<'_>) -> fmt::Result {
    let (start, last, kind) = (area.start, area.last(), area.kind.name());
    let size = Size(u128::from(last - start) + 1);
    write!(f, "  {start:#014x} to {last:#014x}  {size:>9}  {:indent$}", "", indent = depth * 2)?;
    // "slot 0" says what it is.
    match &area.name {
        name if name.is_empty() => f.write_str(kind)?,
        name if name.starts_with(kind) => write!(f, "{}", Printable(name))?,
        name => write!(f, "{kind} {}", Printable(name))?,
    }
    match conflict {
        Some(other) => writeln!(f, "  ! overlaps {} at {:#x}", Printable(name(other)), other.start),
        None => writeln!(f),
    }
}

fn more(f: &mut fmt::Formatter<'_>, all: usize, printed: usize, what: &str) -> fmt::Result {
    match all.saturating_sub(printed) {
        0 => Ok(()),
        left => writeln!(f, "  ... and {left} more {what}"),
    }
}

fn pages(f: &mut fmt::Formatter<'_>, found: &PageRegions, lines: usize) -> fmt::Result {
    writeln!(f, "\npage tables: linear to physical")?;
    for region in found.regions.iter().take(lines) {
        let PageRegion { virt, phys, len, .. } = region;
        let mark = if region.is_write_execute() { "  ! W+X" } else { "" };
        let (size, rights, page) = (Size(u128::from(*len)), Rights(region), PageSizes(region));
        writeln!(
            f,
            "  {virt:#018x} to {:#018x}  {size:>9}  {rights}  at {phys:#014x}  {page}{mark}",
            region.last()
        )?;
    }
    more(f, found.regions.len(), lines, "regions")?;
    if found.regions.is_empty() {
        writeln!(f, "  nothing is mapped")?;
    }
    for window in found.windows.iter().take(NOTES) {
        let Window { virt, len, table, kind, .. } = window;
        let (last, size) = (virt.wrapping_add(len - 1), Size(u128::from(*len)));
        let what = match kind {
            WindowKind::Loop => "the page tables themselves, by the one at",
            WindowKind::Shared => "what is listed above several times, by the table at",
        };
        writeln!(f, "  {virt:#018x} to {last:#018x}  {size:>9}  {what} {table:#x}")?;
    }
    more(f, found.windows.len(), NOTES, "windows")?;
    if let Some(at) = found.truncated_at {
        writeln!(f, "  from {at:#x} on not looked at: {} entries were too many", found.entries)?;
    }
    notes(f, found)
}

/// What should not be.
fn notes(f: &mut fmt::Formatter<'_>, found: &PageRegions) -> fmt::Result {
    let write_execute: Vec<_> = found.write_execute().collect();
    let aliases = found.aliases(ALIASES);
    let by_alias: Vec<_> = aliases
        .iter()
        .filter(|alias| alias.is_write_execute())
        // What is both already has been said to be.
        .filter(|alias| !alias.first.is_write_execute() && !alias.second.is_write_execute())
        .collect();
    if write_execute.len() + by_alias.len() + aliases.len() + found.broken.len() == 0 {
        return Ok(());
    }
    writeln!(f, "\nto look at")?;
    if let [first, ..] = write_execute.as_slice() {
        let count = write_execute.len();
        write!(f, "  {count} of the regions can be written and executed (W+X): ")?;
        write!(f, "{:#x} to {:#x}", first.virt, first.last())?;
        for region in write_execute.iter().take(RANGES).skip(1) {
            write!(f, ", {:#x} to {:#x}", region.virt, region.last())?;
        }
        writeln!(f, "{}", if count > RANGES { ", .." } else { "" })?;
    }
    for alias in by_alias.iter().take(NOTES) {
        let (writes, runs) =
            if alias.first.writable { (alias.first, alias.second) } else { (alias.second, alias.first) };
        let at = |region: PageRegion| region.virt.wrapping_add(alias.phys - region.phys);
        let (phys, size) = (alias.phys, Size(u128::from(alias.len)));
        writeln!(
            f,
            "  {size} at {phys:#x} can be written at {:#x} and executed at {:#x}",
            at(writes),
            at(runs)
        )?;
    }
    more(f, by_alias.len(), NOTES, "of these")?;
    let others = || aliases.iter().filter(|alias| !by_alias.contains(alias));
    for alias in others().take(NOTES) {
        let at = |region: &PageRegion| region.virt.wrapping_add(alias.phys - region.phys);
        let (phys, size, first, second) =
            (alias.phys, Size(u128::from(alias.len)), at(&alias.first), at(&alias.second));
        writeln!(f, "  {size} at {phys:#x} is mapped twice: at {first:#x} and at {second:#x}")?;
    }
    more(f, others().count(), NOTES, "of these")?;
    for BrokenEntry { virt, why, step, .. } in found.broken.iter().take(NOTES) {
        let by = step.map(|step| format!("the {} at {:#x}", step.level, step.entry_at));
        let by = by.unwrap_or_else(|| "CR3".into());
        match why {
            FaultReason::Reserved { bits } => {
                writeln!(f, "  {virt:#x}: {by} has reserved bits {bits:#x} set")?;
            }
            FaultReason::Unreadable { entry_at } => {
                writeln!(f, "  {virt:#x}: {by} points to {entry_at:#x}, where there is no RAM")?;
            }
            other => writeln!(f, "  {virt:#x}: {by}: {other}")?,
        }
    }
    more(f, found.broken.len(), NOTES, "bad entries")
}

/// Four letters, or dashes in their places.
pub(super) struct Rights<'a>(pub(super) &'a PageRegion);

impl fmt::Display for Rights<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |set, letter| if set { letter } else { '-' };
        let Self(region) = self;
        let (w, x, u) =
            (letter(region.writable, 'w'), letter(region.executable, 'x'), letter(region.user, 'u'));
        write!(f, "r{w}{x}{u}")
    }
}

/// The sizes of a region's pages: `4K`, `4K to 2M`.
pub(super) struct PageSizes<'a>(pub(super) &'a PageRegion);

impl fmt::Display for PageSizes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(region) = self;
        let short = |bytes: u64| match bytes.trailing_zeros() {
            zeros @ 30.. => format!("{}G", 1u64 << (zeros - 30).min(63)),
            zeros @ 20..30 => format!("{}M", 1 << (zeros - 20)),
            zeros => format!("{}K", 1 << zeros.saturating_sub(10)),
        };
        f.write_str(&short(region.smallest_page))?;
        if region.largest_page == region.smallest_page {
            return Ok(());
        }
        write!(f, " to {}", short(region.largest_page))
    }
}
