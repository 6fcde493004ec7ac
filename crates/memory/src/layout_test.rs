use super::*;

#[test]
fn regions_are_sorted_and_disjoint() {
    for table in [MAP, SPANS] {
        for pair in table.windows(2) {
            assert!(pair[0].end() <= pair[1].start, "{} runs into {}", pair[0].name, pair[1].name);
        }
        assert!(table.iter().all(|region| region.len > 0));
    }
}

#[test]
fn spans_have_no_holes() {
    assert_eq!(SPANS[0].start, 0);
    for pair in SPANS.windows(2) {
        assert_eq!(pair[0].end(), pair[1].start, "hole after {}", pair[0].name);
    }
    assert_eq!(SPANS.last().unwrap().end(), PHYSICAL_ADDRESS_END);
}

/// Constants that name no place of their own: sizes, and bounds which the spans show.
const NOT_PLACES: &[&str] = &[
    "PAGE_SIZE",
    "BOOT_STACK_TOP",
    "HIGH_MEMORY",
    "MMIO_GAP_START",
    "FIRST_ADDRESS_ABOVE_4G",
    "PHYSICAL_ADDRESS_END",
];

/// Reads this module's own source: a constant added without a row in the table would be missing from the
/// page.
#[test]
fn every_address_is_in_the_table() {
    let constants: Vec<&str> = include_str!("layout.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": u64 =").map(|(name, _)| name))
        .collect();
    assert!(constants.len() > MAP.len(), "the source is no longer written the way this test reads it");
    for name in &constants {
        let in_map = MAP.iter().any(|region| region.name == *name);
        assert_ne!(in_map, NOT_PLACES.contains(name), "{name} belongs in exactly one of MAP and NOT_PLACES");
    }
    for region in MAP {
        assert!(constants.contains(&region.name), "{} in MAP is no constant", region.name);
    }
}

#[test]
fn devices_lie_in_the_gap_and_the_rest_below_high_memory() {
    for region in MAP {
        let low = region.end() <= HIGH_MEMORY;
        let gap = region.start >= MMIO_GAP_START && region.end() <= FIRST_ADDRESS_ABOVE_4G;
        assert!(low || gap, "{} lies where RAM is handed to guests", region.name);
    }
}

#[test]
fn the_stack_top_ends_the_stack_and_is_aligned() {
    let stack = MAP.iter().find(|region| region.name == "BOOT_STACK").unwrap();
    assert_eq!(stack.end(), BOOT_STACK_TOP);
    assert_eq!(BOOT_STACK_TOP % 16, 0);
    assert!(stack.what.contains(&format!("{BOOT_STACK_TOP:#x}")));
}

#[test]
fn the_published_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/memory-map.md");
    let page = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(page, markdown(), "run: cargo run -p strata-memory --example memory_map > docs/memory-map.md");
}
