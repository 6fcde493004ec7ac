//! The kernel out of a bzImage, without running it: its payload is a compressed ELF file (Linux,
//! Documentation/arch/x86/boot.rst, `payload_offset`; scripts/Makefile.lib has the compressors).

mod lz4;
mod reader;

use std::fmt;
use std::io::{self, Read, Write};

use thiserror::Error;

use super::header::{BzImage, BzImageError};
use crate::image::{Image, read_up_to};
use reader::PartReader;

/// How a kernel is compressed: `CONFIG_KERNEL_GZIP` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// LZMA, in the format of xz' predecessor.
    Lzma,
    /// xz, with its filter for x86 code.
    Xz,
    /// LZO, in the format of lzop.
    Lzo,
    /// LZ4, in its legacy frame.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    const ALL: [Self; 7] = [Self::Gzip, Self::Bzip2, Self::Lzma, Self::Xz, Self::Lzo, Self::Lz4, Self::Zstd];

    /// What the compressed bytes begin with (Linux, lib/decompress.c).
    const fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => &[0x1f, 0x8b],
            Self::Bzip2 => b"BZh",
            // No magic number: lc, lp and pb as everybody has them, and a dictionary of a multiple of 64 KiB.
            Self::Lzma => &[0x5d, 0, 0],
            Self::Xz => b"\xfd7zXZ\0",
            Self::Lzo => b"\x89LZO",
            Self::Lz4 => &[0x02, 0x21, 0x4c, 0x18],
            Self::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
        }
    }

    /// How these bytes are compressed, by the first of them.
    fn of(start: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|it| start.starts_with(it.magic()))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a kernel was not unpacked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The file cannot be read.
    #[error("the kernel cannot be read")]
    Read(#[source] io::Error),
    /// It is no bzImage.
    #[error(transparent)]
    BzImage(#[from] BzImageError),
    /// It has no payload.
    #[error("the kernel says nothing of where its compressed part lies: load it as it is")]
    NoPayload,
    /// Its payload begins like nothing known.
    #[error(
        "the kernel is compressed in an unknown way, its payload begins with {start:02x?}: load it as it is"
    )]
    Unknown {
        /// The first bytes, at most eight.
        start: Vec<u8>,
    },
    /// There is nothing here that unpacks it.
    #[error("the kernel is compressed by {compression}, which cannot be unpacked here: load it as it is")]
    Unsupported {
        /// How.
        compression: Compression,
    },
    /// It would become larger than allowed.
    #[error("the kernel unpacks to {size:#x} bytes, more than the {limit:#x} allowed: is it one?")]
    TooLarge {
        /// The size it says it has.
        size: u64,
        /// The most allowed.
        limit: u64,
    },
    /// The compressed bytes are wrong.
    #[error("the kernel's {compression} payload is damaged")]
    Damaged {
        /// How it is compressed.
        compression: Compression,
        /// What is wrong.
        source: io::Error,
    },
    /// It has another size than it says.
    #[error(
        "the kernel's payload says that it unpacks to {expected:#x} bytes, but that is not so: is it damaged?"
    )]
    WrongSize {
        /// What it says.
        expected: u64,
    },
    /// What comes out is no ELF file.
    #[error("what the kernel unpacks to is no ELF file: load it as it is")]
    NotElf,
    /// The unpacked bytes cannot be written.
    #[error("cannot write the unpacked kernel")]
    Write(#[source] io::Error),
}

/// The largest dictionary or window allowed, in KiB: kernels are made with up to 128 MiB (xz since Linux
/// 6.12, zstd).
const MAX_DICTIONARY_KIB: u32 = 160 << 10;

/// Unpacks the kernel in the bzImage `image`, writes it to `into` piece by piece, and returns its size: an
/// ELF file, for [`load`](super::load), and behind it what the kernel's own unpacker would need to relocate
/// it.
///
/// No more than `limit` bytes are written. On errors some may have been. Damage is found by the checksums of
/// gzip, bzip2 and xz; by the size and the formats' own rules only with lzma, lz4 and zstd.
///
/// # Errors
/// Each case of [`UnpackError`].
pub fn unpack<I: Image + ?Sized>(image: &I, limit: u64, into: &mut dyn Write) -> Result<u64, UnpackError> {
    let image: &dyn Image = &image;
    let (offset, len) = BzImage::read(image)?.payload;
    // All ways end with the size of what comes out: gzip by itself, the others by the kernel's makefile.
    let Some(data_len) = len.checked_sub(SIZE).filter(|_| len > 2 * SIZE) else {
        return Err(UnpackError::NoPayload);
    };
    let start = read_up_to(image, offset, 8).map_err(UnpackError::Read)?;
    let Some(compression) = Compression::of(&start) else { return Err(UnpackError::Unknown { start }) };
    let mut size = [0; 4];
    image.read_at(offset + data_len, &mut size).map_err(UnpackError::Read)?;
    let size = u64::from(u32::from_le_bytes(size));
    if size > limit {
        return Err(UnpackError::TooLarge { size, limit });
    }
    // The size is a part of gzip's trailer, which is checked there.
    let data_len = if compression == Compression::Gzip { len } else { data_len };
    let reader = PartReader::new(image, offset, data_len);
    let damaged = |source| UnpackError::Damaged { compression, source };
    let mut unpacked: Box<dyn Read + '_> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(reader)),
        Compression::Lzma => Box::new(
            lzma_rust2::LzmaReader::new_mem_limit(reader, MAX_DICTIONARY_KIB, None).map_err(damaged)?,
        ),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(reader, false, MAX_DICTIONARY_KIB)),
        Compression::Lz4 => Box::new(lz4::LegacyReader::new(reader)),
        Compression::Zstd => Box::new(
            ruzstd::decoding::StreamingDecoder::new(reader)
                .map_err(|error| damaged(io::Error::new(io::ErrorKind::InvalidData, error)))?,
        ),
        Compression::Lzo => return Err(UnpackError::Unsupported { compression }),
    };
    copy(&mut unpacked, size, into, damaged)?;
    Ok(size)
}

/// The bytes of a size.
const SIZE: u64 = size_of::<u32>() as u64;

/// Copies exactly `size` bytes, which have to be all there are.
fn copy(
    from: &mut dyn Read,
    size: u64,
    into: &mut dyn Write,
    damaged: impl Fn(io::Error) -> UnpackError,
) -> Result<(), UnpackError> {
    let mut chunk = vec![0; 64 << 10];
    let mut done = 0;
    loop {
        let count = match from.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error)),
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        if done == 0 && !bytes.starts_with(&object::elf::ELFMAG) {
            return Err(UnpackError::NotElf);
        }
        if bytes.is_empty() && done == size {
            return Ok(());
        }
        done += count as u64;
        if bytes.is_empty() || done > size {
            return Err(UnpackError::WrongSize { expected: size });
        }
        into.write_all(bytes).map_err(UnpackError::Write)?;
    }
}

#[cfg(test)]
pub(crate) use tests::packed_kernels;

#[cfg(test)]
#[path = "unpack_test.rs"]
mod tests;
