//! Descriptor chains, as plain data.

use std::iter;

use vm_memory::bitmap::BS;
use vm_memory::{Address as _, GuestAddress, GuestMemory, Permissions, VolatileSlice};

/// A range of guest memory that a descriptor names. It has been checked to be in RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first guest-physical address.
    pub addr: GuestAddress,
    /// Its size in bytes, not 0.
    pub len: u32,
}

/// One request: what its descriptors name, first what the device may read, then what it may write.
///
/// A worker keeps one and fills it again and again with [`Virtqueue::pop`](super::Virtqueue::pop), so that no
/// request allocates.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    pub(super) head: u16,
    pub(super) segments: Vec<Segment>,
    /// How many of them are for reading.
    pub(super) readable: usize,
}

impl Chain {
    /// Without room for segments; it grows to that of the longest chain it has held.
    pub fn new() -> Self {
        Self::default()
    }

    /// By what the driver knows it: the index of its first descriptor.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the driver has written for the device.
    pub fn readable(&self) -> Buffer<'_> {
        Buffer::new(self.segments.get(..self.readable).unwrap_or_default())
    }

    /// Where the device may write.
    pub fn writable(&self) -> Buffer<'_> {
        Buffer::new(self.segments.get(self.readable..).unwrap_or_default())
    }
}

/// A part of a chain: bytes that lie in one or more segments. How a driver cuts a request into descriptors says
/// nothing (Virtio 1.2, 2.7.4), so a device cuts it anew.
///
/// ```
/// use strata_devices::virtio::{Buffer, Segment, vm_memory::GuestAddress};
///
/// let segments = [(0x1000, 10), (0x5000, 20)].map(|(at, len)| Segment { addr: GuestAddress(at), len });
/// let (header, data) = Buffer::new(&segments).split_at(16);
/// assert_eq!((header.len(), data.len()), (16, 14));
/// assert!(data.segments().eq([Segment { addr: GuestAddress(0x5006), len: 14 }]));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Buffer<'a> {
    segments: &'a [Segment],
    /// How much of them lies before its first byte.
    skip: u64,
    len: u64,
}

impl<'a> Buffer<'a> {
    /// All of these segments.
    pub fn new(segments: &'a [Segment]) -> Self {
        Self { segments, skip: 0, len: segments.iter().map(|segment| u64::from(segment.len)).sum() }
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `at` bytes, or all if there are not so many; and the rest.
    #[must_use]
    pub fn split_at(self, at: u64) -> (Self, Self) {
        let at = at.min(self.len);
        let mut rest = Self { skip: self.skip.saturating_add(at), len: self.len - at, ..self };
        while let Some((first, others)) = rest.segments.split_first()
            && rest.skip >= first.len.into()
        {
            (rest.segments, rest.skip) = (others, rest.skip - u64::from(first.len));
        }
        (Self { len: at, ..self }, rest)
    }

    /// All but the last `count` bytes, or none if there are not so many; and those.
    #[must_use]
    pub fn split_last(self, count: u64) -> (Self, Self) {
        self.split_at(self.len.saturating_sub(count))
    }

    /// The segments that it lies in, cut at its ends, none of them empty.
    pub fn segments(self) -> impl Iterator<Item = Segment> + 'a {
        let (mut skip, mut left) = (self.skip, self.len);
        self.segments.iter().filter_map(move |segment| {
            let skipped = skip.min(segment.len.into());
            skip -= skipped;
            let len = u64::from(segment.len).saturating_sub(skipped).min(left);
            left -= len;
            let addr = GuestAddress(segment.addr.0.wrapping_add(skipped));
            // No longer than a segment's.
            u32::try_from(len).ok().filter(|&len| len > 0).map(|len| Segment { addr, len })
        })
    }

    /// The memory of it, as far as there is such memory.
    pub fn slices<'m, M: GuestMemory>(
        self,
        memory: &'m M,
        access: Permissions,
    ) -> impl Iterator<Item = VolatileSlice<'m, BS<'m, M::Bitmap>>> + use<'a, 'm, M> {
        let mut segments = self.segments();
        let mut rest = None;
        // Not by `flat_map`, which takes twice the instructions for the usual segment: that in one piece of RAM.
        iter::from_fn(move || {
            loop {
                let Segment { addr, len } = rest.take().or_else(|| segments.next())?;
                let slices = memory.get_slices(addr, len as usize, access);
                let Some(Ok(slice)) = slices.ok().and_then(|mut slices| slices.next()) else { continue };
                let first = u32::try_from(slice.len()).unwrap_or(len);
                if first == 0 {
                    continue;
                }
                if first < len {
                    rest = Some(Segment { addr: addr.unchecked_add(first.into()), len: len - first });
                }
                return Some(slice);
            }
        })
    }

    /// Copies its first bytes to `into`; gives how many, which is fewer if it is shorter.
    pub fn read<M: GuestMemory>(self, memory: &M, into: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.split_at(into.len() as u64).0.slices(memory, Permissions::Read) {
            let end = done + slice.len();
            let Some(part) = into.get_mut(done..end) else { break };
            slice.copy_to(part);
            done = end;
        }
        done
    }

    /// Copies `from` to its beginning; gives how many bytes, which is fewer if it is shorter.
    pub fn write<M: GuestMemory>(self, memory: &M, from: &[u8]) -> usize {
        let mut done = 0;
        for slice in self.split_at(from.len() as u64).0.slices(memory, Permissions::Write) {
            let end = done + slice.len();
            let Some(part) = from.get(done..end) else { break };
            slice.copy_from(part);
            done = end;
        }
        done
    }
}

#[cfg(test)]
#[path = "buffer_test.rs"]
mod tests;
