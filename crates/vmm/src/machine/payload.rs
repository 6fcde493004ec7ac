//! What is to run: opened, recognised and, if it is a compressed kernel, unpacked. Nothing is asked of KVM here.

use std::fs::{File, FileType};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use strata_boot::{FileImage, FileImageError, Format, Image, detect};
use strata_memory::Ram;

use super::{BuildError, foreign};
use crate::config::{BootProtocol, Config};
#[cfg(feature = "unpack")]
use crate::kernel_cache::KernelCache;
#[cfg(feature = "unpack")]
pub(super) use crate::kernel_cache::NotKept;

/// Without the feature `unpack` there is nothing to keep.
#[cfg(not(feature = "unpack"))]
pub(super) type NotKept = std::convert::Infallible;

/// An image, wherever its bytes are.
#[derive(Debug)]
pub(super) enum Source {
    /// In this process: given by the caller, or a file so small that reading it once is the least work.
    Bytes(Vec<u8>),
    /// In a file, to be mapped or read when they are needed.
    File(FileImage),
}

/// What is to run.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) format: Format,
    pub(super) image: Source,
    pub(super) initrd: Option<Source>,
    /// Why the kernel will have to be unpacked again at the next start, if so.
    pub(super) not_kept: Option<NotKept>,
}

/// An unpacked kernel, and why it was not kept, if it was to be.
type Unpacked = (Source, Option<NotKept>);

/// A file that cannot be an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is not there, or may not be read.
    #[error("cannot read the {role} {}", path.display())]
    Open {
        /// What it was to be: `image` or `initrd`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a FIFO, a socket or a device.
    #[error("the {role} {} is {found}, not a regular file: name the file itself", path.display())]
    NotRegular {
        /// What it was to be: `image` or `initrd`.
        role: &'static str,
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
}

/// Files up to this size are read at once.
const SMALL: u64 = 64 << 10;

impl Source {
    /// Opens a regular file: a FIFO would block, a device might never end.
    fn open(path: &Path, role: &'static str) -> Result<Self, FileError> {
        let failed = |source| FileError::Open { role, path: path.to_owned(), source };
        // Opened first and looked at then, so that it is the same file; without blocking, should it be a FIFO, and without
        // becoming the one that Ctrl-C is typed at, should it be a terminal.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        let file = FileImage::new(file).map_err(|error| match error {
            FileImageError::Metadata(source) => failed(source),
            _ => FileError::NotRegular { role, path: path.to_owned(), found: kind_of_file(kind) },
        })?;
        if file.len() > SMALL {
            return Ok(Self::File(file));
        }
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or_default()];
        if !bytes.is_empty() {
            file.read_at(0, &mut bytes).map_err(failed)?;
        }
        Ok(Self::Bytes(bytes))
    }

    fn image(&self) -> &dyn Image {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::File(file) => file,
        }
    }

    /// The file, for an image that is one.
    pub(super) fn file(&self) -> Option<&File> {
        match self {
            Self::Bytes(_) => None,
            Self::File(file) => Some(file.file()),
        }
    }
}

impl Image for Source {
    fn len(&self) -> u64 {
        self.image().len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.image().read_at(offset, into)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.image().as_slice()
    }

    fn map(&self, offset: u64, len: u64, at: u64) -> io::Result<Range<u64>> {
        self.image().map(offset, len, at)
    }
}

/// What a path leads to that is no regular file.
fn kind_of_file(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

impl Payload {
    /// Opens the image that `config` names, or takes `given`, and recognises it. Whether the rest of the configuration fits
    /// such an image can then be checked before [`complete`](Self::complete) does any work.
    pub(super) fn open(config: &Config, given: Option<Vec<u8>>) -> Result<Self, BuildError> {
        let image = match given {
            Some(bytes) => Source::Bytes(bytes),
            None if config.image.as_os_str().is_empty() => return Err(BuildError::NoImage),
            None => Source::open(&config.image, "image").map_err(BuildError::Image)?,
        };
        if image.is_empty() {
            return Err(BuildError::Empty);
        }
        let format = match config.format {
            Some(format) if format != Format::Linux => format,
            asked => match detect(&image).map_err(BuildError::Detect)? {
                // "Linux" means either of its files.
                Format::BzImage => Format::BzImage,
                Format::Flat if asked.is_none() => {
                    foreign::refuse(&image)?;
                    Format::Flat
                }
                found => asked.unwrap_or(found),
            },
        };
        Ok(Self { format, image, initrd: None, not_kept: None })
    }

    /// Whether it is Linux, by whichever protocol it is started: one with a PVH entry may have been asked for by that.
    pub(super) fn is_linux(&self) -> Result<bool, BuildError> {
        Ok(match self.format {
            Format::Linux | Format::BzImage => true,
            Format::Pvh => detect(&self.image).map_err(BuildError::Detect)? == Format::Linux,
            _ => false,
        })
    }

    /// Opens the initrd and unpacks the kernel, if `config` says so.
    pub(super) fn complete(self, config: &Config, ram: &Ram) -> Result<Self, BuildError> {
        let Self { format, image, .. } = self;
        let initrd = config.initrd.as_deref().map(|path| Source::open(path, "initrd"));
        let initrd = initrd.transpose().map_err(BuildError::Initrd)?;
        if format == Format::BzImage
            && config.boot_protocol.unwrap_or_default() == BootProtocol::Unpacked
            && let Some((image, not_kept)) = unpack(&image, ram.size())?
        {
            return Ok(Self { format: Format::Linux, image, initrd, not_kept });
        }
        Ok(Self { format, image, initrd, not_kept: None })
    }
}

/// The kernel out of a bzImage, for a guest with `ram` bytes of RAM; `None` if it can only unpack itself.
#[cfg(feature = "unpack")]
fn unpack(image: &Source, ram: u64) -> Result<Option<Unpacked>, BuildError> {
    unpack_by(&KernelCache::of_user(), image, ram)
}

/// The same, with this cache for what comes from a file.
#[cfg(feature = "unpack")]
fn unpack_by(cache: &KernelCache, image: &Source, ram: u64) -> Result<Option<Unpacked>, BuildError> {
    use crate::kernel_cache::{CacheError, Origin};
    use strata_boot::linux::{LinuxError, UnpackError, unpack};

    /// More than any kernel has, unpacked.
    const MAX: u64 = 1 << 30;

    // What fills the guest's RAM and more cannot be loaded into it: no file makes the host unpack that.
    let limit = ram.min(MAX);
    let too_large = |size| match size {
        ..=MAX => BuildError::KernelLargerThanRam { size, ram },
        _ => BuildError::Unpack(UnpackError::TooLarge { size, limit: MAX }),
    };
    // Nor does one make it read what is larger than that to begin with.
    if image.len() > limit {
        return Err(too_large(image.len()));
    }
    let unpacked = match image {
        Source::Bytes(bytes) => {
            let mut unpacked = Vec::new();
            unpack(bytes, limit, &mut unpacked).map(|_| (Source::Bytes(unpacked), None))
        }
        Source::File(file) => {
            let unpacked = cache.get(file.file(), |packed, into| {
                let packed = packed.try_clone().map_err(UnpackError::Read)?;
                let packed =
                    FileImage::new(packed).map_err(|error| UnpackError::Read(io::Error::other(error)))?;
                unpack(&packed, limit, into).map(drop)
            });
            match unpacked {
                Ok(unpacked) => {
                    let file = FileImage::new(unpacked.file)
                        .map_err(|error| BuildError::Detect(io::Error::other(error)))?;
                    let not_kept = match unpacked.origin {
                        Origin::NotKept(why) => Some(why),
                        Origin::Known | Origin::SameContent | Origin::Unpacked => None,
                    };
                    Ok((Source::File(file), not_kept))
                }
                Err(CacheError::Unpack(error)) => Err(error),
                Err(error) => return Err(BuildError::Cache(error)),
            }
        }
    };
    match unpacked {
        Ok(unpacked) => Ok(Some(unpacked)),
        Err(
            UnpackError::NoPayload
            | UnpackError::Unknown { .. }
            | UnpackError::Unsupported { .. }
            | UnpackError::NotElf,
        ) => Ok(None),
        // Unpacking itself would help none of these.
        Err(UnpackError::BzImage(error)) => Err(BuildError::Linux(LinuxError::BzImage(error))),
        Err(UnpackError::TooLarge { size, .. }) => Err(too_large(size)),
        Err(error) => Err(BuildError::Unpack(error)),
    }
}

/// Without the feature `unpack` every kernel unpacks itself.
#[cfg(not(feature = "unpack"))]
#[allow(clippy::unnecessary_wraps, reason = "the same signature as with the feature")]
fn unpack(_: &Source, _: u64) -> Result<Option<Unpacked>, BuildError> {
    Ok(None)
}

#[cfg(test)]
#[path = "payload_test.rs"]
mod tests;
