//! Which loader an image is for.

use std::fmt;
use std::io;
use std::str::FromStr;

use thiserror::Error;

use crate::elf::ElfError;
use crate::elf::header::{Accept, File, Note};
use crate::image::{Image, read_up_to};
use crate::{linux, multiboot, pvh};

/// The image formats there are loaders for. Displayed, and parsed, as `flat`, `elf64`, `linux`, `bzimage`,
/// `pvh` and `multiboot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Bytes without a header: [`flat`](crate::flat).
    Flat,
    /// An ELF file: [`elf`](crate::elf), which also says what is wrong with one that isn't 64-bit or not
    /// x86-64.
    Elf64,
    /// Linux as an ELF file, `vmlinux`: [`linux`].
    Linux,
    /// Linux as a bzImage, `vmlinuz`: [`linux`].
    BzImage,
    /// An ELF file with a PVH entry: [`pvh`].
    Pvh,
    /// A kernel with a multiboot header: [`multiboot`].
    Multiboot,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] =
        [Self::Flat, Self::Elf64, Self::Linux, Self::BzImage, Self::Pvh, Self::Multiboot];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Elf64 => "elf64",
            Self::Linux => "linux",
            Self::BzImage => "bzimage",
            Self::Pvh => "pvh",
            Self::Multiboot => "multiboot",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no image format; use flat, elf64, linux, bzimage, pvh or multiboot")]
pub struct ParseFormatError {
    /// What was given.
    pub text: String,
}

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let format = Self::ALL.into_iter().find(|format| format.name() == text);
        format.ok_or_else(|| ParseFormatError { text: text.to_owned() })
    }
}

/// What `image` is, by its headers:
///
/// 1. A setup header as Linux has it: a bzImage.
/// 2. A 64-bit ELF file with a note of Linux: that. It may have a PVH entry too, but 64-bit code is nearer to
///    where it wants to be.
/// 3. An ELF file with a PVH entry: PVH.
/// 4. A multiboot header which the loader can obey, in a 32-bit ELF file or with addresses of its own:
///    multiboot.
/// 5. The magic number of ELF (System V gABI, "ELF Header"): ELF.
/// 6. Anything else is flat.
///
/// ```
/// use strata_boot::{Format, detect};
///
/// assert_eq!(detect(b"\x7fELF\x02\x01\x01")?, Format::Elf64);
/// assert_eq!(detect(b"\xf4")?, Format::Flat);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of reading. Bytes in memory can always be read.
pub fn detect<I: Image + ?Sized>(image: &I) -> io::Result<Format> {
    let image: &dyn Image = &image;
    let start = read_up_to(image, 0, 0x400)?;
    if linux::header::is_bzimage(&start) {
        return Ok(Format::BzImage);
    }
    if !start.starts_with(&object::elf::ELFMAG) {
        let multiboot = multiboot::header::find(image)? == Some(true);
        return Ok(if multiboot { Format::Multiboot } else { Format::Flat });
    }
    let file = match File::read(image, Accept::Either) {
        Ok(file) => file,
        Err(ElfError::Read(error)) => return Err(error),
        Err(_) => return Ok(Format::Elf64), // whose loader says what is wrong
    };
    let notes = file.notes(image)?;
    let is_linux = |note: &Note| note.owner == b"Linux";
    Ok(if file.class64 && notes.iter().any(is_linux) {
        Format::Linux
    } else if notes.iter().any(pvh::is_entry) {
        Format::Pvh
    } else if multiboot::header::find(image)?.is_some_and(|addresses| addresses || !file.class64) {
        Format::Multiboot
    } else {
        Format::Elf64
    })
}

#[cfg(test)]
#[path = "format_test.rs"]
mod tests;
