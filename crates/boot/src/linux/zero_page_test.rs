use strata_memory::{Entry, Kind};

use super::*;

fn page(map: &MemoryMap, initrd: Option<(u64, u64)>) -> Vec<u8> {
    let header = SetupHeader::for_elf();
    let rsdp = Some(0x1_2345_6789);
    ZeroPage { header: &header, cmdline: 0x7_0002_0000, initrd, memory_map: map, rsdp }.bytes()
}

#[test]
fn the_memory_map_becomes_the_e820_table() {
    let mut map = MemoryMap::new();
    map.insert(Entry { start: 0, len: 0x9_fc00, kind: Kind::Usable }).unwrap();
    map.insert(Entry { start: 0x1_0000_0000, len: 0x2_0000_0000, kind: Kind::AcpiNvs }).unwrap();
    let page = page(&map, None);
    assert_eq!((page.len(), page[0x1e8]), (0x1000, 2));
    let mut expected = vec![0; 40];
    expected[8..16].copy_from_slice(&0x9_fc00_u64.to_le_bytes());
    expected[16] = 1;
    expected[24] = 1; // 4 GiB
    expected[32] = 2; // 8 GiB
    expected[36] = 4;
    assert_eq!(page[0x2d0..0x2d0 + 40], expected);
    assert_eq!(page[0x2f8..], [0; 0xd08]);
}

#[test]
fn addresses_above_4_gib_have_their_upper_half_elsewhere() {
    let page = page(&MemoryMap::new(), Some((0x5_6000_0000, 0x1_0000_0001)));
    let word = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
    assert_eq!((word(0x228), word(0xc8)), (0x2_0000, 7));
    assert_eq!((word(0x218), word(0xc0)), (0x6000_0000, 5));
    assert_eq!((word(0x21c), word(0xc4)), (1, 1));
    assert_eq!((word(0x70), word(0x74)), (0x2345_6789, 1));
}
