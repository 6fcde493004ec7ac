//! LZ4's legacy frame: a magic number, then blocks, each with its compressed size before it (LZ4 Frame Format
//! Description, "Legacy frame").

use std::io::{self, Read};

use super::Compression;

/// What a block unpacks to, but for the last, which may be shorter.
const BLOCK: usize = 8 << 20;
/// What a block can take that could not be compressed (`LZ4_COMPRESSBOUND`).
const MAX_PACKED: usize = BLOCK + BLOCK / 255 + 16;

/// Unpacks block by block.
pub(super) struct LegacyReader<R> {
    from: R,
    begun: bool,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// How much of the block is unpacked, and how much of that has been read.
    len: usize,
    read: usize,
}

impl<R: Read> LegacyReader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, begun: false, packed: Vec::new(), block: vec![0; BLOCK], len: 0, read: 0 }
    }

    /// Unpacks the next block; `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        let size = loop {
            let Some(size) = self.next_size()? else { return Ok(false) };
            // The magic number of a frame, which may come again: frames can be put one behind another.
            if size.to_le_bytes() == Compression::Lz4.magic() {
                self.begun = true;
            } else {
                break size;
            }
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if !self.begun || size > MAX_PACKED {
            return Err(invalid("a block is larger than the format allows"));
        }
        self.packed.resize(size, 0);
        self.from.read_exact(&mut self.packed)?;
        self.len = lz4_flex::block::decompress_into(&self.packed, &mut self.block).map_err(invalid)?;
        self.read = 0;
        Ok(true)
    }

    fn next_size(&mut self) -> io::Result<Option<u32>> {
        let mut size = Vec::with_capacity(4);
        (&mut self.from).take(4).read_to_end(&mut size)?;
        match <[u8; 4]>::try_from(size.as_slice()) {
            Ok(size) => Ok(Some(u32::from_le_bytes(size))),
            Err(_) if size.is_empty() => Ok(None),
            Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read> Read for LegacyReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.len && !into.is_empty() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let mut rest = self.block.get(self.read..self.len).unwrap_or_default();
        let count = rest.read(into)?;
        self.read += count;
        Ok(count)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
