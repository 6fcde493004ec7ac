//! Unpacked kernels, kept by content, so that each is unpacked once.
//!
//! A `vmlinuz` holds its kernel compressed. Unpacked on the host, the guest needs no decompressor; kept as a file, the next
//! guest needs no unpacking either, and maps the pages that the guest before has left in the host's page cache
//! ([`map_file`](crate::file_fault::map_file)): the file is the plain vmlinux.
//!
//! # What is in the folder
//!
//! `$XDG_CACHE_HOME/strata/kernels`, or `~/.cache/strata/kernels`:
//!
//! | name | what it is |
//! | --- | --- |
//! | `v1-HASH` | an unpacked kernel, `HASH` being the SHA-256 of the packed one; mode 0444 |
//! | `v1-DEV-INODE-SIZE-MTIME-CTIME` | a symbolic link to it, named by what `fstat(2)` says of a packed file |
//! | `tmp-PROCESS-NUMBER` | one that is being written |
//!
//! So a start with a known kernel takes a handful of system calls (the folder's `stat`, the link's `open` and `fstat`, whose
//! they are, and a note of the time for the next clean-up) and reads nothing of the packed file. A file with the same content
//! under another name, or a fresh copy, is recognised by its hash.
//!
//! # Why what is found can be relied on
//!
//! * The folder belongs to this user, and nobody else may write in it; else it isn't used.
//! * A kernel appears by `rename(2)`, after `fsync(2)`: also after a power cut it is whole or absent.
//! * It carries a mark: its time of modification is as many seconds after 1970 as it has bytes. Whoever writes to it or cuts
//!   it off changes one of the two; then it is made anew.
//! * What is hashed and what is unpacked is one private copy, so that a packed file which changes meanwhile cannot end up
//!   under another one's hash. A link is made only if the file was the same before and after, and had rested for longer
//!   than its file system's clock takes to tick: no later change can leave all these numbers as they were.
//! * There are no locks. Two processes that unpack the same kernel both rename theirs into place; the last one stays, and
//!   the other is a nameless file for as long as its guest runs. The same holds for one that is cleaned up.
//!
//! The folder keeps the eight kernels that were used last, and no more than 1 GiB of them.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::{Digest as _, Sha256};

mod folder;

use folder::{Folder, Limits};

/// A place for unpacked kernels. Making one touches nothing; the folder is created when there is something to keep.
#[derive(Debug, Clone)]
pub struct KernelCache {
    folder: Option<PathBuf>,
    rest: Rest,
    limits: Limits,
}

/// How long a file must not have changed before `fstat(2)` identifies its content.
#[derive(Debug, Clone, Copy)]
struct Rest {
    /// On file systems that note fractions of a second: they do so by the kernel's tick, 10 ms at most.
    fine: Duration,
    /// On those that note seconds, or even seconds.
    coarse: Duration,
}

/// An unpacked kernel.
#[derive(Debug)]
pub struct Unpacked {
    /// The vmlinux, to be read from its start by offset. Nobody writes to it; in memory it is sealed.
    pub file: File,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where an unpacked kernel comes from.
#[derive(Debug)]
pub enum Origin {
    /// The packed file is known: nothing of it has been read.
    Known,
    /// The packed file has been read, and its content was known.
    SameContent,
    /// It has been unpacked and kept.
    Unpacked,
    /// It has been unpacked into memory, and the next start will have to unpack it again.
    NotKept(NotKept),
}

/// Why an unpacked kernel was not kept. The guest starts all the same, only later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// No folder was named, and neither `XDG_CACHE_HOME` nor `HOME` is an absolute path.
    #[error("there is no folder for unpacked kernels: set HOME or XDG_CACHE_HOME")]
    NoFolder,
    /// The name is somebody's file.
    #[error("{} is not a folder, so unpacked kernels are not kept: move it away", path.display())]
    NotAFolder {
        /// Where the kernels were to go.
        path: PathBuf,
    },
    /// Others could put a kernel of theirs there.
    #[error(
        "{} belongs to another user or can be written by others, so unpacked kernels are not kept there: \
         make it yours, mode 0700",
        path.display()
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be made, looked at or written: read-only, full, or without permission.
    #[error("the unpacked kernel cannot be kept in {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

/// Why there is no unpacked kernel. None of it is the cache's: see [`NotKept`] for that.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError<E: Error + 'static> {
    /// A directory, a FIFO or a device.
    #[error("the kernel is not a regular file")]
    NotAFile,
    /// The packed kernel cannot be read.
    #[error("cannot read the kernel")]
    Read(#[source] io::Error),
    /// The host gives no memory to unpack it into.
    #[error("no memory file can be made to unpack the kernel into")]
    Memory(#[source] io::Error),
    /// Unpacking failed.
    #[error(transparent)]
    Unpack(E),
}

impl KernelCache {
    /// The user's: `$XDG_CACHE_HOME/strata/kernels`, else `$HOME/.cache/strata/kernels` (XDG Base Directory Specification,
    /// which says that a relative path there does not count). Without either, as [`none`](Self::none).
    pub fn of_user() -> Self {
        Self::new(user_folder(|name| env::var_os(name).map(PathBuf::from)))
    }

    /// In this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self::new(Some(folder.into()))
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self::new(None)
    }

    fn new(folder: Option<PathBuf>) -> Self {
        let rest = Rest { fine: Duration::from_millis(100), coarse: Duration::from_secs(3) };
        Self { folder, rest, limits: Limits::default() }
    }

    /// Where the kernels are, if anywhere.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The unpacked form of `kernel`, which is open for reading; its position is neither used nor moved.
    ///
    /// Unless it is known, `unpack` makes it: from its first argument, which is `kernel` or a copy of it in memory and has to
    /// be read by offset, into the second, an empty file in memory. It runs once at most.
    ///
    /// # Errors
    ///
    /// [`CacheError`]. That the result cannot be kept is not one: [`Origin::NotKept`] says so.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io::{self, Write};
    /// use std::os::unix::fs::FileExt;
    /// use strata_vmm::kernel_cache::KernelCache;
    ///
    /// let kernel = File::open("/proc/self/exe")?;
    /// let unpacked = KernelCache::none().get(&kernel, |packed: &File, into: &mut File| {
    ///     let mut magic = [0; 4];
    ///     packed.read_exact_at(&mut magic, 0)?;
    ///     into.write_all(&magic) // an unpacker worth the name does more
    /// })?;
    /// assert_eq!(unpacked.file.metadata()?.len(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<E: Error + 'static>(
        &self,
        kernel: &File,
        unpack: impl FnOnce(&File, &mut File) -> Result<(), E>,
    ) -> Result<Unpacked, CacheError<E>> {
        let known = Identity::of(kernel).map_err(CacheError::Read)?.ok_or(CacheError::NotAFile)?;
        let found = match &self.folder {
            None => Err(NotKept::NoFolder),
            Some(path) => Folder::existing(path).map(|folder| (folder, path)),
        };
        if let Ok((Some(folder), _)) = &found
            && let Some(file) = folder.find(&known.name())
        {
            return Ok(Unpacked { file, origin: Origin::Known });
        }
        let (folder, path) = match found {
            Ok(found) => found,
            Err(why) => {
                let file = unpacked(kernel, unpack)?;
                return Ok(Unpacked { file, origin: Origin::NotKept(why) });
            }
        };

        let began = SystemTime::now();
        let (copy, hash) = snapshot(kernel, known.size)?;
        let name = format!("v1-{hash}");
        let (folder, file, origin) = if let Some(folder) = &folder
            && let Some(file) = folder.find(&name)
        {
            (*folder, file, Origin::SameContent)
        } else {
            let file = unpacked(&copy, unpack)?;
            // Not before there is something to keep.
            let folder = folder.map_or_else(|| Folder::create(path), Ok);
            match folder.and_then(|folder| Ok((folder, folder.keep(&name, &file)?))) {
                Ok((folder, kept)) => (folder, kept, Origin::Unpacked),
                Err(why) => return Ok(Unpacked { file, origin: Origin::NotKept(why) }),
            }
        };
        if known.has_rested(began, self.rest) && matches!(Identity::of(kernel), Ok(Some(now)) if now == known)
        {
            // Without its link it will be found by content: slower, and as good.
            let _ = folder.link(&known.name(), &name);
        }
        folder.clean_up(&name, self.limits);
        Ok(Unpacked { file, origin })
    }
}

/// `variable` gives an environment variable.
fn user_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    caches.map(|caches| caches.join("strata/kernels"))
}

/// What identifies a file's content without reading it. Times are seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    dev: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// `None` for anything but a regular file.
    fn of(file: &File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }))
    }

    fn name(&self) -> String {
        let Self { dev, inode, size, modified, changed } = self;
        format!("v1-{dev:x}-{inode}-{size}-{}.{:09}-{}.{:09}", modified.0, modified.1, changed.0, changed.1)
    }

    /// Whether the file had been left alone for a while at `moment`. The time of change is the kernel's; no program sets it.
    fn has_rested(&self, moment: SystemTime, rest: Rest) -> bool {
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1)) else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let rest = if nanos == 0 { rest.coarse } else { rest.fine };
        moment.duration_since(changed).is_ok_and(|age| age >= rest)
    }
}

/// A copy in memory of a file's first `size` bytes, and their hash in hexadecimal digits.
fn snapshot<E: Error>(file: &File, size: u64) -> Result<(File, String), CacheError<E>> {
    let mut copy = memory_file().map_err(CacheError::Memory)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while at < size {
        let read = match file.read_at(&mut buffer, at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CacheError::Read(error)),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        hash.update(bytes);
        copy.write_all(bytes).map_err(CacheError::Memory)?;
        at += read as u64;
    }
    let mut digits = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(digits, "{byte:02x}"); // into a String, which never fails
    }
    Ok((copy, digits))
}

/// What `unpack` makes of `kernel`, in memory, and unchangeable.
fn unpacked<E: Error>(
    kernel: &File,
    unpack: impl FnOnce(&File, &mut File) -> Result<(), E>,
) -> Result<File, CacheError<E>> {
    let mut file = memory_file().map_err(CacheError::Memory)?;
    unpack(kernel, &mut file).map_err(CacheError::Unpack)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).map_err(|errno| CacheError::Memory(errno.into()))?;
    Ok(file)
}

fn memory_file() -> io::Result<File> {
    Ok(memfd_create("vmlinux", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

#[cfg(test)]
#[path = "kernel_cache_test.rs"]
mod tests;
