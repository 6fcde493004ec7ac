//! A part of an image as a stream.

use std::io::{self, BufRead, Read};

use crate::image::Image;

/// Reads a part of an image from its start to its end.
pub(super) struct PartReader<'a> {
    image: &'a dyn Image,
    /// The next byte to be read from the image, and one past the last.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer has been consumed.
    consumed: usize,
}

impl<'a> PartReader<'a> {
    pub(super) fn new(image: &'a dyn Image, offset: u64, len: u64) -> Self {
        Self { image, at: offset, end: offset.saturating_add(len), buffer: Vec::new(), consumed: 0 }
    }
}

impl BufRead for PartReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        const CHUNK: u64 = 64 << 10;
        if self.consumed >= self.buffer.len() {
            let len = self.end.saturating_sub(self.at).min(CHUNK);
            self.consumed = 0;
            self.buffer.clear();
            self.buffer.resize(usize::try_from(len).unwrap_or_default(), 0);
            if len > 0 {
                self.image.read_at(self.at, &mut self.buffer)?;
                self.at += len;
            }
        }
        Ok(self.buffer.get(self.consumed..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.consumed = self.consumed.saturating_add(count);
    }
}

impl Read for PartReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}
