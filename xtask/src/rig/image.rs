//! Kernel images: finds the kernel proper, an ELF file, in a bzImage, and says how a file is compressed.
//!
//! An uncompressed kernel is entered by PVH: no decompressor has to run, which under emulation takes seconds.

/// Why a bzImage can't be taken apart.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("it is no Linux kernel for x86")]
    NotLinux,
    #[error("its boot protocol {0:#x} is older than 0x208, which first says where the kernel proper lies")]
    TooOld(u16),
    #[error("it is cut off: the kernel proper would end at byte {end} of {length}")]
    CutOff { end: u64, length: usize },
}

// Offsets in the header of a bzImage (Documentation/arch/x86/boot.rst of the Linux kernel, "Details of header fields").
const SETUP_SECTORS: usize = 0x1f1;
const SIGNATURE: usize = 0x202;
const VERSION: usize = 0x206;
const VERSION_STRING: usize = 0x20e;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;

/// The kernel proper, as it is compressed in a bzImage.
pub(super) fn payload(image: &[u8]) -> Result<&[u8], ImageError> {
    if image.get(SIGNATURE..SIGNATURE + 4) != Some(b"HdrS") {
        return Err(ImageError::NotLinux);
    }
    let version = u16_at(image, VERSION).ok_or(ImageError::NotLinux)?;
    if version < 0x208 {
        return Err(ImageError::TooOld(version));
    }
    let number = |at| u32_at(image, at).map(u64::from).ok_or(ImageError::NotLinux);
    // 0 stands for 4, for the sake of boot loaders of the nineties.
    let sectors = match image[SETUP_SECTORS] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let start = (sectors + 1) * SECTOR as u64 + number(PAYLOAD_OFFSET)?;
    let end = start + number(PAYLOAD_LENGTH)?;
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let payload = range.and_then(|(start, end)| image.get(start..end));
    let payload = payload.ok_or(ImageError::CutOff { end, length: image.len() })?;
    // The kernel's build appends the unpacked size, which is part of gzip's own format but foreign to the others.
    match Compression::of(payload) {
        None | Some(Compression::Gzip) => Ok(payload),
        Some(_) => Ok(&payload[..payload.len() - 4]),
    }
}

/// The release that a bzImage says it is, as `uname -r` would print it.
pub(super) fn release(image: &[u8]) -> Option<&str> {
    let at = usize::from(u16_at(image, VERSION_STRING).filter(|&at| at != 0)?) + SECTOR;
    let text = image.get(at..)?.split(|&byte| byte == 0 || byte == b' ').next()?;
    str::from_utf8(text).ok()
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Xz,
    /// In the "legacy" frame format, which is the kernel's.
    Lz4,
    Zstd,
}

impl Compression {
    /// By the first bytes; none of these if it is not compressed, or otherwise.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x02, 0x21, 0x4c, 0x18, ..] => Some(Self::Lz4),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

// ELF-64: offsets in the file's header and in that of a segment (System V ABI, chapters 4 and 5).
const SEGMENTS_AT: usize = 0x20;
const SEGMENT_SIZE: usize = 0x36;
const SEGMENT_COUNT: usize = 0x38;
const SEGMENT_OFFSET: usize = 0x08;
const SEGMENT_LENGTH: usize = 0x20;
const NOTE_SEGMENT: u32 = 4;
/// The note that has the PVH entry (Xen, public/elfnote.h: `XEN_ELFNOTE_PHYS32_ENTRY`).
const PVH_NOTE: u32 = 18;

pub(super) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Whether an ELF kernel has a PVH entry. QEMU refuses those that have not.
pub(super) fn has_pvh_entry(kernel: &[u8]) -> bool {
    segments(kernel).into_iter().flatten().any(has_pvh_note)
}

/// The contents of the note segments.
fn segments(kernel: &[u8]) -> Option<Vec<&[u8]>> {
    let start = usize::try_from(u64_at(kernel, SEGMENTS_AT)?).ok()?;
    let size = usize::from(u16_at(kernel, SEGMENT_SIZE)?);
    let count = usize::from(u16_at(kernel, SEGMENT_COUNT)?);
    let mut notes = Vec::new();
    for index in 0..count {
        let header = kernel.get(start.checked_add(index * size)?..)?;
        if u32_at(header, 0)? == NOTE_SEGMENT {
            let at = usize::try_from(u64_at(header, SEGMENT_OFFSET)?).ok()?;
            let length = usize::try_from(u64_at(header, SEGMENT_LENGTH)?).ok()?;
            notes.push(kernel.get(at..at.checked_add(length)?)?);
        }
    }
    Some(notes)
}

/// Walks notes: the sizes of name and content, the type, then both, each padded to four bytes.
fn has_pvh_note(mut notes: &[u8]) -> bool {
    while let (Some(name), Some(content), Some(kind)) = (u32_at(notes, 0), u32_at(notes, 4), u32_at(notes, 8))
    {
        let (name, content) = (name as usize, content as usize);
        if kind == PVH_NOTE && notes.get(12..12 + name) == Some(b"Xen\0") {
            return true;
        }
        let next = 12 + name.next_multiple_of(4) + content.next_multiple_of(4);
        let Some(rest) = notes.get(next..) else { return false };
        notes = rest;
    }
    false
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;
