use std::io::{Seek, SeekFrom, Write};

use super::*;

#[test]
fn congruent_moves_up_by_less_than_a_huge_page() {
    for addr in [0x7f00_0000_0000, 0x7f00_0000_1000, 0x7f00_001f_f000, 0x7f00_0020_0000_usize] {
        for start in [0, 0x1000, 0x10_0000, 0x1f_f000, 0x20_0000, 0x1_0000_1000] {
            let found = congruent(addr, GuestAddress(start));
            assert!((addr..addr + 0x20_0000).contains(&found), "{addr:#x} for {start:#x}: {found:#x}");
            assert_eq!(found as u64 % HUGE, start % HUGE);
        }
    }
}

#[test]
fn the_host_has_memory() {
    // Less than a MiB would be a wrong unit; the machine running this has more.
    assert!(host_memory().is_some_and(|bytes| bytes > 1 << 20));
}

#[test]
fn a_memory_file_cannot_change_its_size() {
    let mut file = memfd(0x3000, None).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0x3000);
    assert!(file.set_len(0x1000).is_err(), "shrunk");
    assert!(file.set_len(0x4000).is_err(), "grown");
    file.seek(SeekFrom::Start(0x2fff)).unwrap();
    file.write_all(&[1]).unwrap();
}

#[test]
fn a_refused_mapping_is_an_error_and_leaves_no_line() {
    let mut log = Vec::new();
    let piece = Piece { start: GuestAddress(0), len: 1 << 60, read_only: false };
    assert!(place(&piece, Source::Anonymous, &mut log).is_err());
    assert_eq!(log, []);
}
