use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::*;

fn usable(start: u64, len: u64) -> Entry {
    Entry { start, len, kind: Kind::Usable }
}

fn reserved(start: u64, len: u64) -> Entry {
    Entry { start, len, kind: Kind::Reserved }
}

fn map(entries: &[Entry]) -> MemoryMap {
    let mut map = MemoryMap::new();
    for entry in entries {
        map.insert(*entry).unwrap();
    }
    map
}

#[test]
fn e820_numbers_are_those_of_the_acpi_specification() {
    let kinds = [
        Kind::Usable,
        Kind::Reserved,
        Kind::AcpiReclaimable,
        Kind::AcpiNvs,
        Kind::Unusable,
        Kind::Persistent,
    ];
    assert_eq!(kinds.map(Kind::e820), [1, 2, 3, 4, 5, 7]);
}

#[test]
fn of_a_spec_lists_its_ram_around_the_gap() {
    let map = MemoryMap::of(&RamSpec::new(4 << 30));
    assert_eq!(map.entries(), [usable(0, 3 << 30), usable(4 << 30, 1 << 30)]);
    assert_eq!(map.total(Kind::Usable), 4 << 30);
}

#[test]
fn read_only_ram_is_reserved_and_impossible_pieces_are_left_out() {
    let piece = |start, len, read_only| Piece { start: GuestAddress(start), len, read_only };
    let spec = RamSpec::empty()
        .piece(piece(0x2000, 0x1000, true))
        .piece(piece(0, 0x2000, false))
        .piece(piece(0x8000, 0, false))
        .piece(piece(u64::MAX, 2, false));
    assert_eq!(MemoryMap::of(&spec).entries(), [usable(0, 0x2000), reserved(0x2000, 0x1000)]);
}

#[test]
fn insert_carves_a_hole_into_the_middle() {
    let map = map(&[usable(0, 0x3000), reserved(0x1000, 0x1000)]);
    assert_eq!(map.entries(), [usable(0, 0x1000), reserved(0x1000, 0x1000), usable(0x2000, 0x1000)]);
}

#[test]
fn insert_cuts_both_neighbours_and_swallows_what_lies_between() {
    let map = map(&[usable(0, 10), usable(20, 10), usable(40, 10), reserved(5, 40)]);
    assert_eq!(map.entries(), [usable(0, 5), reserved(5, 40), usable(45, 5)]);
}

#[test]
fn neighbours_of_one_kind_are_merged() {
    assert_eq!(map(&[usable(10, 10), usable(0, 10), usable(15, 10)]).entries(), [usable(0, 25)]);
    assert_eq!(map(&[usable(0, 30), reserved(10, 10), usable(10, 10)]).entries(), [usable(0, 30)]);
}

#[test]
fn kind_at_knows_the_edges() {
    let map = map(&[usable(10, 10)]);
    assert_eq!(
        [9, 10, 19, 20].map(|at| map.kind_at(at)),
        [None, Some(Kind::Usable), Some(Kind::Usable), None]
    );
}

#[test]
fn a_range_up_to_the_last_address_but_one_is_fine_beyond_is_not() {
    let mut map = MemoryMap::new();
    map.insert(usable(u64::MAX - 10, 10)).unwrap();
    let error = map.insert(usable(u64::MAX - 10, 11)).map(|()| map.clone());
    assert_eq!(error, Err(InsertError::AddressOverflow { start: u64::MAX - 10, len: 11 }));
    assert_eq!(map.insert(usable(7, 0)), Err(InsertError::ZeroSize { start: 7 }));
    assert_eq!(map.entries(), [usable(u64::MAX - 10, 10)], "a refused range changes nothing");
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let kind = prop_oneof![Just(Kind::Usable), Just(Kind::Reserved), Just(Kind::AcpiNvs)];
    let entry = (0..64_u64, 1..40_u64, kind).prop_map(|(start, len, kind)| Entry { start, len, kind });
    prop::collection::vec(entry, 0..12)
}

proptest! {
    /// The model is one cell a byte, each written by the last range that covers it.
    #[test]
    fn inserts_do_what_a_byte_array_does(inserted in entries()) {
        let map = map(&inserted);
        let mut model = [None; 128];
        for entry in &inserted {
            for (at, cell) in (0..).zip(&mut model) {
                if entry.start <= at && at < entry.end() {
                    *cell = Some(entry.kind);
                }
            }
        }
        for (at, kind) in (0..).zip(model) {
            prop_assert_eq!(map.kind_at(at), kind, "at {}", at);
        }
        let covered = model.iter().flatten().count() as u64;
        prop_assert_eq!(map.entries().iter().map(|entry| entry.len).sum::<u64>(), covered);
    }

    #[test]
    fn entries_are_sorted_disjoint_and_merged(inserted in entries()) {
        for pair in map(&inserted).entries().windows(2) {
            prop_assert!(pair[0].end() <= pair[1].start);
            let apart = pair[0].end() < pair[1].start || pair[0].kind != pair[1].kind;
            prop_assert!(apart, "not merged: {:?}", pair);
        }
    }
}
