//! Buffers for `O_DIRECT`, which takes aligned memory only.

/// How much is moved through a buffer at once: what a guest can make one of them grow to.
pub(super) const CHUNK: usize = 128 << 10;

/// What the largest blocks of disks are aligned to.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub(super) struct Aligned {
    bytes: Vec<u8>,
    skip: usize,
    len: usize,
}

impl Aligned {
    /// So many zeros.
    pub(super) fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        let skip = bytes.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        Self { bytes, skip, len }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.skip..self.skip + self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_where_it_has_to() {
        for len in [0, 1, 4096, CHUNK] {
            let mut buffer = Aligned::new(len);
            assert_eq!(buffer.bytes().len(), len);
            assert_eq!(buffer.bytes().as_ptr().addr() % ALIGNMENT, 0);
        }
    }
}
