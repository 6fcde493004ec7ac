//! The floor: a thread that waits, takes a request from its ring by raw pointers, moves the bytes with one system call,
//! writes the used ring and interrupts. Nothing is checked, nothing can be reset, and there is no other kind of request.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use vmm_sys_util::eventfd::EventFd;

use crate::Result;
use crate::driver::{Base, Descriptor, Driver, NET_HEADER, SIZE, What};
use crate::host::Host;

pub(crate) struct Floor {
    thread: Option<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
    doorbell: EventFd,
}

struct Work {
    base: Base,
    ring: u64,
    next: u16,
    doorbell: EventFd,
    interrupt: EventFd,
    ends: Arc<AtomicBool>,
}

impl Floor {
    pub(crate) fn start(driver: &Driver<'_>, host: &Host, moves: bool) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let doorbell = driver.doorbell.try_clone()?;
        let mut work = Work {
            base: driver.base,
            ring: driver.ring,
            next: 0,
            doorbell: doorbell.try_clone()?,
            interrupt: driver.interrupt.try_clone()?,
            ends: Arc::clone(&ends),
        };
        // They are open as long as the host is, which is longer than the thread.
        let (file, tap) = (host.file.as_raw_fd(), host.tap.as_raw_fd());
        let what = driver.what;
        let thread = thread::spawn(move || match what {
            What::Block => work.block(file, moves),
            What::Send | What::Receive => work.net(tap, what),
        });
        Ok(Self { thread: Some(thread), ends, doorbell })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let _ = self.doorbell.write(1);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Work {
    /// The request's first descriptor.
    fn take(&mut self) -> (u16, *const Descriptor) {
        let head = self.base.available(self.ring, 2 + self.next % SIZE).load(Ordering::Acquire);
        // SAFETY: within the ring's descriptors.
        (head, unsafe { self.base.at::<Descriptor>(self.ring).add(head.into()) })
    }

    fn give(&mut self, head: u16, len: usize) {
        // SAFETY: within the used ring; the driver reads it when the index has been written.
        unsafe { self.base.used(self.ring, self.next).write_volatile([head.into(), len as u32]) };
        self.next = self.next.wrapping_add(1);
        self.base.used_index(self.ring).store(self.next, Ordering::Release);
        self.interrupt.write(1).unwrap();
    }

    fn block(&mut self, file: RawFd, moves: bool) {
        loop {
            self.doorbell.read().unwrap();
            if self.ends.load(Ordering::Relaxed) {
                return;
            }
            let (head, first) = self.take();
            // SAFETY: the driver's requests are a table of a header, a buffer of a block and a status; they are left alone
            // until they have been answered.
            let read = unsafe {
                let table = self.base.at::<Descriptor>((*first).addr);
                let [header, data, status] = [*table, *table.add(1), *table.add(2)];
                let [_, sector] = self.base.at::<[u64; 2]>(header.addr).read_volatile();
                let part = libc::iovec { iov_base: self.base.at(data.addr), iov_len: data.len as usize };
                let at = (sector * 512) as libc::off_t;
                let read = if moves { libc::preadv(file, &raw const part, 1, at) } else { data.len as isize };
                if !moves {
                    self.base.at::<u8>(data.addr).write_volatile((sector / 8) as u8);
                }
                self.base.at::<u8>(status.addr).write_volatile(u8::from(read < 0));
                read
            };
            self.give(head, read as usize + 1);
        }
    }

    /// As a thread that serves both directions it waits for either.
    fn net(&mut self, tap: RawFd, what: What) {
        const IN: u32 = libc::EPOLLIN as u32;
        // SAFETY: it takes flags.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let watch = |fd, events| {
            let mut event = libc::epoll_event { events, u64: fd as u64 };
            // SAFETY: an event to be copied.
            let done = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
            assert_eq!(done, 0, "{}", io::Error::last_os_error());
        };
        watch(self.doorbell.as_raw_fd(), IN | libc::EPOLLET as u32);
        watch(tap, IN);
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: there is room for one event.
            let count = unsafe { libc::epoll_wait(epoll, &raw mut event, 1, -1) };
            assert_eq!(count, 1, "{}", io::Error::last_os_error());
            if self.ends.load(Ordering::Relaxed) {
                break;
            }
            let (head, first) = self.take();
            // SAFETY: the driver's packets are one descriptor each, and its buffers hold a packet; they are left alone until
            // they have been given back.
            let len = unsafe {
                let part =
                    libc::iovec { iov_base: self.base.at((*first).addr), iov_len: (*first).len as usize };
                if what == What::Send {
                    let sent = libc::writev(tap, &raw const part, 1);
                    assert_eq!(sent, part.iov_len as isize, "{}", io::Error::last_os_error());
                    0
                } else {
                    let received = libc::readv(tap, &raw const part, 1);
                    assert!(received > NET_HEADER as isize, "{}", io::Error::last_os_error());
                    // `num_buffers`
                    self.base.at::<u16>((*first).addr + 10).write_volatile(1);
                    received as usize
                }
            };
            self.give(head, len);
        }
        // SAFETY: it was opened above.
        unsafe { libc::close(epoll) };
    }
}
