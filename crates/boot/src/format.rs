//! Which loader an image is for.

/// The image formats there are loaders for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Bytes without a header: [`flat`](crate::flat).
    Flat,
    /// An ELF file: [`elf`](crate::elf), which also says what is wrong with one that isn't 64-bit or not
    /// x86-64.
    Elf64,
}

/// What `image` is, by its first bytes: ELF by its magic number (System V gABI, "ELF Header"), or else flat.
///
/// ```
/// use strata_boot::{Format, detect};
///
/// assert_eq!(detect(b"\x7fELF\x02\x01\x01"), Format::Elf64);
/// assert_eq!(detect(b"\xf4"), Format::Flat);
/// ```
pub fn detect(image: &[u8]) -> Format {
    if image.starts_with(&object::elf::ELFMAG) { Format::Elf64 } else { Format::Flat }
}
