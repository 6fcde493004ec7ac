//! A driver: rings in memory, a doorbell and an interrupt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::Result;
use crate::host::{BLOCK, BLOCKS, FRAME, Host};

pub(crate) type Memory = Arc<GuestMemoryMmap<()>>;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A block that is read.
    Block,
    /// A packet from the guest.
    Send,
    /// A packet to the guest.
    Receive,
}

const RAM: usize = 4 << 20;
/// The rings: descriptors, then the available ring, then the used ring, a page each.
const RINGS: [u64; 2] = [0x1_0000, 0x2_0000];
pub(crate) const SIZE: u16 = 256;
/// The table of a request, as Linux has it, with its header and its status.
const TABLE: u64 = 0x3_0000;
const HEADER: u64 = 0x3_1000;
const STATUS: u64 = 0x3_1010;
/// Buffers, and how far from each other they are.
const BUFFERS: u64 = 0x10_0000;
const STEP: u64 = 0x1000;
/// Linux's buffers for packets that can be merged are about so long.
const BUFFER: u32 = 1536;
/// How many are there.
const POSTED: u16 = 128;

/// Flags of descriptors (Virtio 1.2, 2.7.5).
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// The header before a packet.
pub(crate) const NET_HEADER: usize = 12;

/// A descriptor.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Descriptor {
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) flags: u16,
    pub(crate) next: u16,
}

/// Where memory is in this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base(*mut u8);

// SAFETY: a number; whoever makes a pointer of it says why that may be used.
unsafe impl Send for Base {}

impl Base {
    /// The place of a guest-physical address, which is below [`RAM`].
    pub(crate) fn at<T>(self, addr: u64) -> *mut T {
        // SAFETY: within the mapping.
        unsafe { self.0.add(addr as usize) }.cast()
    }

    /// A field of the available ring: 0 flags, 1 index, from 2 on the ring, then the event.
    pub(crate) fn available(self, ring: u64, field: u16) -> &'static AtomicU16 {
        // SAFETY: in the ring's page, which stays as long as anything here; both sides use it as an atomic.
        unsafe { AtomicU16::from_ptr(self.at::<u16>(ring + 0x1000).add(field.into())) }
    }

    /// The index of the used ring.
    pub(crate) fn used_index(self, ring: u64) -> &'static AtomicU16 {
        // SAFETY: as for `available`.
        unsafe { AtomicU16::from_ptr(self.at::<u16>(ring + 0x2000).add(1)) }
    }

    /// An element of the used ring.
    pub(crate) fn used(self, ring: u64, index: u16) -> *mut [u32; 2] {
        self.at(ring + 0x2004 + 8 * u64::from(index % SIZE))
    }
}

pub(crate) struct Driver<'a> {
    pub(crate) what: What,
    pub(crate) memory: Memory,
    pub(crate) base: Base,
    /// The ring that is used.
    pub(crate) ring: u64,
    pub(crate) doorbell: EventFd,
    pub(crate) interrupt: EventFd,
    host: &'a Host,
    available: u16,
    taken: u16,
    count: u32,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(what: What, host: &'a Host) -> Result<Self> {
        let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM)])?);
        let base = Base(memory.get_host_address(GuestAddress(0))?);
        let mut driver = Self {
            what,
            memory,
            base,
            ring: RINGS[usize::from(what == What::Send)],
            doorbell: EventFd::new(libc::EFD_CLOEXEC)?,
            interrupt: EventFd::new(libc::EFD_CLOEXEC)?,
            host,
            available: 0,
            taken: 0,
            count: 0,
        };
        driver.prepare();
        Ok(driver)
    }

    /// Where the rings of a device's queues are.
    pub(crate) fn rings(&self) -> &'static [u64] {
        if self.what == What::Block { &RINGS[..1] } else { &RINGS }
    }

    fn put(&self, table: u64, index: u16, descriptor: Descriptor) {
        // SAFETY: tables lie in memory; no device reads one before it is told of it.
        unsafe { self.base.at::<Descriptor>(table).add(index.into()).write(descriptor) }
    }

    fn prepare(&mut self) {
        match self.what {
            What::Block => {
                let part = |addr, len, flags, next| Descriptor { addr, len, flags, next };
                self.put(TABLE, 0, part(HEADER, 16, NEXT, 1));
                self.put(TABLE, 1, part(BUFFERS, BLOCK as u32, NEXT | WRITE, 2));
                self.put(TABLE, 2, part(STATUS, 1, WRITE, 0));
                self.put(self.ring, 0, part(TABLE, 48, INDIRECT, 0));
            }
            What::Send => {
                let len = (NET_HEADER + FRAME) as u32;
                self.put(self.ring, 0, Descriptor { addr: BUFFERS, len, flags: 0, next: 0 });
                let frame = self.host.frame();
                // SAFETY: the buffer lies in memory, and nobody uses it yet.
                unsafe { self.base.at::<u8>(BUFFERS + NET_HEADER as u64).copy_from(frame.as_ptr(), FRAME) };
            }
            What::Receive => {
                for index in 0..POSTED {
                    let addr = BUFFERS + STEP * u64::from(index);
                    self.put(self.ring, index, Descriptor { addr, len: BUFFER, flags: WRITE, next: 0 });
                    self.offer(index);
                }
            }
        }
    }

    /// Makes a request available.
    fn offer(&mut self, head: u16) {
        self.base.available(self.ring, 2 + self.available % SIZE).store(head, Ordering::Relaxed);
        self.available = self.available.wrapping_add(1);
        self.base.available(self.ring, 1).store(self.available, Ordering::Release);
    }

    /// So many requests, each when the one before has been answered.
    pub(crate) fn trips(&mut self, count: u32) {
        for _ in 0..count {
            match self.what {
                What::Block => {
                    let sector = u64::from(self.count % BLOCKS) * 8;
                    // SAFETY: in memory; the device reads it when it has been offered.
                    unsafe {
                        self.base.at::<[u64; 2]>(HEADER).write_volatile([0, sector]);
                        self.base.at::<u8>(STATUS).write_volatile(0xff);
                    }
                    self.offer(0);
                    self.ring_doorbell();
                }
                What::Send => {
                    self.offer(0);
                    self.ring_doorbell();
                }
                What::Receive => self.host.send(),
            }
            self.await_answer();
            self.count = self.count.wrapping_add(1);
        }
    }

    fn ring_doorbell(&self) {
        self.doorbell.write(1).unwrap();
    }

    fn await_answer(&mut self) {
        self.interrupt.read().unwrap();
        let index = self.base.used_index(self.ring).load(Ordering::Acquire);
        assert_eq!(index, self.taken.wrapping_add(1), "one interrupt is for one request");
        // SAFETY: the device has written it before the index, and writes it no more.
        let [head, len] = unsafe { self.base.used(self.ring, self.taken).read_volatile() };
        self.taken = index;
        // The next one is wanted to be heard of, too.
        self.base.available(self.ring, 2 + SIZE).store(index, Ordering::Relaxed);
        match self.what {
            What::Block => {
                // SAFETY: in memory; the device is done with it.
                let (first, status) = unsafe {
                    (self.base.at::<u8>(BUFFERS).read_volatile(), self.base.at::<u8>(STATUS).read_volatile())
                };
                assert_eq!((status, first), (0, (self.count % BLOCKS) as u8));
            }
            What::Send => {}
            What::Receive => {
                assert_eq!(len as usize, NET_HEADER + FRAME);
                self.offer(head as u16);
            }
        }
    }
}
