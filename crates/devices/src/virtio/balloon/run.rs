//! Ranges that touch each other are one.

use vm_memory::GuestAddress;

use super::PAGE_SIZE;

/// Bytes that are to be released, one run of them at a time.
#[derive(Debug, Default)]
pub(super) struct Run {
    start: u64,
    end: u64,
}

impl Run {
    /// Adds a range of which no address is near 2^64. What cannot be joined with it is given back, to be released.
    pub(super) fn add(&mut self, start: u64, len: u64) -> Option<(GuestAddress, u64)> {
        let end = start.saturating_add(len);
        if start <= self.end && end >= self.start && self.start < self.end {
            // Drivers give pages upwards, downwards, and twice.
            (self.start, self.end) = (self.start.min(start), self.end.max(end));
            return None;
        }
        std::mem::replace(self, Self { start, end }).into_pages()
    }

    /// The whole pages in it, if there are any.
    pub(super) fn into_pages(self) -> Option<(GuestAddress, u64)> {
        let start = self.start.checked_next_multiple_of(PAGE_SIZE)?;
        let len = (self.end / PAGE_SIZE * PAGE_SIZE).checked_sub(start)?;
        (len > 0).then_some((GuestAddress(start), len))
    }
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
