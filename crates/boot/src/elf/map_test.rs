use super::*;

fn segment(virt: u64, phys: u64, memory_size: u64) -> Segment<'static> {
    Segment { index: 0, virt, phys, part: None, memory_size, only_headers: false }
}

/// Virtual address, physical address and length of each mapping.
fn map(segments: &[Segment<'_>]) -> Vec<(u64, u64, u64)> {
    of(segments).unwrap().iter().map(|it| (it.virt, it.phys, it.len)).collect()
}

const G4: u64 = 4 << 30;
const M2: u64 = 2 << 20;

#[test]
fn segments_at_their_own_addresses_need_the_identity_map_only() {
    assert_eq!(map(&[segment(0x10_0000, 0x10_0000, 5), segment(G4 - 1, G4 - 1, 1)]), [(0, 0, G4)]);
}

#[test]
fn a_segment_beyond_4_gib_gets_its_own_pages() {
    assert_eq!(map(&[segment(G4 - 1, G4 - 1, 2)]), [(G4 - 0x1000, G4 - 0x1000, 0x2000), (0, 0, G4 - M2)]);
    assert_eq!(map(&[segment(G4 + 0x800, G4 + 0x800, 1)]), [(G4, G4, 0x1000), (0, 0, G4)]);
}

#[test]
fn a_high_segment_is_mapped_by_whole_pages() {
    let high = 0xffff_ffff_8010_0000;
    assert_eq!(map(&[segment(high + 0x123, 0x10_0123, 0x1000)]), [(high, 0x10_0000, 0x2000), (0, 0, G4)]);
    let last = 0xffff_ffff_ffff_f000;
    assert_eq!(map(&[segment(last, 0x1000, 0x1000)]), [(last, 0x1000, 0x1000), (0, 0, G4)]);
}

#[test]
fn neighbours_with_one_offset_become_one_mapping() {
    let high = 0xffff_ffff_8000_0000;
    let segments = [
        segment(high + 0x1800, 0x1800, 0x1000),
        segment(high, 0, 0x1000),
        segment(high + 0x1000, 0x1000, 0x800),
        segment(high + 0x5000, 0x5000, 1),
    ];
    assert_eq!(map(&segments), [(high, 0, 0x3000), (high + 0x5000, 0x5000, 0x1000), (0, 0, G4)]);
}

#[test]
fn neighbours_that_lead_elsewhere_stay_apart() {
    let high = 0xffff_ffff_8000_0000;
    let segments = [segment(high, 0x8000, 0x1000), segment(high + 0x1000, 0x4000, 0x1000)];
    assert_eq!(map(&segments), [(high, 0x8000, 0x1000), (high + 0x1000, 0x4000, 0x1000), (0, 0, G4)]);
}

#[test]
fn low_virtual_addresses_are_cut_out_of_the_identity_map() {
    assert_eq!(
        map(&[segment(0x40_0000, 0x10_0000, 1)]),
        [(0x40_0000, 0x10_0000, 0x1000), (0, 0, 2 * M2), (3 * M2, 3 * M2, G4 - 3 * M2)]
    );
    // Two in one 2 MiB page, and one that fills the first.
    let segments = [segment(0x60_1000, 0, 1), segment(0x60_5000, 0x5000, 1), segment(0, 0x1000, 1)];
    assert_eq!(map(&segments)[3..], [(M2, M2, 2 * M2), (4 * M2, 4 * M2, G4 - 4 * M2)]);
}

#[test]
fn what_pages_cannot_express_is_refused() {
    assert!(matches!(
        of(&[segment(0x1800, 0x1000, 1)]),
        Err(ElfError::Misaligned { virt: 0x1800, phys: 0x1000, .. })
    ));
    assert!(matches!(of(&[segment(!0, 0, 2)]), Err(ElfError::AddressOverflow { .. })));
}
