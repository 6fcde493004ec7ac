use strata_memory::Entry;

use super::*;

fn map(entries: &[(u64, u64, Kind)]) -> MemoryMap {
    let mut map = MemoryMap::new();
    for (start, len, kind) in entries {
        map.insert(Entry { start: *start, len: *len, kind: *kind }).unwrap();
    }
    map
}

fn sizes(map: &MemoryMap) -> (u32, u32) {
    let bytes = bytes(map, 0, None);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    (word(4), word(8))
}

#[test]
fn memory_is_counted_to_the_first_hole() {
    let low = (0, 0x9_fc00, Kind::Usable);
    assert_eq!(sizes(&map(&[low, (0x10_0000, 63 << 20, Kind::Usable)])), (639, 63 << 10));
    assert_eq!(sizes(&map(&[(0, 64 << 20, Kind::Usable)])), (640, 63 << 10));
    assert_eq!(sizes(&map(&[low, (0x10_0000, 0x1000, Kind::Reserved)])), (639, 0));
    assert_eq!(sizes(&map(&[(0x1000, 0x1000, Kind::Usable)])), (0, 0));
    assert_eq!(sizes(&map(&[(0, 1 << 50, Kind::Usable)])), (640, u32::MAX), "more than can be said");
}

#[test]
fn as_many_ranges_as_allowed_fill_the_page() {
    let mut all = MemoryMap::new();
    for index in 0..MAX_RANGES as u64 {
        all.insert(Entry { start: index << 13, len: 0x1000, kind: Kind::Usable }).unwrap();
    }
    let len = bytes(&all, 0, None).len() as u64;
    assert!(len <= PAGE_SIZE && len + u64::from(MAP_ENTRY) > PAGE_SIZE, "{len}");
}
