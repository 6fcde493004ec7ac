//! The host's side: a target, an answer, figures.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::super::Doorbell;
use super::PAGE_SIZE;

/// What the device, its worker and those who control it have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How large the host wants it, in pages.
    pub(super) num_pages: AtomicU32,
    /// How large the driver says that it is.
    pub(super) actual: AtomicU32,
    /// Whether figures have been asked for.
    pub(super) wants_stats: AtomicBool,
    stats: Mutex<Option<BalloonStats>>,
}

impl Shared {
    pub(super) fn stats(&self) -> MutexGuard<'_, Option<BalloonStats>> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reset(&self) {
        self.actual.store(0, Ordering::Relaxed);
        *self.stats() = None;
    }
}

/// The host's hand on a balloon. Nothing here waits for the guest. Clones control the same one.
#[derive(Debug, Clone)]
pub struct BalloonControl {
    shared: Arc<Shared>,
    bell: Doorbell,
}

impl BalloonControl {
    pub(super) fn new(shared: Arc<Shared>, bell: Doorbell) -> Self {
        Self { shared, bell }
    }

    /// Asks the guest to give up so many bytes in all, rounded down to 4 KiB, at most 16 TiB less 4 KiB. It does so in
    /// its own time, as far as it can: see [`actual`](Self::actual). A target that is less than before gives it back
    /// memory.
    pub fn set_target(&self, bytes: u64) {
        let pages = u32::try_from(bytes / PAGE_SIZE).unwrap_or(u32::MAX);
        self.shared.num_pages.store(pages, Ordering::Relaxed);
        self.bell.ring();
    }

    /// What was asked for last, in bytes.
    pub fn target(&self) -> u64 {
        u64::from(self.shared.num_pages.load(Ordering::Relaxed)) * PAGE_SIZE
    }

    /// How much the guest says that it has given up, in bytes. Free pages that it reports are not among them.
    pub fn actual(&self) -> u64 {
        u64::from(self.shared.actual.load(Ordering::Relaxed)) * PAGE_SIZE
    }

    /// The last figures that the guest gave, and asks it for new ones. `None` before it has given any, and after a
    /// reset of the device.
    pub fn stats(&self) -> Option<BalloonStats> {
        self.shared.wants_stats.store(true, Ordering::Release);
        self.bell.ring();
        *self.shared.stats()
    }
}

/// What a guest says of its memory (Virtio 1.2, 5.5.6.4): in bytes or in events since it started; `None` where it says
/// nothing. It may say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BalloonStats {
    /// When these figures came.
    pub at: Instant,
    /// Bytes swapped in.
    pub swap_in: Option<u64>,
    /// Bytes swapped out to disk.
    pub swap_out: Option<u64>,
    /// Page faults that needed a disk.
    pub major_faults: Option<u64>,
    /// Page faults that did not.
    pub minor_faults: Option<u64>,
    /// Bytes that are used for nothing.
    pub free: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
    /// An estimate of the bytes that programs could have without swapping.
    pub available: Option<u64>,
    /// Bytes of the disk caches, which can be had quickly.
    pub disk_caches: Option<u64>,
    /// Huge pages that could be allocated.
    pub huge_page_allocations: Option<u64>,
    /// Huge pages that could not.
    pub huge_page_failures: Option<u64>,
}

impl BalloonStats {
    /// The size of an entry: a tag of 16 bits and a value of 64.
    pub(super) const ENTRY: usize = 10;

    /// Reads entries. Of a tag that comes twice the last counts; one that is not known is left out.
    pub(super) fn parse(entries: &[u8]) -> Self {
        let mut values = [None; 10];
        for entry in entries.chunks_exact(Self::ENTRY) {
            let Some((tag, value)) = entry.split_first_chunk() else { continue };
            let value = value.try_into().map(u64::from_le_bytes).ok();
            if let Some(known) = values.get_mut(usize::from(u16::from_le_bytes(*tag))) {
                *known = value;
            }
        }
        let [swap_in, swap_out, major_faults, minor_faults, free, rest @ ..] = values;
        let [total, available, disk_caches, huge_page_allocations, huge_page_failures] = rest;
        Self {
            at: Instant::now(),
            swap_in,
            swap_out,
            major_faults,
            minor_faults,
            free,
            total,
            available,
            disk_caches,
            huge_page_allocations,
            huge_page_failures,
        }
    }
}
