use proptest::prelude::*;

use super::*;
use crate::testing::{Segment, bzimage, elf, elf32, multiboot_header, note};

#[test]
fn names_are_parsed_as_they_are_displayed() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let error = "vmlinux".parse::<Format>().unwrap_err();
    assert!(error.to_string().starts_with("`vmlinux` is no image format"), "{error}");
}

#[test]
fn each_format_is_told_by_its_headers() {
    let code = || Segment::at(0x10_0000, b"code");
    let linux = || note("Linux", 0x101, &[0; 4]);
    let xen = || note("Xen", 18, &[0; 4]);
    let multiboot = || Segment::at(0x10_0000, &multiboot_header(0, None));
    let with_addresses = multiboot_header(1 << 16, Some([0; 5]));
    for (image, format) in [
        (vec![], Format::Flat),
        (b"\xf4".to_vec(), Format::Flat),
        (b"\x7fEL".to_vec(), Format::Flat),
        (b"\x7fELF".to_vec(), Format::Elf64),
        (elf(0, &[code()]), Format::Elf64),
        (elf32(0, &[code()]), Format::Elf64),
        (elf(0, &[code(), note("GNU", 3, &[0; 20])]), Format::Elf64),
        (elf(0, &[code(), linux()]), Format::Linux),
        (elf(0, &[code(), xen(), linux()]), Format::Linux),
        (elf(0, &[code(), xen()]), Format::Pvh),
        (elf32(0, &[code(), xen()]), Format::Pvh),
        (elf32(0, &[code(), linux()]), Format::Elf64),
        (elf32(0, &[multiboot()]), Format::Multiboot),
        (elf32(0, &[multiboot(), xen()]), Format::Pvh),
        (elf(0, &[multiboot()]), Format::Elf64),
        (elf(0, &[Segment::at(0x10_0000, &with_addresses)]), Format::Multiboot),
        (with_addresses.clone(), Format::Multiboot),
        (multiboot_header(0, None), Format::Flat),
        (bzimage(&[7; 0x300], (0, 0)), Format::BzImage),
    ] {
        assert_eq!(detect(&image).unwrap(), format, "{image:x?}");
    }
}

proptest! {
    #[test]
    fn bytes_in_memory_always_have_a_format(rest in prop::collection::vec(any::<u8>(), 0..0x200)) {
        for magic in [b"".as_slice(), b"\x7fELF\x01\x01\x01", b"\x7fELF\x02\x01\x01"] {
            detect(&[magic, &rest].concat()).unwrap();
        }
    }
}
