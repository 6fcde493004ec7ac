//! What a block device stands on.

use std::io;
use std::os::fd::RawFd;

use super::super::Buffer;

/// What a disk is like. It stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// Its size in bytes, of which whole sectors of 512 bytes are used.
    pub len: u64,
    /// Nothing can be written.
    pub read_only: bool,
    /// What the driver is told to read and write multiples of, in bytes: a power of two from 512 on.
    pub block_size: u32,
    /// What the disk itself writes at once, in bytes: a power of two times `block_size`.
    pub physical_block_size: u32,
    /// Whether what was written is safe only after a flush. If not, the driver is not told of flushes.
    pub has_cache: bool,
    /// Whether it can forget what is in a range: discarded ranges are best multiples of so many bytes.
    pub discard_granularity: Option<u32>,
    /// Whether it can write zeros without being given any.
    pub writes_zeros: bool,
}

impl Properties {
    /// Of a disk that can be written and flushed and no more, with sectors of 512 bytes.
    pub fn plain(len: u64) -> Self {
        Self {
            len,
            read_only: false,
            block_size: 512,
            physical_block_size: 512,
            has_cache: true,
            discard_granularity: None,
            writes_zeros: false,
        }
    }
}

/// How many operations a request can be: the least that a disk takes at once.
pub const MIN_DEPTH: u16 = 16;

/// What is asked of a disk. It lies within the disk's size, in whole sectors, and nothing is asked of a read-only disk
/// that writes.
#[derive(Debug, Clone, Copy)]
pub enum Op<'a> {
    /// Fill this buffer, not empty, with what is stored from this byte on.
    Read {
        /// In bytes from the disk's start.
        offset: u64,
        /// In guest memory.
        into: Buffer<'a>,
    },
    /// Store what is in this buffer, not empty.
    Write {
        /// In bytes from the disk's start.
        offset: u64,
        /// In guest memory.
        from: Buffer<'a>,
        /// It is complete when it would survive a loss of power.
        durable: bool,
    },
    /// Make all writes that are complete survive a loss of power.
    Flush,
    /// What is stored here is not needed any more. A hint; what is read here afterwards is not specified.
    Discard {
        /// In bytes from the disk's start.
        offset: u64,
        /// In bytes, not 0.
        len: u64,
    },
    /// From now on zeros are read here.
    WriteZeroes {
        /// In bytes from the disk's start.
        offset: u64,
        /// In bytes, not 0.
        len: u64,
        /// The space may be given up.
        unmap: bool,
        /// As for a write.
        durable: bool,
    },
}

/// An operation that has ended.
#[derive(Debug)]
pub struct Completion {
    /// The number that it was submitted with.
    pub tag: u16,
    /// Whether all of it was done.
    pub result: io::Result<()>,
}

/// A block device's back end, for one queue: it takes operations and completes them later, in any order.
///
/// `G` is a guard of guest memory ([`GuestAddressSpace::T`](vm_memory::GuestAddressSpace::T)), which derefs to the
/// memory. Where the kernel or another thread reads or writes guest memory for an operation, the disk keeps a clone of
/// the guard until that has ended. What it has written into guest memory other than through `vm-memory` it marks in the
/// dirty bitmap.
///
/// None of the methods waits but [`drain`](Self::drain). None allocates once it has run for a while.
pub trait Disk<G>: Send {
    /// What it is like.
    fn properties(&self) -> Properties;

    /// How many operations it takes at once, always the same. Tags are below. At least [`MIN_DEPTH`].
    fn depth(&self) -> u16;

    /// Takes an operation, with a tag that none of those in flight has. It may wait for [`commit`](Self::commit).
    fn submit(&mut self, tag: u16, op: Op<'_>, memory: &G);

    /// Has what was submitted done: all with one system call, if there is need for one. Gives whether there was
    /// anything, and so whether another look at [`completed`](Self::completed) may be worth while.
    fn commit(&mut self) -> bool;

    /// An operation that has ended, each once. `None` if there is none now; then [`source`](Self::source) becomes
    /// readable when there is.
    fn completed(&mut self) -> Option<Completion>;

    /// What to watch, for edges, as long as there is the disk: always the same. Nobody reads it. `None` for a disk that has
    /// everything done in [`commit`](Self::commit).
    fn source(&self) -> Option<RawFd>;

    /// Waits until nothing is in flight and forgets what has not been asked for with [`completed`](Self::completed).
    /// Operations that were not committed are done or not. After it nothing touches guest memory any more, and no guard is
    /// held.
    fn drain(&mut self);
}
