//! The addresses at which a bus error is the fault of a mapped file. A signal handler reads this table, so it is of fixed
//! size and there are no locks.
//!
//! A range is one word: page number and number of pages. So it is seen whole or not at all, without a lock.
//! A range appears before anybody can touch the memory and disappears when nobody can any more: the thread whose access
//! failed therefore always finds it, and whatever else changes in the table meanwhile concerns other addresses.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use strata_memory::layout::PAGE_SIZE;

/// How many ranges there may be at a time. A kernel has three or four.
pub(super) const PLACES: usize = 512;

/// The low bits of a word count pages, the others number the first: 44 bits, for 56 bits of address (a process has no
/// more, with five levels of page tables too: `Documentation/arch/x86/x86_64/mm.rst`).
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Nobody's.
const FREE: u64 = 0;
/// Somebody's, but without a range: no pages, from page 1 on.
const EMPTY: u64 = 1 << COUNT_BITS;

/// The process's table.
pub(super) static TABLE: Table<PLACES> = Table::new();

#[derive(Debug)]
pub(super) struct Table<const N: usize>([Slot; N]);

#[derive(Debug)]
struct Slot {
    range: AtomicU64,
    faults: AtomicU64,
}

/// Somebody's place in the table, free again when dropped.
#[derive(Debug)]
pub(super) struct Place(&'static Slot);

/// Whether `len` bytes can be written in a word.
pub(super) const fn fits(len: u64) -> bool {
    len.div_ceil(PAGE_SIZE) <= COUNT_MASK
}

impl<const N: usize> Table<N> {
    pub(super) const fn new() -> Self {
        Self([const { Slot { range: AtomicU64::new(FREE), faults: AtomicU64::new(0) } }; N])
    }

    /// A place without a range as yet; `None` when the table is full.
    pub(super) fn take(&'static self) -> Option<Place> {
        let free = |slot: &&Slot| slot.range.compare_exchange(FREE, EMPTY, SeqCst, SeqCst).is_ok();
        let slot = self.0.iter().find(free)?;
        slot.faults.store(0, SeqCst);
        Some(Place(slot))
    }

    /// The counter of the range that holds this address. Async-signal-safe.
    pub(super) fn find(&self, addr: u64) -> Option<&AtomicU64> {
        let page = addr / PAGE_SIZE;
        let holds = |slot: &&Slot| {
            let word = slot.range.load(SeqCst);
            page.checked_sub(word >> COUNT_BITS).is_some_and(|nth| nth < word & COUNT_MASK)
        };
        self.0.iter().find(holds).map(|slot| &slot.faults)
    }
}

impl Place {
    /// Enters the `len` bytes at `addr`, both in whole pages; [`fits`] has said that it can be done.
    pub(super) fn watch(&self, addr: u64, len: u64) {
        debug_assert!(fits(len) && addr < 1 << 56);
        self.0.range.store((addr / PAGE_SIZE) << COUNT_BITS | len.div_ceil(PAGE_SIZE) & COUNT_MASK, SeqCst);
    }

    /// Takes the range out; the place and its count remain.
    pub(super) fn unwatch(&self) {
        self.0.range.store(EMPTY, SeqCst);
    }

    pub(super) fn faults(&self) -> u64 {
        self.0.faults.load(SeqCst)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.range.store(FREE, SeqCst);
    }
}

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;
