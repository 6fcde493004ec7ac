use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::x86_64::{
    flags::{Cr4, Efer},
    paging::{AccessKind, walk},
};

const LONG: WalkContext = WalkContext { cr3: 0x1000, ..WalkContext::LONG_MODE };
const NX: u64 = 1 << 63;
const FEW: RegionLimits = RegionLimits { entries: 1 << 16, regions: 1 << 12 };

/// Physical memory: zeros up to `end`, and these words.
struct Memory {
    words: HashMap<u64, u64>,
    end: u64,
}

impl Memory {
    fn of(words: &[(u64, u64)]) -> Self {
        Self { words: words.iter().copied().collect(), end: 0x10_0000 }
    }

    fn word(&self, at: u64) -> Option<u64> {
        assert_eq!(at % 8, 0);
        (at < self.end).then(|| *self.words.get(&at).unwrap_or(&0))
    }

    fn regions(&self, context: &WalkContext, limits: RegionLimits) -> PageRegions {
        PageRegions::read(|at| self.word(at), context, limits)
    }

    fn lines(&self, context: &WalkContext) -> Vec<String> {
        let found = self.regions(context, FEW);
        assert_eq!(found.truncated_at, None);
        found.regions.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn pages_that_go_on_are_one_region() {
    let memory = Memory::of(&[
        (0x1000, 0x2007),
        (0x1ff8, 0x2003),
        (0x2000, 0x3007),
        (0x2ff8, 0x4000_0087),
        (0x3000, 0x4007),
        (0x3008, 0x20_0087),
        // 4 KiB pages up to a large one, with a gap, a read-only page and one from elsewhere.
        (0x4000 + 509 * 8, 0x1f_d007),
        (0x4000 + 510 * 8, 0x1f_e007),
        (0x4000 + 511 * 8, 0x1f_f007),
        (0x4000 + 8, NX | 0x1005),
        (0x4000 + 16, NX | 0x3005),
    ]);
    let expected = [
        "0x1000 to 0x1000, 0x1000 bytes, ru",
        "0x2000 to 0x3000, 0x1000 bytes, ru",
        "0x1fd000 to 0x1fd000, 0x203000 bytes, rwxu",
        "0x7fc0000000 to 0x40000000, 0x40000000 bytes, rwxu",
    ];
    let lines = memory.lines(&LONG);
    assert_eq!(lines[..4], expected);
    let found = memory.regions(&LONG, FEW);
    let sizes = (found.regions[2].smallest_page, found.regions[2].largest_page);
    assert_eq!(sizes, (0x1000, 0x20_0000));
    // The same PDPT by the last PML4 entry: the same four in the upper half, for ring 0 only.
    assert_eq!(found.regions.len(), 8);
    assert_eq!(found.regions[7].last(), u64::MAX);
    assert!(found.regions[4..].iter().all(|region| !region.user));
    assert_eq!(found.write_execute().count(), 4);
}

#[test]
fn memory_that_is_mapped_twice_is_found() {
    let memory = Memory::of(&[
        (0x1000, 0x2003),
        (0x2000, 0x3003),
        (0x3000, 0x4003),
        (0x4000, 0x8001),
        (0x4008, NX | 0x9003),
        (0x4010 + 16, NX | 0x8003),
        (0x4010 + 24, NX | 0x9003),
    ]);
    let found = memory.regions(&LONG, FEW);
    assert_eq!(found.regions.len(), 3);
    let aliases = found.aliases(10);
    let seen: Vec<_> =
        aliases.iter().map(|alias| (alias.phys, alias.len, alias.is_write_execute())).collect();
    assert_eq!(seen, [(0x8000, 0x1000, true), (0x9000, 0x1000, false)]);
    assert_eq!(found.aliases(1).len(), 1);
}

#[test]
fn a_table_that_maps_itself_is_a_window() {
    let memory = Memory::of(&[
        (0x1000, 0x2003),
        (0x2000, 0x3003),
        (0x3000, 0x4003),
        (0x4000, 0x8003),
        (0x1000 + 510 * 8, 0x1003),
        (0x3008, 0x2003), // one that loops lower down
    ]);
    let found = memory.regions(&LONG, FEW);
    assert_eq!(found.regions.len(), 1);
    let windows: Vec<_> =
        found.windows.iter().map(|window| (window.virt, window.len, window.table, window.kind)).collect();
    let expected = [
        (0x20_0000, 0x20_0000, 0x2000, WindowKind::Loop),
        (0xffff_ff00_0000_0000, 1 << 39, 0x1000, WindowKind::Loop),
    ];
    assert_eq!(windows, expected);
}

#[test]
fn every_entry_to_itself_ends_at_once() {
    let all: Vec<_> = (0..512).map(|index| (0x1000 + index * 8, 0x1003)).collect();
    let found = Memory::of(&all).regions(&LONG, FEW);
    assert_eq!((found.entries, found.windows.len(), found.truncated_at), (512, 2, None), "one for each half");
}

#[test]
fn tables_shared_everywhere_are_listed_a_few_times() {
    // Each entry of a level leads to the one table of the next: 2^36 pages.
    let tables =
        (1..5).flat_map(|n| (0..512).map(move |index| (n * 0x1000 + index * 8, ((n + 1) << 12) | 3)));
    let memory = Memory::of(&tables.collect::<Vec<_>>());
    let found = memory.regions(&LONG, RegionLimits::default());
    assert_eq!(found.truncated_at, None);
    assert!(found.entries <= 512 + 3 * 512 * u64::from(VISITS), "{}", found.entries);
    assert!(found.windows.iter().all(|window| window.kind == WindowKind::Shared));
    let tables = [(0x1000, Level::Pml4e), (0x2000, Level::Pdpte), (0x3000, Level::Pde), (0x4000, Level::Pte)];
    assert_eq!(found.tables, tables);
    assert_eq!(found.regions.len(), 512 * VISITS as usize);
    assert_eq!(found.aliases(5000).len(), 5000, "any two of them are the same page");
}

#[test]
fn limits_hold_and_are_said() {
    let tables =
        (1..5).flat_map(|n| (0..512).map(move |index| (n * 0x1000 + index * 8, ((n + 1) << 12) | 3)));
    let memory = Memory::of(&tables.collect::<Vec<_>>());
    let found = memory.regions(&LONG, RegionLimits { entries: 1 << 20, regions: 700 });
    assert_eq!((found.regions.len(), found.truncated_at), (700, Some(700 << 12)));
    let found = memory.regions(&LONG, RegionLimits { entries: 100, regions: 700 });
    assert_eq!((found.entries, found.regions.len(), found.truncated_at), (100, 97, Some(97 << 12)));
    assert_eq!(memory.regions(&LONG, RegionLimits { entries: 0, regions: 0 }).truncated_at, Some(0));
}

#[test]
fn entries_that_map_nothing_are_said() {
    let memory = Memory::of(&[
        (0x1000, 0x2003),
        (0x1008, 0x7000_0003),
        (0x2000, 0x3003),
        (0x3000, 0x20_2083),
        (0x3008, 0x4003),
        (0x4000, 0x8003),
    ]);
    let found = memory.regions(&LONG, FEW);
    let seen: Vec<_> = found.broken.iter().map(|broken| (broken.virt, broken.len, broken.why)).collect();
    let unreadable = FaultReason::Unreadable { entry_at: 0x7000_0000 };
    let expected = [(0, 0x20_0000, FaultReason::Reserved { bits: 0x2000 }), (1 << 39, 1 << 39, unreadable)];
    assert_eq!(seen, expected);
    assert_eq!(found.broken[1].step.map(|step| step.entry_at), Some(0x1008));
    let nowhere = memory.regions(&WalkContext { cr3: 1 << 40, ..LONG }, FEW);
    assert_eq!((nowhere.broken.len(), nowhere.broken[0].step), (1, None));
}

#[test]
fn other_paging_modes_are_gone_through() {
    let off = WalkContext { cr0: Cr0::PE, ..LONG };
    assert_eq!(Memory::of(&[]).lines(&off), ["0x0 to 0x0, 0x100000000 bytes, rwxu"]);

    let legacy = WalkContext { cr4: Cr4::PSE, efer: Efer::empty(), ..LONG };
    // Two 4-byte entries in each word: a table and a 4 MiB page at 0x1_0040_0000, and three pages.
    let memory = Memory::of(&[
        (0x1000, 0x0040_2083_0000_2007),
        (0x2000, 0x0000_5005_0000_4005),
        (0x2ff8, 0x6007 << 32),
    ]);
    let expected = [
        "0x0 to 0x4000, 0x2000 bytes, rxu",
        "0x3ff000 to 0x6000, 0x1000 bytes, rwxu",
        "0x400000 to 0x100400000, 0x400000 bytes, rwx",
    ];
    assert_eq!(memory.lines(&legacy), expected);

    let pae = WalkContext { cr3: 0x1020, efer: Efer::NXE, ..LONG };
    let memory = Memory::of(&[(0x1020 + 24, 0x2001), (0x1020 + 32, 0x2001), (0x2ff8, NX | 0x20_0083)]);
    assert_eq!(memory.lines(&pae), ["0xffe00000 to 0x200000, 0x200000 bytes, rw"]);

    let five = WalkContext { cr4: Cr4::PAE | Cr4::LA57, ..LONG };
    let memory = Memory::of(&[(0x1800, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)]);
    assert_eq!(memory.lines(&five), ["0xff00000000000000 to 0x0, 0x40000000 bytes, rwx"]);
}

/// Contexts of each paging mode, top table at 0x1000.
fn context() -> impl Strategy<Value = WalkContext> {
    let modes = [
        (Cr4::PAE, LONG.efer),
        (Cr4::PAE | Cr4::LA57, LONG.efer),
        (Cr4::PAE, Efer::NXE),
        (Cr4::PAE, Efer::empty()),
        (Cr4::PSE, Efer::empty()),
        (Cr4::empty(), Efer::empty()),
    ];
    prop::sample::select(modes.to_vec()).prop_map(|(cr4, efer)| WalkContext {
        cr4,
        efer,
        phys_bits: 40,
        ..LONG
    })
}

/// An entry that leads to one of eight tables, or maps something, or is bad.
fn entry() -> impl Strategy<Value = u64> {
    let flags =
        prop_oneof![4 => Just(7u64), 1 => any::<u64>().prop_map(|bits| bits & 0x87 | 1), 1 => Just(0x83)];
    let frame =
        prop_oneof![6 => 1u64..9, 1 => Just(0x200), 1 => any::<u64>().prop_map(|bits| bits & 0xff_ffff)];
    (flags, frame, prop_oneof![5 => Just(0), 1 => Just(NX)])
        .prop_map(|(flags, frame, nx)| flags | frame << 12 | nx)
}

proptest! {
    #![proptest_config(crate::testing::config())]

    /// Both say the same of every address: of the edges of each region, and of any.
    #[test]
    fn regions_are_what_the_walker_says(
        context in context(),
        entries in prop::collection::vec((0u64..8, prop::sample::select(vec![0u64, 1, 2, 3, 4, 255, 256, 510, 511]), entry()), 1..60),
        anywhere in prop::collection::vec(any::<u64>(), 8),
    ) {
        let mut memory = Memory::of(&[]);
        memory.end = 0x8000;
        memory.words.extend(entries.iter().map(|(table, index, entry)| ((table + 1) * 0x1000 + index * 8, *entry)));
        let found = memory.regions(&context, RegionLimits { entries: 1 << 18, regions: 1 << 16 });
        let walked = |virt| walk(|at| memory.word(at), &context, virt, AccessKind::Read).ok();
        for region in &found.regions {
            for offset in [0, region.len / 2, region.len - 1] {
                let virt = region.virt + offset;
                let one = walked(virt).ok_or_else(|| TestCaseError::fail(format!("{virt:#x} of {region} faults")))?;
                prop_assert_eq!(
                    (one.phys, one.writable, one.executable, one.user),
                    (region.phys + offset, region.writable, region.executable, region.user),
                    "{:#x} of {}", virt, region
                );
                prop_assert!((region.smallest_page..=region.largest_page).contains(&one.page_bytes));
            }
        }
        prop_assert!(found.regions.is_sorted_by(|a, b| a.last() < b.virt));
        let known = |virt: u64| {
            let inside = |start: u64, len: u64| virt.wrapping_sub(start) < len;
            found.regions.iter().any(|region| inside(region.virt, region.len))
                || found.windows.iter().any(|window| inside(window.virt, window.len))
                || found.truncated_at.is_some_and(|at| at <= virt)
        };
        // What is not listed does not translate: at any address, and around the edges of what is.
        let edges = found.regions.iter().flat_map(|region| [region.virt.wrapping_sub(1), region.last().wrapping_add(1)]);
        let indices = entries.iter().flat_map(|(_, index, _)| [12, 21, 22, 30, 39, 48].map(|shift| index << shift));
        for virt in anywhere.iter().copied().chain(edges).chain(indices) {
            prop_assert!(known(virt) || walked(virt).is_none(), "{:#x} translates and is not listed", virt);
        }
    }
}
