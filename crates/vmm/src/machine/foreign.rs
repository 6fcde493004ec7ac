//! Files that are something else. Whatever is not recognised is a flat image, and would run: rubbish, from its first byte.

use std::io;

use strata_boot::Image;

use super::BuildError;

/// What a file begins with, what it is then, and what to do about it.
type Kind = (u64, &'static [u8], &'static str, &'static str);

/// The more particular come first.
const KINDS: &[Kind] = &[
    // Linux, Documentation/arch/arm64/booting.rst and arch/riscv/boot-image-header.rst.
    (0x38, b"ARM\x64", "a Linux kernel for arm64", "build it for x86-64"),
    (0x38, b"RSC\x05", "a Linux kernel for RISC-V", "build it for x86-64"),
    // Every bzImage with an EFI stub begins so, and its setup header follows at 0x1f1.
    (0, b"MZ", "an EFI or Windows program, or a kernel cut off in its header", "name a whole kernel"),
    (0, b"\x1f\x8b\x08", "compressed by gzip", "unpack it first (gunzip)"),
    (0, b"BZh", "compressed by bzip2", "unpack it first (bunzip2)"),
    (0, b"\xfd7zXZ\0", "compressed by xz", "unpack it first (unxz)"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first (unzstd)"),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4", "unpack it first (unlz4)"),
    (0, b"\x02\x21\x4c\x18", "compressed by lz4", "unpack it first (unlz4)"),
    (0, b"070701", "a cpio archive, as an initrd is", "name the kernel, and this one as its initrd"),
    (0, b"\x27\x05\x19\x56", "an image for U-Boot", "name the kernel in it"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree, or an image for U-Boot", "name the kernel in it"),
    (0, b"!<arch>\n", "an archive (a library or a .deb package)", "name the kernel in it"),
    (0, b"QFI\xfb", "a disk image of QEMU's", "name a kernel"),
    (0, b"#!", "a script", "name what is to run in the guest"),
];

/// Refuses an image that would be taken for a flat one, but is known to be something else.
pub(super) fn refuse(image: &dyn Image) -> Result<(), BuildError> {
    for &(offset, magic, is, advice) in KINDS {
        if begins(image, offset, magic).map_err(BuildError::Detect)? {
            return Err(BuildError::Foreign { is, advice });
        }
    }
    if is_text(image).map_err(BuildError::Detect)? {
        return Err(BuildError::Foreign { is: "a text file", advice: "name what is to run in the guest" });
    }
    Ok(())
}

/// Whether the image begins as a text: 512 bytes of code without a zero, a small number or a byte beyond ASCII would be
/// a feat.
fn is_text(image: &dyn Image) -> io::Result<bool> {
    const LOOKED_AT: usize = 512;
    let mut start = [0; LOOKED_AT];
    let len = usize::try_from(image.len()).unwrap_or(LOOKED_AT).min(LOOKED_AT);
    let Some(start) = start.get_mut(..len).filter(|start| !start.is_empty()) else { return Ok(false) };
    image.read_at(0, start)?;
    Ok(start.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')))
}

fn begins(image: &dyn Image, offset: u64, magic: &[u8]) -> io::Result<bool> {
    // No more than eight bytes each.
    let mut found = [0; 8];
    let Some(found) = found.get_mut(..magic.len()) else { return Ok(false) };
    if image.len() < offset.saturating_add(magic.len() as u64) {
        return Ok(false);
    }
    image.read_at(offset, found)?;
    Ok(found == magic)
}

#[cfg(test)]
#[path = "foreign_test.rs"]
mod tests;
