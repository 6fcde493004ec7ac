//! A disk's file, opened and looked at.

#![allow(
    unsafe_code,
    reason = "locks a file for this open file description, for which there is no safe call"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use strata_devices::virtio::block::Properties;

use super::FileDisk;
use super::bounce::Aligned;
use super::lock::LockedFile;

/// When what a guest has written is safe from a loss of the host's power. From a loss of the VMM it always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cache {
    /// When a flush that the guest asks for after the write has completed, as with a disk that has a cache. Guests flush
    /// where their file systems need it.
    #[default]
    Writeback,
    /// When the write has completed.
    Writethrough,
    /// Nobody knows: flushes do nothing. For disks that are thrown away.
    Unsafe,
}

/// Who reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// `io_uring` if the host has it, otherwise threads.
    #[default]
    Auto,
    /// `io_uring` (Linux 5.6).
    IoUring,
    /// A few threads for each queue.
    Threads,
}

/// How a disk is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageOptions {
    /// The guest cannot write; others may read it at the same time.
    pub read_only: bool,
    /// What flushes do.
    pub cache: Cache,
    /// Past the host's page cache (`O_DIRECT`).
    pub direct: bool,
    /// Who reads and writes.
    pub engine: EngineChoice,
}

/// Why a file is no disk for a guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be opened.
    #[error("cannot open the disk {}{}", path.display(), hint(source.kind(), *read_only))]
    Open {
        /// The file.
        path: PathBuf,
        /// Whether it was to be read only.
        read_only: bool,
        /// What `open(2)` answered.
        source: io::Error,
    },
    /// It cannot be opened without the page cache.
    #[error("{} cannot be opened with O_DIRECT: its file system has none; leave `direct` out", path.display())]
    NoDirect {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, a character device, a pipe or a socket.
    #[error("{} is no disk: it is {what}; give a raw image or a block device", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is neither a multiple of the block size nor above 0.
    #[error(
        "{} is {len} bytes long, which is no disk: it has to be a multiple of {block_size} bytes and not empty; \
         `truncate -s SIZE` changes that of a raw image",
        path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        len: u64,
        /// Its blocks' size in bytes.
        block_size: u32,
    },
    /// Somebody else has it.
    #[error(
        "{} is in use by another virtual machine, or by this one a second time{}; give each its own copy",
        path.display(),
        if *read_only { ", which can write to it" } else { ": only disks that all open read-only can be shared" }
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// Whether it was to be read only.
        read_only: bool,
    },
    /// Something could not be found out about it.
    #[error("cannot find out about the disk {}", path.display())]
    Inspect {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

fn hint(error: io::ErrorKind, read_only: bool) -> &'static str {
    match error {
        io::ErrorKind::NotFound => " (`truncate -s 10G FILE` would make an empty one)",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !read_only => {
            " for writing; open it read-only, or let this user write to it"
        }
        io::ErrorKind::PermissionDenied => ": let this user read it",
        _ => "",
    }
}

/// A raw file or a block device of the host that is open and locked. Any number of [`FileDisk`]s use it, and keep it so.
///
/// The lock is one on the open file description (`fcntl(2)`, `F_OFD_SETLK`): it goes with the last user, even if the
/// process is killed; somebody who has it is waited for half a second, for the kernel may still be at what such a process had in flight. Others who do so too are kept away: other VMMs of this kind, and QEMU.
#[derive(Debug)]
pub struct Image {
    pub(super) file: Arc<LockedFile>,
    pub(super) cache: Cache,
    pub(super) is_direct: bool,
    pub(super) engine: EngineChoice,
    properties: Properties,
}

impl Image {
    /// Opens a disk.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>, options: &ImageOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let file = open(path, *options)?;
        let inspect = |source| OpenError::Inspect { path: path.into(), source };
        let metadata = file.metadata().map_err(inspect)?;
        let kind = metadata.file_type();
        let what = match () {
            () if kind.is_file() || kind.is_block_device() => None,
            () if kind.is_dir() => Some("a directory"),
            () if kind.is_char_device() => Some("a character device"),
            () => Some("a pipe or a socket"),
        };
        if let Some(what) = what {
            return Err(OpenError::Kind { path: path.into(), what });
        }
        let Some(file) = LockedFile::new(file, options.read_only) else {
            return Err(OpenError::Locked { path: path.into(), read_only: options.read_only });
        };
        let (block_size, physical) = if kind.is_block_device() {
            let block_size = rustix::fs::ioctl_blksszget(&*file).map_err(|error| inspect(error.into()))?;
            (block_size, rustix::fs::ioctl_blkpbszget(&*file).unwrap_or(block_size))
        } else {
            let block_size = if options.direct { direct_block_size(&file) } else { 512 };
            (block_size, u32::try_from(metadata.blksize()).unwrap_or(block_size).min(4096))
        };
        // That of a block device is not in its metadata.
        let len = (&*file).seek(SeekFrom::End(0)).map_err(inspect)?;
        if len == 0 || !len.is_multiple_of(block_size.into()) {
            return Err(OpenError::Size { path: path.into(), len, block_size });
        }
        let physical = if physical.is_power_of_two() { physical.max(block_size) } else { block_size };
        let properties = Properties {
            len,
            read_only: options.read_only,
            block_size,
            physical_block_size: physical,
            has_cache: options.cache != Cache::Writethrough,
            discard_granularity: Some(physical),
            writes_zeros: true,
        };
        Ok(Self {
            file: Arc::new(file),
            cache: options.cache,
            is_direct: options.direct,
            engine: options.engine,
            properties,
        })
    }

    /// What it is like.
    pub fn properties(&self) -> Properties {
        self.properties
    }

    /// A way to it for each of so many queues.
    ///
    /// # Errors
    ///
    /// What `io_uring_setup(2)`, `eventfd(2)` or `clone(2)` answered: the process has no more descriptors or may have no
    /// more threads, or the chosen engine is not to be had.
    pub fn disks<G: 'static>(&self, count: usize) -> io::Result<Vec<FileDisk<G>>> {
        (0..count).map(|_| FileDisk::new(self)).collect()
    }
}

fn open(path: &Path, options: ImageOptions) -> Result<File, OpenError> {
    let flags = if options.direct { libc::O_DIRECT } else { 0 };
    let mut how = OpenOptions::new();
    // A pipe without another end is not waited for.
    how.read(true).write(!options.read_only).custom_flags(flags | libc::O_NONBLOCK);
    let file = how.open(path).map_err(|source| {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::EISDIR) => OpenError::Kind { path, what: "a directory" },
            Some(libc::ENXIO) => OpenError::Kind { path, what: "a pipe or a socket" },
            Some(libc::EINVAL) if options.direct => OpenError::NoDirect { path },
            _ => OpenError::Open { path, read_only: options.read_only, source },
        }
    })?;
    // From here on it says how calls end that would have to wait for the disk.
    let blocking = rustix::fs::fcntl_getfl(&file)
        .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags.difference(OFlags::NONBLOCK)));
    blocking.map_err(|error| OpenError::Inspect { path: path.to_owned(), source: error.into() })?;
    Ok(file)
}

/// What a file that is open with `O_DIRECT` has to be read in multiples of.
fn direct_block_size(file: &File) -> u32 {
    let mut buffer = Aligned::new(512);
    if file.read_at(buffer.bytes(), 0).is_ok() { 512 } else { 4096 }
}
