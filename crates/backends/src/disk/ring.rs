//! Calls by `io_uring`.

#![allow(unsafe_code, reason = "the kernel reads and writes memory behind the compiler's back")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use io_uring::{IoUring, Probe, opcode, squeue, types};
use libc::iovec;

use super::DEPTH;
use super::call::{Call, Outcome};
use super::lock::LockedFile;

/// A ring of its own. Its descriptor is readable when there is a completion, which costs nothing while nobody watches:
/// other than an eventfd it wakes nobody for what was completed and taken within the call that submitted it.
pub(super) struct Ring {
    uring: IoUring,
    file: Arc<LockedFile>,
    /// Calls that the kernel has not been told of, and all that have not ended.
    queued: usize,
    in_flight: usize,
}

impl Ring {
    /// A ring for this file.
    ///
    /// # Errors
    ///
    /// What `io_uring_setup(2)` answered; `Unsupported` if the kernel's `io_uring` lacks what is needed (Linux 5.6).
    pub(super) fn new(file: Arc<LockedFile>) -> io::Result<Self> {
        let uring = IoUring::new(DEPTH.into())?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let needs = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::Readv::CODE,
            opcode::Writev::CODE,
            opcode::Fsync::CODE,
            opcode::Fallocate::CODE,
        ];
        if !needs.iter().all(|&code| probe.is_supported(code)) || !uring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { uring, file, queued: 0, in_flight: 0 })
    }

    /// Queues a call.
    ///
    /// # Safety
    ///
    /// What it names in memory stays, and may be read and written, until the call is [taken](Self::pop).
    pub(super) unsafe fn push(&mut self, tag: u16, call: Call) {
        // SAFETY: the caller's promise.
        let entry = unsafe { self.entry(call) }.user_data(tag.into());
        // SAFETY: the descriptor is open as long as this has the file; the rest is the caller's promise.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            // There is a place for each tag, and the kernel empties the queue when it is entered.
            self.commit();
        }
        self.queued += 1;
        self.in_flight += 1;
    }

    /// # Safety
    ///
    /// The segments of the call are there.
    unsafe fn entry(&self, call: Call) -> squeue::Entry {
        let fd = types::Fd(self.file.as_raw_fd());
        // One segment alone needs no vector, which the kernel would have to copy. No segment is longer than 32 bits: it is of
        // a descriptor, of several that lie one behind the other, of which the rest comes later, or of a buffer.
        // SAFETY: the caller's promise.
        let only = |segments: *const iovec| unsafe { ((*segments).iov_base, (*segments).iov_len) };
        let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let flags = |durable| if durable { libc::RWF_DSYNC } else { 0 };
        match call {
            Call::Read { segments, count: 1, offset } => {
                let (at, size) = only(segments);
                opcode::Read::new(fd, at.cast(), len(size)).offset(offset).build()
            }
            Call::Read { segments, count, offset } => {
                opcode::Readv::new(fd, segments, count).offset(offset).build()
            }
            Call::Write { segments, count: 1, offset, durable } => {
                let (at, size) = only(segments);
                let write = opcode::Write::new(fd, at.cast(), len(size));
                write.offset(offset).rw_flags(flags(durable)).build()
            }
            Call::Write { segments, count, offset, durable } => {
                let write = opcode::Writev::new(fd, segments, count);
                write.offset(offset).rw_flags(flags(durable)).build()
            }
            Call::Sync => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            Call::Allocate { mode, offset, len } => {
                opcode::Fallocate::new(fd, len).offset(offset).mode(mode).build()
            }
        }
    }

    /// Has what was queued begin; gives whether there was anything.
    pub(super) fn commit(&mut self) -> bool {
        let any = self.queued > 0;
        while self.queued > 0 {
            match self.uring.submit() {
                Ok(count) => self.queued = self.queued.saturating_sub(count),
                // Interrupted, or short of memory.
                Err(_) => std::thread::yield_now(),
            }
        }
        any
    }

    pub(super) fn pop(&mut self) -> Option<(u16, Outcome)> {
        let entry = self.uring.completion().next()?;
        self.in_flight = self.in_flight.saturating_sub(1);
        Some((u16::try_from(entry.user_data()).unwrap_or(u16::MAX), entry.result()))
    }

    /// Waits until there is one to [`pop`](Self::pop), if any is in flight.
    pub(super) fn wait(&mut self) {
        self.commit();
        while self.in_flight > 0 && self.uring.completion().is_empty() {
            if self.uring.submit_and_wait(1).is_err() {
                std::thread::yield_now();
            }
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }
}
