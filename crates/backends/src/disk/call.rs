//! What an engine is asked to do: one system call on the disk's file.

use libc::{c_int, iovec};

/// The most segments of a vector that the kernel takes in one call (`UIO_MAXIOV`).
pub(super) const MAX_SEGMENTS: usize = 1024;

/// A system call. Where memory is named, whoever makes the call keeps it until it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    Read {
        segments: *const iovec,
        count: u32,
        offset: u64,
    },
    /// `durable`: as with `O_DSYNC`.
    Write {
        segments: *const iovec,
        count: u32,
        offset: u64,
        durable: bool,
    },
    /// `fdatasync(2)`.
    Sync,
    Allocate {
        mode: c_int,
        offset: u64,
        len: u64,
    },
}

/// How a call ended: what it gave, or an error number below 0.
pub(super) type Outcome = i32;
