//! What a guest has sent and the host has not taken yet.

use vm_memory::GuestMemory;

use super::super::Buffer;

/// A ring of bytes, of a size that never changes.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: Box<[u8]>,
    start: usize,
    len: usize,
}

impl Backlog {
    pub(super) fn new(size: usize) -> Self {
        Self { bytes: vec![0; size].into(), start: 0, len: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends all of `from`; `false` if there is no room for it, or its memory cannot be read.
    pub(super) fn append<M: GuestMemory>(&mut self, memory: &M, mut from: Buffer<'_>) -> bool {
        while !from.is_empty() {
            let spare = self.spare();
            if spare.is_empty() {
                return false;
            }
            let (now, later) = from.split_at(spare.len() as u64);
            let got = now.read(memory, spare);
            self.len += got;
            if got as u64 != now.len() {
                return false;
            }
            from = later;
        }
        true
    }

    /// The first bytes in it, as far as they lie in one piece; empty only if it is.
    pub(super) fn first(&mut self) -> &mut [u8] {
        let end = (self.start + self.len).min(self.bytes.len());
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }

    /// Forgets as many of the first bytes.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len -= count;
        self.start = if self.len == 0 { 0 } else { (self.start + count) % self.bytes.len() };
    }

    /// Where the next bytes go, as far as it is one piece.
    fn spare(&mut self) -> &mut [u8] {
        let size = self.bytes.len();
        let end = self.start + self.len;
        let range = if end < size { end..size } else { end - size..self.start };
        self.bytes.get_mut(range).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "backlog_test.rs"]
mod tests;
