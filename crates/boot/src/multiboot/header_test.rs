use super::*;
use crate::testing::multiboot_header;

#[test]
fn the_header_lies_in_the_first_8_kib_at_a_multiple_of_4() {
    for at in [0, 4, 8192 - 12, 8192 - 8, 8192, 8194, 2] {
        let image = [vec![0; at], multiboot_header(3, None), vec![0; 0x40]].concat();
        let found = read(&image);
        if at % 4 == 0 && at <= 8192 - 12 {
            assert_eq!(found.unwrap(), Header { addresses: None }, "{at}");
        } else {
            assert!(matches!(found, Err(MultibootError::NoHeader)), "{at}");
        }
    }
}

#[test]
fn a_wrong_checksum_is_passed_over() {
    let mut wrong = multiboot_header(3, None);
    wrong[8] ^= 1;
    assert!(matches!(read(&wrong), Err(MultibootError::Checksum)));
    assert_eq!(find(&wrong).unwrap(), None);
    let both = [wrong, multiboot_header(1, None)].concat();
    assert_eq!(read(&both).unwrap(), Header { addresses: None });
    assert_eq!(find(&both).unwrap(), Some(false));
}

#[test]
fn addresses_cut_off_are_refused_by_name() {
    let whole = multiboot_header(1 << 16, Some([0x1000, 0x1000, 0, 0, 0x1000]));
    assert_eq!(find(&whole).unwrap(), Some(true));
    for len in 12..whole.len() {
        assert!(matches!(read(&whole[..len].to_vec()), Err(MultibootError::TruncatedHeader)));
    }
}

#[test]
fn addresses_that_contradict_each_other_are_refused_by_name() {
    let read = |addresses| read(&[vec![0; 16], multiboot_header(1 << 16, Some(addresses))].concat());
    // 16 bytes before the header are in the file, and no more; the file has 48 bytes.
    for addresses in [
        [0x1000, 0x1004, 0, 0, 0x1000],
        [0x1011, 0x1000, 0, 0, 0x1000],
        [0x1010, 0x1000, 0x1000, 0, 0x1000],
        [0x1010, 0x1000, 0xfff, 0, 0x1000],
        [0x1010, 0x1000, 0x1030, 0x102f, 0x1000],
        [0x1010, 0x1000, 0, 0x102f, 0x1000],
        [0x1010, 0x1000, 0, 0xfff, 0x1000],
    ] {
        assert!(matches!(read(addresses), Err(MultibootError::Addresses { .. })), "{addresses:x?}");
    }
    let error = read([0x1010, 0x1000, 0x1031, 0, 0x1000]);
    assert!(matches!(error, Err(MultibootError::Truncated { len: 48, expected: 49 })));
    let addresses = read([0x1010, 0x1008, 0x1020, 0x1100, 0x1010]).unwrap().addresses.unwrap();
    let expected = Addresses { offset: 8, len: 0x18, load: 0x1008, memory_size: 0xf8, entry: 0x1010 };
    assert_eq!(addresses, expected);
}
