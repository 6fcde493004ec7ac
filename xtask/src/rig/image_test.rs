use super::*;

const LZ4: &[u8] = b"\x02\x21\x4c\x18packed";

/// A bzImage of three setup sectors whose payload lies 16 bytes behind them.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 4 * SECTOR + 16];
    image[SETUP_SECTORS] = 3;
    image[SIGNATURE..SIGNATURE + 4].copy_from_slice(b"HdrS");
    image[VERSION..VERSION + 2].copy_from_slice(&0x20f_u16.to_le_bytes());
    image[VERSION_STRING..VERSION_STRING + 2].copy_from_slice(&0x300_u16.to_le_bytes());
    image[0x500..0x512].copy_from_slice(b"6.1.0-x (me) #1 \0\0");
    image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
    let length = u32::try_from(payload.len()).unwrap();
    image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
    image.extend_from_slice(payload);
    image.extend_from_slice(b"what follows");
    image
}

#[test]
fn the_payload_is_found_without_the_size_behind_it() {
    assert_eq!(payload(&bzimage(&[LZ4, b"size"].concat())), Ok(LZ4));
    assert_eq!(payload(&bzimage(b"\x1f\x8bgzip")), Ok(&b"\x1f\x8bgzip"[..]));
    assert_eq!(payload(&bzimage(b"\x7fELF")), Ok(&b"\x7fELF"[..]));
}

#[test]
fn no_setup_sectors_means_four() {
    let mut image = bzimage(b"");
    image[SETUP_SECTORS] = 0;
    image.resize(5 * SECTOR + 16, 0);
    image.extend_from_slice(b"\x7fELF");
    image[PAYLOAD_LENGTH] = 4;
    assert_eq!(payload(&image), Ok(&b"\x7fELF"[..]));
}

#[test]
fn what_is_no_bzimage_is_told_apart() {
    let good = bzimage(LZ4);
    assert_eq!(payload(b""), Err(ImageError::NotLinux));
    assert_eq!(payload(&good[..SIGNATURE + 4]), Err(ImageError::NotLinux));
    let end = 4 * SECTOR + 16 + LZ4.len();
    assert_eq!(payload(&good[..end - 1]), Err(ImageError::CutOff { end: end as u64, length: end - 1 }));
    let mut old = good.clone();
    old[VERSION] = 0x07;
    assert_eq!(payload(&old), Err(ImageError::TooOld(0x207)));
    let mut far = good;
    far[PAYLOAD_OFFSET..PAYLOAD_LENGTH + 4].fill(0xff);
    assert!(matches!(payload(&far), Err(ImageError::CutOff { .. })));
}

#[test]
fn the_release_is_read() {
    assert_eq!(release(&bzimage(b"")), Some("6.1.0-x"));
    assert_eq!(release(b"\x7fELF"), None);
}

#[test]
fn compressions_are_recognised() {
    let cases: [(&[u8], _); 6] = [
        (b"\x1f\x8b\x08", Some(Compression::Gzip)),
        (b"\xfd7zXZ\0", Some(Compression::Xz)),
        (LZ4, Some(Compression::Lz4)),
        (b"\x28\xb5\x2f\xfd", Some(Compression::Zstd)),
        (b"\x7fELF", None),
        (b"", None),
    ];
    for (bytes, expected) in cases {
        assert_eq!(Compression::of(bytes), expected);
    }
}

/// An ELF file with one segment of this kind, which has these notes.
fn elf(kind: u32, notes: &[(&[u8], u32)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (name, note) in notes {
        content.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        content.extend(5_u32.to_le_bytes());
        content.extend(note.to_le_bytes());
        content.extend_from_slice(name);
        content.resize(content.len().next_multiple_of(4) + 8, 0);
    }
    let mut file = vec![0; 0x40 + 0x38];
    file[..4].copy_from_slice(b"\x7fELF");
    file[SEGMENTS_AT] = 0x40;
    file[SEGMENT_SIZE] = 0x38;
    file[SEGMENT_COUNT] = 1;
    file[0x40..0x44].copy_from_slice(&kind.to_le_bytes());
    file[0x40 + SEGMENT_OFFSET] = 0x78;
    file[0x40 + SEGMENT_LENGTH] = u8::try_from(content.len()).unwrap();
    file.extend(content);
    file
}

#[test]
fn a_pvh_entry_is_found_behind_other_notes() {
    let pvh: (&[u8], u32) = (b"Xen\0", PVH_NOTE);
    assert!(has_pvh_entry(&elf(NOTE_SEGMENT, &[pvh])));
    assert!(has_pvh_entry(&elf(NOTE_SEGMENT, &[(b"GNU\0", 3), (b"Linux\0", 1), pvh])));
    assert!(!has_pvh_entry(&elf(NOTE_SEGMENT, &[(b"GNU\0", PVH_NOTE), (b"Xen\0", 5)])));
    assert!(!has_pvh_entry(&elf(1, &[pvh])));
}

#[test]
fn a_damaged_elf_file_has_no_pvh_entry() {
    let whole = elf(NOTE_SEGMENT, &[(b"Xen\0", PVH_NOTE)]);
    for length in 0..whole.len() {
        assert!(!has_pvh_entry(&whole[..length]), "cut to {length}");
    }
    let mut wild = whole;
    wild[SEGMENTS_AT..SEGMENTS_AT + 8].fill(0xff);
    assert!(!has_pvh_entry(&wild));
}
