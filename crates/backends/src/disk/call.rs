//! What an engine is asked to do: one system call on the disk's file.

#![allow(unsafe_code, reason = "a system call that writes memory behind the compiler's back")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

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

/// What a call of the C library's answered, which says -1 and why elsewhere.
///
/// The kernel moves at most 2^31 - 4096 bytes in one call.
pub(super) fn outcome(answer: isize) -> Outcome {
    if answer >= 0 {
        return i32::try_from(answer).unwrap_or(i32::MAX);
    }
    -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Reads as much as the page cache has (`RWF_NOWAIT`), which is certain not to wait. `None` for a call that is no read.
///
/// # Safety
///
/// What the call names in memory is there, and may be written.
pub(super) unsafe fn read_now(file: &File, call: Call) -> Option<Outcome> {
    let Call::Read { segments, count, offset } = call else { return None };
    let (count, offset) = (c_int::try_from(count).ok()?, libc::off_t::try_from(offset).ok()?);
    // SAFETY: the descriptor is open, and memory is as the caller has promised.
    Some(outcome(unsafe { libc::preadv2(file.as_raw_fd(), segments, count, offset, libc::RWF_NOWAIT) }))
}
