//! What is going to lie where: checked as a whole, then written.

use std::borrow::Cow;
use std::io;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, Permissions};

use crate::entry::{Loaded, What};
use crate::image::Part;

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
    /// The image cannot be read where it was found to have bytes.
    #[error("{range} cannot be read from the image: does something change the file?")]
    Read {
        /// What was being written.
        range: Loaded,
        /// What reading met.
        source: io::Error,
    },
}

/// Where the bytes of an item come from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// Made by the loader, or lent to it.
    Bytes(Cow<'a, [u8]>),
    /// From the image, when they are written.
    Part(Part<'a>),
    /// Nothing is written: the place is kept free for the guest itself.
    Reserved,
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Vec<u8>> for Source<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<'a> From<Part<'a>> for Source<'a> {
    fn from(part: Part<'a>) -> Self {
        Self::Part(part)
    }
}

impl Source<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part(part) => part.len(),
            Self::Reserved => 0,
        }
    }
}

/// Bytes to write at `loaded.start`; what is left of `loaded.len` behind them is zeroed.
#[derive(Debug)]
struct Item<'a> {
    loaded: Loaded,
    source: Source<'a>,
}

/// Everything a loader is going to write.
#[derive(Debug)]
pub(crate) struct Plan<'a, M: ?Sized> {
    memory: &'a M,
    items: Vec<Item<'a>>,
    zero: bool,
}

impl<'a, M: GuestMemory + ?Sized> Plan<'a, M> {
    pub(crate) fn new(memory: &'a M) -> Self {
        Self { memory, items: Vec::new(), zero: false }
    }

    /// Says that RAM is zero wherever nothing has been written, so that zeros need not be.
    pub(crate) fn ram_is_zero(&mut self, zero: bool) {
        self.zero = zero;
    }

    /// Plans `source` at `start`.
    pub(crate) fn add(
        &mut self,
        start: u64,
        source: impl Into<Source<'a>>,
        what: What,
    ) -> Result<(), PlaceError> {
        let source = source.into();
        self.add_zero_padded(Loaded { start, len: source.len(), what }, source)
    }

    /// Plans `source` at the start of `range`, and zeroes up to its end.
    pub(crate) fn add_zero_padded(
        &mut self,
        range: Loaded,
        source: impl Into<Source<'a>>,
    ) -> Result<(), PlaceError> {
        if !self.is_ram(range.start, range.len) {
            return Err(PlaceError::OutsideRam { range });
        }
        if let Some(other) = self.overlapping(range.start, range.len) {
            return Err(PlaceError::Overlap { a: other, b: range });
        }
        self.items.push(Item { loaded: range, source: source.into() });
        Ok(())
    }

    /// Keeps `range` free: it has to be RAM, nothing else may be planned there, and nothing is written.
    pub(crate) fn reserve(&mut self, range: Loaded) -> Result<(), PlaceError> {
        self.add_zero_padded(range, Source::Reserved)
    }

    /// Everything planned so far, reserved places too.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Loaded> + '_ {
        self.items.iter().map(|item| item.loaded)
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

    /// Something planned that shares a byte with these, which lie in RAM.
    pub(crate) fn overlapping(&self, start: u64, len: u64) -> Option<Loaded> {
        // All ends are addresses (`is_ram`), so no sum overflows.
        let overlaps = |item: &Loaded| item.start < start + len && start < item.start + item.len;
        self.items.iter().map(|item| item.loaded).find(overlaps)
    }

    /// Writes everything, in the order it was planned.
    pub(crate) fn commit(self) -> Result<Vec<Loaded>, PlaceError> {
        let is_written = |item: &&Item<'_>| !matches!(item.source, Source::Reserved);
        for Item { loaded, source } in self.items.iter().filter(is_written) {
            match source {
                Source::Bytes(bytes) => self.write(*loaded, 0, bytes)?,
                Source::Part(part) => self.write_part(*loaded, part)?,
                Source::Reserved => {}
            }
            self.zero(*loaded, source.len())?;
        }
        Ok(self.items.iter().filter(is_written).map(|item| item.loaded).collect())
    }

    fn write_part(&self, range: Loaded, part: &Part<'_>) -> Result<(), PlaceError> {
        let failed = |source| PlaceError::Read { range, source };
        let mapped = part.map(range.start).map_err(failed)?;
        for rest in [0..mapped.start, mapped.end..part.len()] {
            part.read(rest, |offset, bytes| Ok(self.write(range, offset, bytes)?)).map_err(
                |error: ReadOrWrite| match error {
                    ReadOrWrite::Read(source) => failed(source),
                    ReadOrWrite::Write(error) => error,
                },
            )?;
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` into `range`.
    fn write(&self, range: Loaded, offset: u64, bytes: &[u8]) -> Result<(), PlaceError> {
        self.memory
            .write_slice(bytes, GuestAddress(range.start + offset))
            .map_err(|source| PlaceError::Write { range, source })
    }

    /// Zeroes `range` from `offset` to its end.
    fn zero(&self, range: Loaded, mut offset: u64) -> Result<(), PlaceError> {
        const ZEROS: [u8; 0x1000] = [0; 0x1000];
        // Without the promise RAM may hold anything: the guest may be rebooting, or a file lies behind it.
        while offset < range.len && !self.zero {
            let count = usize::try_from(range.len - offset).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write(range, offset, ZEROS.get(..count).unwrap_or_default())?;
            offset += count as u64;
        }
        Ok(())
    }
}

/// What can go wrong between an image and memory.
#[derive(Debug, Error)]
enum ReadOrWrite {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error(transparent)]
    Write(#[from] PlaceError),
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
