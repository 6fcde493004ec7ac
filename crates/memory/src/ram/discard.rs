//! Giving memory back to the host while the guest runs.

use std::io;

use thiserror::Error;
use vm_memory::bitmap::Bitmap as _;
use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryRegion as _};

use super::{Ram, mmap};
use crate::layout::PAGE_SIZE;

/// Why [`Ram::discard`] failed. Sizes are in bytes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscardError {
    /// Only whole pages can be discarded.
    #[error("{len:#x} bytes at {at:#x} cannot be discarded: both have to be multiples of 4 KiB")]
    Misaligned {
        /// The guest-physical address.
        at: u64,
        /// How many.
        len: u64,
    },
    /// A part of the range is no RAM. Nothing was discarded.
    #[error("the {len:#x} bytes at {at:#x} are not all RAM of the guest's")]
    OutsideRam {
        /// The guest-physical address.
        at: u64,
        /// How many.
        len: u64,
    },
    /// A part of the range is memory that the guest may only read. Nothing was discarded.
    #[error("of the {len:#x} bytes at {at:#x} the guest may only read some, so it cannot give them up")]
    ReadOnly {
        /// The guest-physical address.
        at: u64,
        /// How many.
        len: u64,
    },
    /// The kernel refused: what comes before this address has been discarded.
    #[error(
        "the memory at {at:#x} cannot be given back: if a file backs the RAM, its file system has to be able to \
         punch holes"
    )]
    Refused {
        /// The guest-physical address.
        at: u64,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Ram {
    /// Gives the host back what backs the `len` bytes of RAM at `at`, which the guest no longer needs: a balloon's
    /// pages, or those that a guest reports as free. The RAM stays, and gets pages again when it is next touched. Both
    /// numbers are multiples of 4 KiB; the range may reach over several pieces. May be called at any time, while the
    /// guest runs too.
    ///
    /// # What is in it afterwards
    ///
    /// Zeros, or what this guest's memory held before; never anything of somebody else's. In detail:
    ///
    /// | RAM | then reads as |
    /// | --- | --- |
    /// | private ([`Backing::Anonymous`](super::Backing)) | zeros |
    /// | where [`map_file`](Self::map_file) has mapped a file | the file, whose bytes were there when the guest began; pages that were written are given back |
    /// | shared: a memory file, a file of yours | zeros, also for whoever else maps it: a hole is punched into the file |
    /// | on reserved huge pages | zeros, for those huge pages that lie in the range as a whole; the others stay as they are |
    ///
    /// A huge page that was given back is no longer reserved: if others take all that the host has, the guest's access
    /// to it ends its run, and one by this process raises SIGBUS. Transparent huge pages are split.
    ///
    /// With [`RamSpec::track_dirty`](super::RamSpec::track_dirty) the pages are dirty.
    ///
    /// # Errors
    /// Each case of [`DiscardError`].
    ///
    /// ```
    /// use strata_memory::RamSpec;
    /// use strata_memory::vm_memory::{Bytes, GuestAddress};
    ///
    /// let ram = RamSpec::new(1 << 20).build()?;
    /// ram.memory().write_obj(7_u8, GuestAddress(0x3000))?;
    /// ram.discard(GuestAddress(0x2000), 0x2000)?;
    /// assert_eq!(ram.memory().read_obj::<u8>(GuestAddress(0x3000))?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discard(&self, at: GuestAddress, len: u64) -> Result<(), DiscardError> {
        let GuestAddress(at) = at;
        if !at.is_multiple_of(PAGE_SIZE) || !len.is_multiple_of(PAGE_SIZE) {
            return Err(DiscardError::Misaligned { at, len });
        }
        let outside = DiscardError::OutsideRam { at, len };
        let Some(end) = at.checked_add(len) else { return Err(outside) };
        // All of it is looked at before anything is done. Pieces are in ascending order.
        let mut next = at;
        for piece in self.pieces().iter().filter(|piece| piece.start.0 < end && piece.end() > at) {
            if piece.read_only {
                return Err(DiscardError::ReadOnly { at, len });
            }
            if piece.start.0 > next {
                return Err(outside);
            }
            next = piece.end();
        }
        if next < end {
            return Err(outside);
        }
        self.memory().iter().try_for_each(|region| {
            let first = region.start_addr().0;
            let whole = region.file_offset().filter(|_| region.is_hugetlbfs() == Some(true));
            let page = whole.map_or(Ok(PAGE_SIZE), huge_page_size);
            let page = page.map_err(|source| DiscardError::Refused { at, source })?;
            let from = at.max(first).next_multiple_of(page);
            let until = end.min(first + region.len()) / page * page;
            if from >= until {
                return Ok(());
            }
            mmap::discard(region, from - first, until - from)
                .map_err(|source| DiscardError::Refused { at: from, source })?;
            if let (Ok(into), Ok(len)) = (usize::try_from(from - first), usize::try_from(until - from)) {
                (**region).bitmap().mark_dirty(into, len);
            }
            Ok(())
        })
    }
}

/// The size of the pages of a file on hugetlbfs, which gives it as that of its blocks.
fn huge_page_size(file: &vm_memory::FileOffset) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.file().metadata()?.blksize().max(PAGE_SIZE))
}

#[cfg(test)]
#[path = "discard_test.rs"]
mod tests;
