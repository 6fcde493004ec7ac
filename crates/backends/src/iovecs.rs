//! Pieces of guest memory for one system call.

#![allow(unsafe_code, reason = "the kernel reads and writes guest memory by host addresses")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;

use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

/// A list of host addresses, kept and filled again for each call, so that none allocates.
#[derive(Debug, Default)]
pub(crate) struct Iovecs(Vec<libc::iovec>);

// SAFETY: the addresses are used by `Sources` and `Targets` only, which live no longer than what they lead to. In
// between they are mere numbers.
unsafe impl Send for Iovecs {}

impl Iovecs {
    /// Begins a list of what is to be read.
    pub(crate) fn sources(&mut self) -> Sources<'_> {
        self.0.clear();
        Sources { list: &mut self.0, len: 0, memory: PhantomData }
    }

    /// Begins a list of what is to be written.
    pub(crate) fn targets(&mut self) -> Targets<'_> {
        self.0.clear();
        Targets { list: &mut self.0, memory: PhantomData }
    }
}

fn iovec(base: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base.cast_mut().cast(), iov_len: len }
}

/// Memory to be read, each piece valid for `'a`.
pub(crate) struct Sources<'a> {
    list: &'a mut Vec<libc::iovec>,
    len: usize,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> Sources<'a> {
    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts bytes before all.
    pub(crate) fn put_first(&mut self, bytes: &'a [u8]) {
        self.list.insert(0, iovec(bytes.as_ptr(), bytes.len()));
        self.len = self.len.saturating_add(bytes.len());
    }

    /// Adds guest memory.
    pub(crate) fn slice<B: BitmapSlice>(&mut self, slice: &VolatileSlice<'a, B>) {
        self.list.push(iovec(slice.ptr_guard().as_ptr(), slice.len()));
        self.len = self.len.saturating_add(slice.len());
    }

    /// `writev(2)`.
    pub(crate) fn write(&self, fd: &impl AsRawFd) -> io::Result<usize> {
        retried(|| {
            // SAFETY: each piece is valid for reads of its length as long as `'a` lasts, which is longer than this
            // call; the kernel bears that the guest changes them meanwhile.
            unsafe { libc::writev(fd.as_raw_fd(), self.list.as_ptr(), count(self.list)) }
        })
    }

    /// `sendmsg(2)` on a stream socket, without waiting and without a signal when the peer is gone.
    pub(crate) fn send(&self, fd: &impl AsRawFd) -> io::Result<usize> {
        // SAFETY: it is plain data, for which zeros mean "nothing".
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = self.list.as_ptr().cast_mut();
        // Its type is not the same with every C library.
        message.msg_iovlen = self.list.len() as _;
        retried(|| {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the message has only the list, of which the same is true as for `write`.
            unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) }
        })
    }

    /// Copies what lies behind the first `skip` bytes; gives how many bytes.
    pub(crate) fn copy(&self, mut skip: usize, mut into: &mut [u8]) -> usize {
        let wanted = into.len();
        for piece in self.list.iter() {
            let skipped = skip.min(piece.iov_len);
            skip -= skipped;
            // SAFETY: the piece is valid for `'a`; nothing is written through this. Volatile, for the guest may
            // change it meanwhile.
            let slice = unsafe { VolatileSlice::new(piece.iov_base.cast(), piece.iov_len) };
            let Ok(slice) = slice.offset(skipped) else { break };
            let copied = slice.copy_to(into);
            into = into.get_mut(copied..).unwrap_or_default();
        }
        wanted - into.len()
    }
}

/// Memory to be written, each piece valid for `'a`.
pub(crate) struct Targets<'a> {
    list: &'a mut Vec<libc::iovec>,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Targets<'a> {
    /// Adds bytes.
    pub(crate) fn bytes(&mut self, bytes: &'a mut [u8]) {
        self.list.push(iovec(bytes.as_mut_ptr(), bytes.len()));
    }

    /// Adds guest memory.
    pub(crate) fn slice<B: BitmapSlice>(&mut self, slice: &VolatileSlice<'a, B>) {
        self.list.push(iovec(slice.ptr_guard_mut().as_ptr(), slice.len()));
    }

    /// `readv(2)`.
    pub(crate) fn read(&mut self, fd: &impl AsRawFd) -> io::Result<usize> {
        retried(|| {
            // SAFETY: each piece is valid for writes of its length as long as `'a` lasts: bytes are lent for that
            // long, and guest memory is nobody's reference.
            unsafe { libc::readv(fd.as_raw_fd(), self.list.as_ptr(), count(self.list)) }
        })
    }
}

/// More than 1,024 the kernel refuses, without reading or writing anything.
fn count(list: &[libc::iovec]) -> i32 {
    i32::try_from(list.len()).unwrap_or(i32::MAX)
}

/// Calls again what a signal has interrupted.
fn retried(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if let Ok(done) = usize::try_from(result) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
