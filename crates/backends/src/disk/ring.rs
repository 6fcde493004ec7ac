//! Calls by `io_uring`.

#![allow(unsafe_code, reason = "the kernel reads and writes memory behind the compiler's back")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use io_uring::{IoUring, Probe, opcode, squeue, types};
use libc::iovec;

use super::DEPTH;
use super::call::{Call, Outcome, read_now};
use super::lock::LockedFile;

/// Reads that are not tried after one that found nothing in the page cache.
const PAUSE: u8 = 8;

/// A ring of its own. Its descriptor is readable when there is a completion, which costs nothing while nobody watches:
/// other than an eventfd it wakes nobody for what was completed and taken within the call that submitted it.
pub(super) struct Ring {
    uring: IoUring,
    file: Arc<LockedFile>,
    /// Calls that the kernel has not been told of, and all that have not ended.
    queued: usize,
    in_flight: usize,
    at_once: AtOnce,
}

/// A read that is alone is tried first with what the page cache has (`RWF_NOWAIT`): one call, too, and the kernel has
/// less to do for it.
#[derive(Default)]
struct AtOnce {
    /// Never, for a file that is read past the cache or that the kernel does not know to read so.
    is_off: bool,
    /// How many reads to leave out.
    pause: u8,
    /// What may be tried when it is certain that there is no second.
    held: Option<(u16, Call)>,
    done: Option<(u16, Outcome)>,
}

impl Ring {
    /// A ring for this file; `is_direct` if it was opened with `O_DIRECT`.
    ///
    /// # Errors
    ///
    /// What `io_uring_setup(2)` answered; `Unsupported` if the kernel's `io_uring` lacks what is needed (Linux 5.6).
    pub(super) fn new(file: Arc<LockedFile>, is_direct: bool) -> io::Result<Self> {
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
        let at_once = AtOnce { is_off: is_direct, ..AtOnce::default() };
        Ok(Self { uring, file, queued: 0, in_flight: 0, at_once })
    }

    /// Queues a call.
    ///
    /// # Safety
    ///
    /// What it names in memory stays, and may be read and written, until the call is [taken](Self::pop).
    pub(super) unsafe fn push(&mut self, tag: u16, call: Call) {
        self.in_flight += 1;
        let AtOnce { is_off, pause, held, done } = &mut self.at_once;
        let is_alone = self.queued == 0 && held.is_none() && done.is_none();
        if is_alone && !*is_off && matches!(call, Call::Read { .. }) {
            *pause = pause.saturating_sub(1);
            if *pause == 0 {
                *held = Some((tag, call));
                return;
            }
        }
        self.release();
        // SAFETY: the caller's promise.
        unsafe { self.queue(tag, call) }
    }

    /// Queues what was held back.
    fn release(&mut self) {
        if let Some((tag, call)) = self.at_once.held.take() {
            // SAFETY: the promise of `push`'s caller, who was not told of an end yet.
            unsafe { self.queue(tag, call) }
        }
    }

    /// Puts a call into the kernel's queue.
    ///
    /// # Safety
    ///
    /// As for [`push`](Self::push).
    unsafe fn queue(&mut self, tag: u16, call: Call) {
        // SAFETY: the caller's promise.
        let entry = unsafe { self.entry(call) }.user_data(tag.into());
        // SAFETY: the descriptor is open as long as this has the file; the rest is the caller's promise.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            // There is a place for each tag, and the kernel empties the queue when it is entered.
            self.enter();
        }
        self.queued += 1;
    }

    /// Tries the read that was held back, if there is one; gives whether it has ended.
    fn try_at_once(&mut self) -> bool {
        let Some((tag, call)) = self.at_once.held else { return false };
        // SAFETY: the promise of `push`'s caller.
        let Some(outcome) = (unsafe { read_now(&self.file, call) }) else { return false };
        if outcome > 0 {
            (self.at_once.held, self.at_once.done) = (None, Some((tag, outcome)));
            return true;
        }
        // At the end of the file, or whatever it is: the ring says what.
        self.at_once.is_off |= outcome == -libc::EOPNOTSUPP;
        self.at_once.pause = PAUSE;
        false
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
        if self.try_at_once() {
            return true;
        }
        self.release();
        self.enter()
    }

    /// Has the kernel take what is in its queue; gives whether there was anything.
    fn enter(&mut self) -> bool {
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
        if let Some(done) = self.at_once.done.take() {
            self.in_flight = self.in_flight.saturating_sub(1);
            return Some(done);
        }
        if self.in_flight == 0 {
            return None;
        }
        let entry = self.uring.completion().next()?;
        self.in_flight = self.in_flight.saturating_sub(1);
        Some((u16::try_from(entry.user_data()).unwrap_or(u16::MAX), entry.result()))
    }

    /// Waits until there is one to [`pop`](Self::pop), if any is in flight.
    pub(super) fn wait(&mut self) {
        self.commit();
        while self.in_flight > 0 && self.at_once.done.is_none() && self.uring.completion().is_empty() {
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

#[cfg(test)]
#[path = "ring_test.rs"]
mod tests;
