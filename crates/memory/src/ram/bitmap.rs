//! What hangs on each mapped region: the dirty bitmap, if one is wanted, and the mapping's lifetime.

use std::any::Any;
use std::num::NonZeroUsize;

use vm_memory::bitmap::{AtomicBitmap, BS, Bitmap, WithBitmapSlice};

use super::mmap::Reservation;
use crate::layout::PAGE_SIZE;

/// The `vm-memory` bitmap of one region of [`GuestMemory`](super::GuestMemory).
///
/// It marks the pages this process writes, when [`RamSpec::track_dirty`](super::RamSpec::track_dirty) asked
/// for that, and costs one branch otherwise. It also owns the mapping: `vm-memory` unmaps only what it mapped
/// itself, which it cannot place at an alignment, and it drops the bitmap with the region. So memory is
/// unmapped exactly when nothing can reach it any more, however its `GuestMemory` was cloned and passed on.
#[derive(Debug)]
pub struct RegionBitmap {
    dirty: Option<AtomicBitmap>,
    /// Held to be dropped: see above.
    mapping: Reservation,
}

impl RegionBitmap {
    pub(super) fn new(mapping: Reservation, len: usize, track_dirty: bool) -> Self {
        const PAGE: NonZeroUsize = NonZeroUsize::new(0x1000).unwrap();
        const { assert!(PAGE.get() as u64 == PAGE_SIZE) };
        let dirty = track_dirty.then(|| AtomicBitmap::new(len, PAGE));
        Self { dirty, mapping }
    }

    /// Holds `value` until just before the region is unmapped.
    pub(super) fn keep(&self, value: Box<dyn Any + Send + Sync>) {
        self.mapping.keep(value);
    }

    /// Offsets in bytes of the dirty pages, ascending.
    pub(super) fn dirty_offsets(&self) -> Vec<u64> {
        let Some(dirty) = &self.dirty else { return Vec::new() };
        (0..dirty.len()).filter(|page| dirty.is_bit_set(*page)).map(|page| page as u64 * PAGE_SIZE).collect()
    }

    /// The same, and cleans them in the same step.
    pub(super) fn take_dirty_offsets(&self) -> Vec<u64> {
        let Some(dirty) = &self.dirty else { return Vec::new() };
        let words = (0..).zip(dirty.get_and_reset());
        let pages = words.flat_map(|(index, word)| {
            let bits = (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| (index * u64::from(u64::BITS) + u64::from(bit)) * PAGE_SIZE)
        });
        pages.collect()
    }
}

impl<'a> WithBitmapSlice<'a> for RegionBitmap {
    type S = Option<BS<'a, AtomicBitmap>>;
}

impl Bitmap for RegionBitmap {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.dirty.mark_dirty(offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.dirty.dirty_at(offset)
    }

    fn slice_at(&self, offset: usize) -> BS<'_, Self> {
        self.dirty.slice_at(offset)
    }
}
