//! What is going to lie where: checked as a whole, then written.

use std::borrow::Cow;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, Permissions};

use crate::entry::{Loaded, What};

/// Why something cannot be put into guest memory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// It does not lie in RAM, or not all of it.
    #[error("{range} does not lie in RAM: give the guest more memory, or put it elsewhere")]
    OutsideRam {
        /// What was to lie where.
        range: Loaded,
    },
    /// It lies on something else that is loaded.
    #[error("{a} and {b} overlap: put one of them elsewhere")]
    Overlap {
        /// What was placed first.
        a: Loaded,
        /// What was to be placed on it.
        b: Loaded,
    },
    /// The memory refused the bytes, though it had said that they lie in RAM.
    #[error("{range} cannot be written")]
    Write {
        /// What was being written.
        range: Loaded,
        /// What the memory said.
        source: GuestMemoryError,
    },
}

/// Bytes to write at `loaded.start`; what is left of `loaded.len` behind them is zeroed.
#[derive(Debug)]
struct Item<'a> {
    loaded: Loaded,
    bytes: Cow<'a, [u8]>,
}

/// Everything a loader is going to write.
#[derive(Debug)]
pub(crate) struct Plan<'a, M: ?Sized> {
    memory: &'a M,
    items: Vec<Item<'a>>,
}

impl<'a, M: GuestMemory + ?Sized> Plan<'a, M> {
    pub(crate) fn new(memory: &'a M) -> Self {
        Self { memory, items: Vec::new() }
    }

    /// Plans `bytes` at `start`.
    pub(crate) fn add(
        &mut self,
        start: u64,
        bytes: impl Into<Cow<'a, [u8]>>,
        what: What,
    ) -> Result<(), PlaceError> {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        self.add_zero_padded(Loaded { start, len, what }, bytes)
    }

    /// Plans `bytes` at the start of `range`, and zeroes up to its end.
    pub(crate) fn add_zero_padded(
        &mut self,
        range: Loaded,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<(), PlaceError> {
        if !self.is_ram(range.start, range.len) {
            return Err(PlaceError::OutsideRam { range });
        }
        if let Some(other) = self.overlapping(range.start, range.len) {
            return Err(PlaceError::Overlap { a: other, b: range });
        }
        self.items.push(Item { loaded: range, bytes: bytes.into() });
        Ok(())
    }

    /// Whether these bytes are RAM that nothing is planned for. They must not be none.
    pub(crate) fn is_free(&self, start: u64, len: u64) -> bool {
        self.is_ram(start, len) && self.overlapping(start, len).is_none()
    }

    fn is_ram(&self, start: u64, len: u64) -> bool {
        // Checked here, since not every memory does: the end must be an address, too.
        start.checked_add(len).is_some()
            && usize::try_from(len)
                .is_ok_and(|len| self.memory.check_range(GuestAddress(start), len, Permissions::Write))
    }

    fn overlapping(&self, start: u64, len: u64) -> Option<Loaded> {
        // All ends are addresses (`is_ram`), so no sum overflows.
        let overlaps = |item: &Loaded| item.start < start + len && start < item.start + item.len;
        self.items.iter().map(|item| item.loaded).find(overlaps)
    }

    /// Writes everything, in the order it was planned.
    pub(crate) fn commit(self) -> Result<Vec<Loaded>, PlaceError> {
        for Item { loaded, bytes } in &self.items {
            self.write(*loaded, bytes).map_err(|source| PlaceError::Write { range: *loaded, source })?;
        }
        Ok(self.items.into_iter().map(|item| item.loaded).collect())
    }

    fn write(&self, range: Loaded, bytes: &[u8]) -> Result<(), GuestMemoryError> {
        const ZEROS: [u8; 0x1000] = [0; 0x1000];
        self.memory.write_slice(bytes, GuestAddress(range.start))?;
        // RAM may hold anything: the guest may be rebooting, or a file lies behind it.
        let mut at = range.start + bytes.len() as u64;
        let end = range.start + range.len;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(ZEROS.len());
            self.memory.write_slice(ZEROS.get(..count).unwrap_or_default(), GuestAddress(at))?;
            at += count as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
