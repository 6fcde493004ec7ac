//! Files mapped into RAM: what would have been copied costs nothing until it is touched.

use std::any::Any;
use std::fs::File;
use std::io;

use thiserror::Error;
use vm_memory::bitmap::Bitmap as _;
use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryRegion as _, GuestRegionMmap};

use super::{Mapping, Ram, RegionBitmap, mmap};
use crate::layout::PAGE_SIZE;

/// Why [`Ram::map_file`] failed. RAM is as it was; copying the bytes instead is always possible. Sizes are in bytes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapFileError {
    /// Nothing was to be mapped.
    #[error("no bytes are to be mapped at {at:#x}: leave such a mapping out")]
    Empty {
        /// The guest-physical address.
        at: u64,
    },
    /// Only whole pages can be mapped.
    #[error(
        "{len:#x} bytes from {offset:#x} of the file cannot be mapped at {at:#x}: all three have to be \
         multiples of 4 KiB; copy what is left over"
    )]
    Misaligned {
        /// The guest-physical address.
        at: u64,
        /// The place in the file.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// The range is not, or not wholly, in one piece of RAM.
    #[error("the {len:#x} bytes at {at:#x} do not lie in one piece of the guest's RAM")]
    OutsideRam {
        /// The guest-physical address.
        at: u64,
        /// How many.
        len: u64,
    },
    /// The RAM is shared: whoever else maps its file would not see what is mapped over it here.
    #[error(
        "the RAM at {at:#x} is shared with other processes, which would not see the mapped file: copy it"
    )]
    Shared {
        /// The guest-physical address.
        at: u64,
    },
    /// The file's length and kind could not be read.
    #[error("the length of the file to be mapped cannot be read")]
    Metadata {
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory, a FIFO, a device.
    #[error("only regular files can be mapped into RAM")]
    NotAFile,
    /// The file ends before the last page that was to be mapped begins, or its offset is beyond what a file can have.
    #[error("the file has {has:#x} bytes, and its pages up to {needs:#x} were to be mapped")]
    FileTooShort {
        /// The file's length.
        has: u64,
        /// Where the last page was to end.
        needs: u64,
    },
    /// The kernel refused.
    #[error(
        "the file cannot be mapped at {at:#x}: check that it is open for reading and that its file system can \
         map files"
    )]
    Map {
        /// The guest-physical address.
        at: u64,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Ram {
    /// Replaces the `len` bytes of RAM at `at` by those of `file` from `offset` on, without reading them: pages come from
    /// the page cache when they are first touched, are shared with everybody else who uses the file, and become this
    /// RAM's own when they are first written, by the guest or by this process. The file itself is never written.
    ///
    /// All three numbers are multiples of 4 KiB. The file's last page may be partial: what follows its end reads as zero.
    /// The descriptor may be closed afterwards. RAM must be private ([`Backing::Anonymous`](super::Backing)). With
    /// [`RamSpec::track_dirty`](super::RamSpec::track_dirty) the pages are dirty. Returns the `mmap` as it was made.
    ///
    /// Transparent huge pages need nothing done: the kernel splits the advised area around the mapping and drops the
    /// advice for it (it backs private file pages by small ones), and keeps it for the rest.
    ///
    /// # The file must keep its length and should keep its contents
    ///
    /// A page that has not been written yet still is the file's, so whoever changes the file may change it. Whoever
    /// shortens the file takes pages away, written ones too: accesses by this process are then answered by SIGBUS, which
    /// by default ends it, and those by the guest end its run with `EFAULT`. Map files that nobody else can write, or
    /// handle the signal, as `strata-vmm` does.
    ///
    /// # Errors
    /// Each case of [`MapFileError`].
    ///
    /// ```
    /// use std::fs::File;
    /// use strata_memory::RamSpec;
    /// use strata_memory::vm_memory::{Bytes, GuestAddress};
    ///
    /// let ram = RamSpec::new(1 << 20).build()?;
    /// let file = File::open("/proc/self/exe")?;
    /// ram.map_file(GuestAddress(0x10_0000 - 0x1000), &file, 0, 0x1000)?;
    /// assert_eq!(ram.memory().read_obj::<[u8; 4]>(GuestAddress(0xf_f000))?, *b"\x7fELF");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_file(
        &self,
        at: GuestAddress,
        file: &File,
        offset: u64,
        len: u64,
    ) -> Result<Mapping, MapFileError> {
        if len == 0 {
            return Err(MapFileError::Empty { at: at.0 });
        }
        if ![at.0, offset, len].iter().all(|value| value.is_multiple_of(PAGE_SIZE)) {
            return Err(MapFileError::Misaligned { at: at.0, offset, len });
        }
        let region = self.region(at);
        let into = region.map(|region| at.0 - region.start_addr().0);
        let (Some(region), Some(into)) = (region, into) else {
            return Err(MapFileError::OutsideRam { at: at.0, len });
        };
        if len > region.len() - into {
            return Err(MapFileError::OutsideRam { at: at.0, len });
        }
        if region.flags() & libc::MAP_PRIVATE == 0 {
            return Err(MapFileError::Shared { at: at.0 });
        }
        let metadata = file.metadata().map_err(|source| MapFileError::Metadata { source })?;
        if !metadata.is_file() {
            return Err(MapFileError::NotAFile);
        }
        let has = metadata.len();
        let needs = offset.saturating_add(len);
        if needs - PAGE_SIZE >= has {
            return Err(MapFileError::FileTooShort { has, needs });
        }
        let mapping = mmap::file_over(region, into, file, offset, len)
            .map_err(|source| MapFileError::Map { at: at.0, source })?;
        if let (Ok(into), Ok(len)) = (usize::try_from(into), usize::try_from(len)) {
            (**region).bitmap().mark_dirty(into, len);
        }
        Ok(mapping)
    }

    /// Keeps `value` for as long as the piece of RAM at `at` is mapped: it is dropped just before, when nobody can reach
    /// that memory any more, however long clones of the [`GuestMemory`](super::GuestMemory) have outlived this [`Ram`].
    /// For what has to be undone when the memory goes away, such as a record of its addresses.
    ///
    /// # Errors
    /// There is no RAM at `at`: the value comes back.
    pub fn keep<T: Any + Send + Sync>(&self, at: GuestAddress, value: T) -> Result<(), T> {
        match self.region(at) {
            Some(region) => {
                (**region).bitmap().keep(Box::new(value));
                Ok(())
            }
            None => Err(value),
        }
    }

    fn region(&self, at: GuestAddress) -> Option<&GuestRegionMmap<RegionBitmap>> {
        self.memory().find_region(at)
    }
}

#[cfg(test)]
#[path = "map_file_test.rs"]
mod tests;
