use super::*;
use crate::testing::bzimage;

fn spoilt(at: usize, bytes: &[u8]) -> BzImageError {
    let mut image = bzimage(&[7; 0x300], (0x210, 0x10));
    image[at..at + bytes.len()].copy_from_slice(bytes);
    BzImage::read(&image).unwrap_err()
}

#[test]
fn fields_are_where_the_documentation_says() {
    let image = bzimage(&[7; 0x300], (0x210, 0x10));
    let read = BzImage::read(&image).unwrap();
    assert_eq!((read.code, read.payload), ((0x400, 0x300), (0x610, 0x10)));
    assert_eq!((read.pref_address, read.init_size), (0x10_0000, 0x1_0000));
    assert_eq!((read.initrd_addr_max, read.cmdline_size), (0x7fff_ffff, 2047));
    assert_eq!(read.header.bytes()[..0x6f], image[0x1f1..0x260]);
}

#[test]
fn the_header_ends_where_its_jump_leads() {
    // A header of protocol 2.12 ends with handover_offset; what follows is code.
    let mut image = bzimage(&[7; 0x300], (0, 0));
    image[0x201] = 0x66; // 0x202 + 0x66 = 0x268
    image[0x264..0x290].fill(0xcc);
    let header = BzImage::read(&image).unwrap().header;
    assert_eq!(header.bytes()[0x264 - START..0x268 - START], [0xcc; 4]);
    assert_eq!(header.bytes()[0x268 - START..], [0; 0x28]);
    // One that claims to go beyond the zero page's room for it.
    image[0x201] = 0xff;
    image[0x290..0x301].fill(0xcc);
    let header = BzImage::read(&image).unwrap().header;
    assert_eq!(header.bytes().len(), 0x290 - 0x1f1);
}

#[test]
fn no_sectors_mean_four() {
    let mut image = bzimage(&[7; 0x1300], (0, 0));
    image[0x1f1] = 0;
    image[0x1f4] = 0x30;
    image[0x1f5] = 0;
    assert_eq!(BzImage::read(&image).unwrap().code, (5 * 512, 0x300));
}

#[test]
fn what_cannot_be_entered_is_refused_by_name() {
    assert!(matches!(spoilt(0x1fe, &[0]), BzImageError::NotBzImage));
    assert!(matches!(spoilt(0x202, b"hdrS"), BzImageError::NotBzImage));
    assert!(matches!(spoilt(0x211, &[0]), BzImageError::ZImage));
    assert!(matches!(spoilt(0x206, &[0x0b]), BzImageError::TooOld { version: 0x020b }));
    assert!(matches!(spoilt(0x236, &[0]), BzImageError::Only32Bit));
    assert!(matches!(spoilt(0x1f1, &[2]), BzImageError::Truncated { len: 0x700, expected: 0x900 }));
    assert!(matches!(spoilt(0x1f4, &[0xff; 4]), BzImageError::Truncated { .. }));
    assert!(matches!(spoilt(0x1f4, &[0x20, 0]), BzImageError::Sizes { code_size: 0x200, .. }));
    assert!(matches!(spoilt(0x260, &[0xff, 2, 0]), BzImageError::Sizes { init_size: 0x2ff, .. }));
    assert!(matches!(spoilt(0x248, &[0xf1, 2]), BzImageError::Payload));
    assert!(matches!(spoilt(0x248, &[0xff; 8]), BzImageError::Payload));
    let text = spoilt(0x206, &[0x0a]).to_string();
    assert!(text.contains("boot protocol 2.10"), "{text}");
}
