//! Files mapped into guest RAM, and what happens when somebody shortens or changes one under a running guest.
//!
//! [`map_file`] maps a part of a file, private and copy-on-write, in place of some pages of RAM. Until a page is written
//! it is still the file's. Nothing on Linux keeps a file as it is while it is mapped, so both of these can happen:
//!
//! | somebody .. | the guest | this process (loader, devices) |
//! | --- | --- | --- |
//! | writes into the file | may see it, in pages that neither has written | the same |
//! | shortens the file: an access to a page beyond the new end | ends the run: `KVM_RUN` fails with `EFAULT`, or is a memory fault; a typed [`Stop`](crate::Stop) | reads zeroes; what it writes stays |
//! | shortens the file: a system call that is to fill or send such a page | - | the call fails with `EFAULT`, an ordinary error |
//! | has a file system that cannot read the page (a bad disk, a server that is gone) | as shortened | as shortened |
//!
//! The VMM goes on in every case. [`FileMapping::state`] tells afterwards whether the file is to blame.
//!
//! Shortening takes away pages that have been written, too: `truncate(2)` removes them from private mappings. So a guest
//! whose kernel is cut off cannot be saved, only ended decently. `docs/adr/0005-a-mapped-file-that-shrinks.md` says what
//! else was weighed.
//!
//! # A library that installs a signal handler
//!
//! The kernel's answer to this process's own accesses is `SIGBUS`, which ends the process unless it is handled. The first
//! [`map_file`] of a process installs a handler, and it stays. A program that uses this crate should know:
//!
//! * The handler acts on a bus error (`BUS_ADRERR`) at an address that [`map_file`] has mapped, and only there: it puts a
//!   page of zeroes in the place of the one that is missing, and counts it. The table of these addresses is part of the
//!   process, of fixed size, and read without locks.
//! * Every other `SIGBUS` goes to whoever handled it before, as if the kernel had called him; if nobody did, the process
//!   ends by `SIGBUS`, as it would have. Rust's own handler, which recognises stack overflows, is one of these.
//! * It runs on the alternative stack if the thread has one, with the mask of the handler before it, leaves `errno` alone,
//!   allocates nothing and takes no lock: it makes one `mmap` system call.
//! * A program that installs its own `SIGBUS` handler later has to pass on to this one what is not its own, or files that
//!   shrink will end it. One that installed it earlier need do nothing.
//! * An address leaves the table just before its memory is unmapped ([`Ram::keep`]), so the handler never touches an
//!   address that has become something else.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use strata_memory::vm_memory::GuestAddress;
use strata_memory::{MapFileError, Mapping, Ram};

mod handler;
mod table;

use crate::config::ByteSize;
use table::{Place, TABLE};

/// Why [`map_file`] failed. RAM is as it was, and the bytes can be copied instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// This part of the file cannot be mapped there.
    #[error(transparent)]
    Map(#[from] MapFileError),
    /// As many mappings are watched as the process has room for.
    #[error("{limit} mapped parts of files are in this process's guests: copy this one")]
    TooMany {
        /// How many there may be at a time.
        limit: usize,
    },
    /// No mapping that long can be watched.
    #[error("{} is too much for one mapping: map less than 4 GiB at a time", ByteSize(*len))]
    TooLong {
        /// How many bytes.
        len: u64,
    },
    /// The handler for `SIGBUS` could not be installed.
    #[error("cannot handle SIGBUS, so a file that shrinks would end this process: copy the file")]
    Handler {
        /// What the kernel said.
        source: io::Error,
    },
    /// The process has no file descriptor left, or the file cannot be asked for its length.
    #[error("cannot keep an eye on the mapped file")]
    File {
        /// What the kernel said.
        source: io::Error,
    },
}

/// What has become of a mapped file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileState {
    /// Nobody has touched it.
    Intact,
    /// It has been written, or its length has changed: the guest may have seen old and new bytes side by side.
    Changed,
    /// Pages that were mapped are missing, or were when this process wanted them: the guest lost part of its memory.
    Shrunk,
}

/// A part of a file that is mapped in a guest's RAM. Dropping this leaves the mapping in place, and it stays watched for
/// as long as that RAM lives; it is only a means to ask about it.
#[derive(Debug)]
pub struct FileMapping {
    mapping: Mapping,
    file: File,
    then: Stamp,
    place: Arc<Place>,
}

/// What tells whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { len: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

/// Takes the addresses out of the table; owned by the RAM they are in.
struct Watch(Arc<Place>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.unwatch();
    }
}

/// Maps `len` bytes of `file` from `offset` on in place of the RAM at `at`, as [`Ram::map_file`] does, so that the file may
/// shrink without ending this process. The first call installs a signal handler: see the [module](self).
///
/// To be called before anything else can reach that part of RAM.
///
/// # Errors
///
/// [`MapError`]: copy the bytes instead.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use strata_vmm::file_fault::{FileState, map_file};
/// use strata_vmm::memory::RamSpec;
/// use strata_vmm::vm_memory::GuestAddress;
///
/// let ram = RamSpec::new(1 << 20).build()?;
/// let kernel = File::open("/proc/self/exe")?;
/// let mapped = map_file(&ram, GuestAddress(0x1000), &kernel, 0, 0x2000)?;
/// assert_eq!(mapped.state(), FileState::Intact);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn map_file(
    ram: &Ram,
    at: GuestAddress,
    file: &File,
    offset: u64,
    len: u64,
) -> Result<FileMapping, MapError> {
    if !table::fits(len) {
        return Err(MapError::TooLong { len });
    }
    handler::install().map_err(|source| MapError::Handler { source })?;
    // Everything that may fail comes before the mapping, which then needs no undoing. The file's stamp does, too: what
    // changes from here on is seen.
    let kept = file.try_clone().map_err(|source| MapError::File { source })?;
    let then = Stamp::of(file).map_err(|source| MapError::File { source })?;
    let place = TABLE.take().ok_or(MapError::TooMany { limit: table::PLACES })?;
    let place = Arc::new(place);
    let mapping = ram.map_file(at, file, offset, len)?;
    place.watch(mapping.result, len);
    if let Err(watch) = ram.keep(at, Watch(Arc::clone(&place))) {
        // `map_file` found RAM at `at`, so `keep` does. Were it not so, watching for ever would still be the safe side.
        std::mem::forget(watch);
    }
    Ok(FileMapping { mapping, file: kept, then, place })
}

impl FileMapping {
    /// The `mmap` as it was made.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// How many missing pages this process has wanted and been given zeroes for. A page that two threads want at the same
    /// moment may count twice. The guest's accesses are not among them.
    pub fn missing_pages(&self) -> u64 {
        self.place.faults()
    }

    /// What has become of the file, as far as its length and its time of modification tell.
    pub fn state(&self) -> FileState {
        let end = self.mapping.offset.saturating_add(self.mapping.len).min(self.then.len);
        match Stamp::of(&self.file) {
            _ if self.missing_pages() > 0 => FileState::Shrunk,
            Ok(now) if now.len < end => FileState::Shrunk,
            Ok(now) if now == self.then => FileState::Intact,
            // A file that cannot even be asked is not what it was.
            Ok(_) | Err(_) => FileState::Changed,
        }
    }
}

#[cfg(test)]
#[path = "file_fault_test.rs"]
mod tests;
