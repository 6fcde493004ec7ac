//! Who makes the calls.

#![allow(unsafe_code, reason = "passes the promise on that memory stays while the kernel uses it")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::call::{Call, Outcome};
use super::pool::Pool;
use super::ring::Ring;
use super::{EngineChoice, Image};

/// `io_uring` or threads.
#[allow(clippy::large_enum_variant, reason = "there is one for each queue")]
pub(super) enum Engine {
    Ring(Ring),
    Pool(Pool),
}

impl Engine {
    pub(super) fn new(image: &Image) -> io::Result<Self> {
        let ring = || Ring::new(Arc::clone(&image.file), image.is_direct).map(Self::Ring);
        let pool = || Pool::new(Arc::clone(&image.file), image.is_direct).map(Self::Pool);
        match image.engine {
            EngineChoice::IoUring => ring(),
            EngineChoice::Threads => pool(),
            // Forbidden by `io_uring_disabled` or seccomp, not built in, too old: whatever it is.
            EngineChoice::Auto => ring().or_else(|why| {
                log::info!("disks are read and written by threads, for io_uring is not to be had: {why}");
                pool()
            }),
        }
    }

    /// Queues a call.
    ///
    /// # Safety
    ///
    /// What it names in memory stays, and may be read and written, until the call is [taken](Self::pop).
    pub(super) unsafe fn push(&mut self, tag: u16, call: Call) {
        // SAFETY: the same promise.
        unsafe {
            match self {
                Self::Ring(ring) => ring.push(tag, call),
                Self::Pool(pool) => pool.push(tag, call),
            }
        }
    }

    /// Has what was queued begin; gives whether there was anything.
    pub(super) fn commit(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.commit(),
            Self::Pool(pool) => pool.commit(),
        }
    }

    /// How a call has ended, with its tag.
    pub(super) fn pop(&mut self) -> Option<(u16, Outcome)> {
        match self {
            Self::Ring(ring) => ring.pop(),
            Self::Pool(pool) => pool.pop(),
        }
    }

    /// Waits until there is something to [`pop`](Self::pop), if any call is in flight.
    pub(super) fn wait(&mut self) {
        match self {
            Self::Ring(ring) => ring.wait(),
            Self::Pool(pool) => pool.wait(),
        }
    }

    /// How many calls have been queued and not been taken back.
    pub(super) fn in_flight(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.in_flight(),
            Self::Pool(pool) => pool.in_flight(),
        }
    }
}

impl AsRawFd for Engine {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Ring(ring) => ring.as_raw_fd(),
            Self::Pool(pool) => pool.as_raw_fd(),
        }
    }
}
