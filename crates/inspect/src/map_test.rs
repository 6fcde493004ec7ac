use strata_cpu::{Access, Gdt, Mapping, PageSize, PageTables, Segment, TableRegister};
use vm_memory::GuestMemoryMmap;

use super::*;

const RAM: u64 = 0x40_0000;
const TABLES: u64 = 0x9000;

fn areas() -> Vec<Area> {
    vec![
        Area::new(0xd000_0000, 0x1000, AreaKind::Device, "virtio0 (block)"),
        Area::new(0, RAM, AreaKind::Ram, ""),
        Area::new(0, RAM, AreaKind::Slot, "slot 0"),
        Area::new(0x10_0000, 0x5_3000, AreaKind::Image, "kernel"),
        Area::new(0x6000, 0x1000, AreaKind::Table, "zero page"),
        Area::new(0x7000, 0, AreaKind::Table, "nothing"),
    ]
}

/// A guest in long mode with an executable kernel, its data, and a bad page.
fn guest() -> (GuestMemoryMmap<()>, X86State) {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x40_0000)]).unwrap();
    let (page, large) = (PageSize::Size4K, PageSize::Size2M);
    let mut tables = PageTables::new(TABLES);
    tables
        .map(Mapping::identity(0, 0x20_0000, page, Access::RW))
        .and_then(|tables| {
            let (virt, phys) = (0xffff_ffff_8000_0000, 0x10_0000);
            tables.map(Mapping { virt, phys, len: 0x3000, page, access: Access::RX })
        })
        .and_then(|tables| tables.map(Mapping::identity(0x20_0000, 0x20_0000, large, Access::RWX.user())))
        .unwrap();
    tables.build().write_to(&memory).unwrap();
    let mut state = X86State::long(0x10_0000, TABLES, 0x500);
    state.gdt = TableRegister { base: 0x500, limit: Gdt::ENTRY_LIMIT };
    state.tr = Segment::tss(0x18, 0x4000, 0x67);
    (memory, state)
}

fn svg_is_sound(svg: &str) {
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    let left_over = svg.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
    assert!(!left_over.contains('&'));
    // Texts of one column and line do not touch: every y is a box's, and boxes are at least a line high.
    let boxes: Vec<(f64, f64)> = svg
        .lines()
        .filter(|line| line.starts_with("<rect") && line.contains("height") && !line.contains("\"100%\""))
        .filter(|line| !line.contains("height=\"12\""))
        .map(|line| (number(line, "x"), number(line, "y")))
        .collect();
    for pair in boxes.windows(2) {
        assert!(pair[0].0 < pair[1].0 || pair[1].1 - pair[0].1 >= 18.0, "{pair:?}");
    }
}

fn number(line: &str, name: &str) -> f64 {
    let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
    rest.split('"').next().unwrap().parse().unwrap()
}

#[test]
fn areas_are_sorted_and_nested_and_holes_are_shown() {
    let expected = "\
guest-physical memory
  0x000000000000 to 0x0000003fffff      4 MiB  RAM
  0x000000000000 to 0x0000003fffff      4 MiB    slot 0
  0x000000006000 to 0x000000006fff      4 KiB      table zero page
  0x000000100000 to 0x000000152fff    332 KiB      image kernel
  0x000000400000 to 0x0000cfffffff   3324 MiB  -
  0x0000d0000000 to 0x0000d0000fff      4 KiB  device virtio0 (block)
";
    assert_eq!(Map::new(areas()).to_string(), expected);
}

#[test]
fn what_overlaps_is_marked() {
    let mut areas = areas();
    areas.push(Area::new(0x20_0000, 0x1000, AreaKind::Device, "ghost"));
    areas.push(Area::new(0x15_2000, 0x2000, AreaKind::Image, "initrd"));
    let map = Map::new(areas);
    let text = map.to_string();
    let marked: Vec<_> =
        text.lines().filter_map(|line| line.split_once("  ! ").map(|(_, mark)| mark)).collect();
    assert_eq!(marked, ["overlaps kernel at 0x100000", "overlaps slot 0 at 0x0"], "{text}");
    let svg = map.svg().to_string();
    assert!(svg.contains("! ghost: overlaps slot 0"), "{svg}");
    svg_is_sound(&svg);
}

#[test]
fn a_processor_adds_its_tables_and_regions() {
    let (memory, state) = guest();
    let map = Map::new(areas()).with_view(&View::new(&memory, &state));
    let text = map.to_string();
    let expected = [
        "  0x000000000500 to 0x000000000517       24 B      table GDT",
        "  0x000000004000 to 0x000000004067      104 B      table TSS",
        "  0x000000009000 to 0x000000009fff      4 KiB      table page tables (PML4Es)",
        "  0x00000000c000 to 0x00000000cfff      4 KiB      table page tables (PTEs)",
        "  0x0000000000000000 to 0x00000000001fffff      2 MiB  rw--  at 0x000000000000  4K",
        "  0x0000000000200000 to 0x00000000003fffff      2 MiB  rwxu  at 0x000000200000  2M  ! W+X",
        "  0xffffffff80000000 to 0xffffffff80002fff     12 KiB  r-x-  at 0x000000100000  4K",
        "  1 of the regions can be written and executed (W+X): 0x200000 to 0x3fffff",
        "  12 KiB at 0x100000 can be written at 0x100000 and executed at 0xffffffff80000000",
    ];
    for line in expected {
        assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
    }
    let svg = map.svg().to_string();
    svg_is_sound(&svg);
    assert!(svg.contains("! rwxu at 0x200000, 2M pages"), "{svg}");
}

#[test]
fn thousands_of_areas_and_regions_are_bounded() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x40_0000)]).unwrap();
    let mut tables = PageTables::new(TABLES);
    for n in 0..5000u64 {
        let mapping =
            Mapping { virt: n * 0x2000, ..Mapping::identity(0, 0x1000, PageSize::Size4K, Access::R) };
        tables.map(mapping).unwrap();
    }
    tables.build().write_to(&memory).unwrap();
    let state = X86State::long(0, TABLES, 0x500);
    let many = (0..5000).map(|n| Area::new(n * 0x2000, 0x1000, AreaKind::Table, format!("t{n}")));
    let map = Map::new(many).with_view(&View::new(&memory, &state)).lines(100);
    let text = map.to_string();
    assert!(text.lines().count() < 100 * 3 + 50, "{}", text.lines().count());
    assert!(text.contains("... and 4900 more regions"), "{text}");
    let svg = map.svg().to_string();
    assert!(svg.len() < 100_000, "{}", svg.len());
    svg_is_sound(&svg);
}

#[test]
fn names_can_neither_steer_a_terminal_nor_break_the_picture() {
    let map = Map::new([Area::new(0, 0x1000, AreaKind::Image, "\x1b[31m</text><script>&\u{ffff}")]);
    let text = map.to_string();
    assert!(text.contains("image ?[31m</text>"), "{text}");
    assert!(!text.contains('\x1b'));
    let svg = map.svg().to_string();
    svg_is_sound(&svg);
    assert!(svg.contains("?[31m&lt;/text&gt;&lt;script&gt;&amp;?"), "{svg}");
}

#[test]
fn tables_that_lead_nowhere_are_said() {
    let (memory, mut state) = guest();
    state.cr3 = 0x5000_0000;
    let text = Map::new(areas()).with_view(&View::new(&memory, &state)).to_string();
    assert!(text.contains("  nothing is mapped\n"), "{text}");
    assert!(text.contains("0x0: CR3 points to 0x50000000, where there is no RAM"), "{text}");
}

#[test]
fn addresses_end_where_they_end() {
    let map = Map::new([
        Area::new(u64::MAX - 0xfff, u64::MAX, AreaKind::Device, "last"),
        Area::new(0, u64::MAX, AreaKind::Ram, ""),
    ]);
    assert!(map.to_string().contains("overlaps RAM at 0x0"), "{map}");
    svg_is_sound(&map.svg().to_string());
    svg_is_sound(&Map::new([]).svg().to_string());
}

#[test]
fn sizes_are_short() {
    let sizes = [0, 1023, 1024, 0x9fc00, 4 << 30, (1 << 20) + 1, 0xa_0000_0001, (1 << 64) - 0x1000, 1 << 64];
    let shown = sizes.map(|size| Size(size).to_string());
    assert_eq!(
        shown,
        ["0 B", "1023 B", "1 KiB", "639 KiB", "4 GiB", "~1024 KiB", "~40 GiB", "~16 EiB", "16 EiB"]
    );
}

#[test]
fn without_paging_nothing_is_said_of_rights() {
    let (memory, _) = guest();
    let mut state = X86State::real(0x100);
    for _ in 0..2 {
        let map = Map::new(areas()).with_view(&View::new(&memory, &state));
        let text = map.to_string();
        assert!(text.ends_with("\n\npaging is off: linear addresses are physical\n"), "{text}");
        let svg = map.svg().to_string();
        svg_is_sound(&svg);
        assert!(svg.contains(">paging is off<"), "{svg}");
        assert!(!text.contains("W+X") && !svg.contains("W+X"));
        state = X86State::protected(0x10_0000, 0x500);
    }
}

#[test]
fn memory_of_what_was_loaded_may_be_used_again() {
    let table = Area::new(0x15_2000, 0x2000, AreaKind::Table, "page tables");
    let text = Map::new(areas().into_iter().chain([table])).to_string();
    assert!(!text.contains(" ! "), "{text}");
}
