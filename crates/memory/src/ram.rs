//! RAM: planned as data ([`RamSpec`]), then mapped ([`Ram`]).
//!
//! A piece of RAM is one mapping of the host and becomes one memory slot of the hypervisor. Pieces of at
//! least 2 MiB are placed so that guest-physical and host-virtual address agree in their low 21 bits, without
//! which no huge page of the host can back a huge page of the guest.

mod bitmap;
mod discard;
mod error;
mod map_file;
mod mmap;
mod spec;

use std::fs::{self, File};
use std::sync::Arc;

use vm_memory::{FileOffset, GuestMemoryBackend, GuestMemoryRegion};

pub use bitmap::RegionBitmap;
pub use discard::DiscardError;
pub use error::RamError;
pub use map_file::MapFileError;
pub use mmap::Mapping;
pub use spec::{Backing, HugePageSize, Piece, RamSpec};

use mmap::Source;

/// The guest memory of a [`Ram`], as `vm-memory` has it: give it to anything that takes `&impl
/// vm_memory::GuestMemory`.
///
/// A clone keeps the mappings alive for as long as it lives, also beyond the [`Ram`] it came from.
pub type GuestMemory = vm_memory::GuestMemoryMmap<RegionBitmap>;

/// What a hypervisor is told of one piece: the fields of `struct kvm_userspace_memory_region`
/// (Linux, Documentation/virt/kvm/api.rst, `KVM_SET_USER_MEMORY_REGION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The slot's number: 0 for the lowest piece, then upwards.
    pub index: u32,
    /// The first guest-physical address, a multiple of 4 KiB.
    pub start: u64,
    /// Its size in bytes, a multiple of 4 KiB.
    pub len: u64,
    /// The address of the first byte in this process.
    pub host_addr: u64,
    /// Whether the guest may only read: `KVM_MEM_READONLY`. The mapping itself stays writable, for loaders.
    pub read_only: bool,
}

/// Guest RAM: mapped, zeroed (or what the backing file holds), readable and writable by this process.
///
/// Cheap to clone; all clones are the same memory, which is unmapped with the last of them.
///
/// ```
/// use strata_memory::RamSpec;
/// use strata_memory::vm_memory::{Bytes, GuestAddress};
///
/// let ram = RamSpec::new(64 << 10).track_dirty(true).build()?;
/// ram.memory().write_slice(b"hello", GuestAddress(0x1ffe))?;
/// assert_eq!(ram.dirty_pages(), [0x1000, 0x2000]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ram {
    memory: GuestMemory,
    pieces: Arc<[Piece]>,
    mappings: Arc<[Mapping]>,
    huge_pages_advised: bool,
}

impl Ram {
    fn build(spec: &RamSpec) -> Result<Self, RamError> {
        let pieces = spec.validated(mmap::host_memory())?;
        let total = pieces.iter().map(|piece| piece.len).sum();
        let file = backing_file(&spec.backing, total)?;
        let hugetlb = spec.backing.huge_page_size();

        let mut mappings = Vec::new();
        let mut regions = Vec::with_capacity(pieces.len());
        let mut huge_pages_advised = spec.transparent_huge_pages;
        let mut offset = 0; // where the next piece lies in the file
        for piece in &pieces {
            let source = match &file {
                None => Source::Anonymous,
                Some(file) => Source::File {
                    file: FileOffset::from_arc(Arc::clone(file), offset),
                    hugetlb: hugetlb.is_some(),
                },
            };
            let placed = mmap::place(piece, source, &mut mappings).map_err(|source| match hugetlb {
                Some(size) => huge_pages_unavailable(size, total, source),
                None => RamError::Map { piece: *piece, source },
            })?;
            if huge_pages_advised {
                huge_pages_advised = placed.advise_huge_pages();
            }
            regions.push(
                placed.into_region(piece, spec.track_dirty).map_err(|source| RamError::Region { source })?,
            );
            offset += piece.len;
        }
        let memory = GuestMemory::from_regions(regions).map_err(|source| RamError::Collection { source })?;
        Ok(Self { memory, pieces: pieces.into(), mappings: mappings.into(), huge_pages_advised })
    }

    /// The memory itself.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The memory without what is read-only to the guest: what the guest's devices may reach, so that it does not write by
    /// one of them what it may not write itself.
    pub fn device_memory(&self) -> GuestMemory {
        self.pieces.iter().filter(|piece| piece.read_only).fold(self.memory.clone(), |memory, piece| {
            // Each piece is a region.
            memory.remove_region(piece.start, piece.len).map_or(memory, |(without, _)| without)
        })
    }

    /// The pieces, in ascending order of address.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How many bytes of RAM there are, over all pieces.
    pub fn size(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// One memory slot for each piece, in ascending order of address.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..).zip(self.memory.iter().zip(self.pieces.iter())).map(|(index, (region, piece))| Slot {
            index,
            start: piece.start.0,
            len: piece.len,
            host_addr: region.as_ptr() as u64,
            read_only: piece.read_only,
        })
    }

    /// Every `mmap` made to build this RAM, in order. Those of [`map_file`](Self::map_file), which come later, are its
    /// answers.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// Whether transparent huge pages were asked for and the host's kernel took the advice for every piece
    /// large enough. Kernels built without them refuse it; the RAM works all the same, on small pages.
    pub fn huge_pages_advised(&self) -> bool {
        self.huge_pages_advised
    }

    /// The pages (4 KiB, by their guest-physical address, ascending) which this process wrote through
    /// [`memory`](Self::memory) since the last [`reset_dirty`](Self::reset_dirty). Always empty without
    /// [`RamSpec::track_dirty`]. The guest's own writes are in the hypervisor's dirty log, not here.
    pub fn dirty_pages(&self) -> Vec<u64> {
        self.pages(RegionBitmap::dirty_offsets)
    }

    /// Forgets the dirty pages, and returns those it forgot.
    ///
    /// A page written meanwhile by another thread is either in this answer or in the next, never in neither.
    pub fn reset_dirty(&self) -> Vec<u64> {
        self.pages(RegionBitmap::take_dirty_offsets)
    }

    fn pages(&self, offsets: impl Fn(&RegionBitmap) -> Vec<u64>) -> Vec<u64> {
        let pages = self.memory.iter().flat_map(|region| {
            let start = region.start_addr().0;
            // Through the region to its mapping: `vm-memory`'s trait would hand out a slice of the bitmap
            // instead.
            offsets((**region).bitmap()).into_iter().map(move |offset| start + offset)
        });
        pages.collect()
    }
}

/// The file behind RAM of `total` bytes, `None` for anonymous memory.
fn backing_file(backing: &Backing, total: u64) -> Result<Option<Arc<File>>, RamError> {
    match backing {
        Backing::Anonymous => Ok(None),
        Backing::Memfd => match mmap::memfd(total, None) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(source) => Err(RamError::Memfd { source }),
        },
        Backing::HugePages { size } => match mmap::memfd(total, Some(*size)) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(source) => Err(huge_pages_unavailable(*size, total, source)),
        },
        Backing::File(file) => {
            let metadata = file.metadata().map_err(|source| RamError::BackingFile { source })?;
            // A character device (DAX, for one) has no length to check; `mmap` will say no itself.
            if metadata.is_file() && metadata.len() < total {
                return Err(RamError::FileTooSmall { has: metadata.len(), needs: total });
            }
            Ok(Some(Arc::clone(file)))
        }
    }
}

fn huge_pages_unavailable(size: HugePageSize, total: u64, source: std::io::Error) -> RamError {
    let path = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/free_hugepages", size.bytes() >> 10);
    let free = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    RamError::HugePagesUnavailable { size, needs: total / size.bytes(), free, source }
}

#[cfg(test)]
#[path = "ram_test.rs"]
mod tests;
