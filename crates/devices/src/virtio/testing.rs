//! A driver's side of a device, for tests of devices and of back ends: a bench with guest memory, the registers, an
//! event loop, and queues that are filled by hand.
//!
//! It is for well-behaved drivers and for all others: what it writes to a ring can also be written raw.
//!
//! ```
//! use strata_devices::virtio::{rng::Rng, testing::Bench};
//!
//! let device = Rng::new(std::io::repeat(4))?;
//! let workers = vec![device.worker()];
//! let mut bench = Bench::new(device, workers);
//! bench.start(0);
//! bench.queue(0).add(&[], &[(0x10_0000, 8)]);
//! bench.notify(0);
//! assert_eq!(bench.run(), 1);
//! assert_eq!(bench.queue(0).used(), Some((0, 8)));
//! assert_eq!(bench.read(0x10_0000, 8), [4; 8]);
//! # Ok::<(), std::io::Error>(())
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::missing_panics_doc)]
#![allow(clippy::cast_possible_truncation, reason = "halves of registers are cut out with it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_manager::{EventManager, MutEventSubscriber, SubscriberOps as _};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{
    Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, MemoryRegionAddress, MmapRegion,
};

use super::{VirtioDevice, VirtioMmio};
use crate::{DeviceMut as _, IrqLine};

/// Guest memory as the bench has it. It knows which pages have been written to, for [`wipe`].
pub type Memory = Arc<GuestMemoryMmap<AtomicBitmap>>;

/// How much RAM there is, from address 0 on. Rings lie below [`FREE`].
pub const RAM: u64 = 4 << 20;
/// From here on memory is the test's.
pub const FREE: u64 = 1 << 20;
/// What each ring has room in.
const RING_ROOM: u64 = 0x4000;
const FIRST_RING: u64 = 0x1_0000;

/// Descriptor flags (Virtio 1.2, 2.7.5).
pub const NEXT: u16 = 1;
/// See [`NEXT`].
pub const WRITE: u16 = 2;
/// See [`NEXT`].
pub const INDIRECT: u16 = 4;

/// How the dirty bitmap counts pages.
const PAGE: usize = 4096;

/// Guest memory for a bench.
pub fn memory() -> Memory {
    // Two pieces, so that what lies over their border is found wrong where somebody takes it for one.
    let half = (RAM / 2) as usize;
    Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), half), (GuestAddress(RAM / 2), half)]).unwrap())
}

/// Makes memory as it was when it was new, by zeroing the pages that are marked dirty: much faster than new memory.
pub fn wipe(memory: &Memory) {
    for region in memory.iter() {
        let bitmap = MmapRegion::bitmap(region);
        for (word, mut pages) in bitmap.get_and_reset().into_iter().enumerate() {
            while pages != 0 {
                let page = word * 64 + pages.trailing_zeros() as usize;
                region.write_slice(&[0; PAGE], MemoryRegionAddress((page * PAGE) as u64)).unwrap();
                pages &= pages - 1;
            }
        }
        bitmap.reset();
    }
}

/// Counts edges.
#[derive(Debug, Default)]
struct Edges(AtomicUsize);

impl IrqLine for Edges {
    fn pulse(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A device on its transport, with memory and an event loop.
#[allow(missing_debug_implementations, reason = "the event loop has none")]
pub struct Bench<D: VirtioDevice<Memory>> {
    transport: VirtioMmio<D, Memory>,
    events: EventManager<Box<dyn MutEventSubscriber + Send>>,
    memory: Memory,
    edges: Arc<Edges>,
    queues: Vec<Ring>,
}

impl<D: VirtioDevice<Memory>> Bench<D> {
    /// Puts a device on the bench, with the subscribers that do its work.
    pub fn new(device: D, workers: Vec<Box<dyn MutEventSubscriber + Send>>) -> Self {
        Self::with_memory(device, workers, memory())
    }

    /// The same with other guest memory, of [`RAM`] bytes at least and all zero: such as other processes can have, for
    /// example, or such as was used before and [wiped](wipe).
    pub fn with_memory(device: D, workers: Vec<Box<dyn MutEventSubscriber + Send>>, memory: Memory) -> Self {
        let edges = Arc::new(Edges::default());
        let mut events = EventManager::new().unwrap();
        for worker in workers {
            events.add_subscriber(worker);
        }
        let transport = VirtioMmio::new(device, Arc::clone(&memory), edges.clone());
        let queues = (0..transport.doorbells().len() as u64)
            .map(|index| Ring::new(Arc::clone(&memory), FIRST_RING + index * RING_ROOM, 16))
            .collect();
        Self { transport, events, memory, edges, queues }
    }

    /// Reads a register of the transport.
    pub fn register(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.transport.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// Writes one.
    pub fn set_register(&mut self, offset: u64, value: u32) {
        let _ = self.transport.write(offset, &value.to_le_bytes());
    }

    /// Reads the configuration space.
    pub fn config<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        let mut data = [0; N];
        self.transport.read(0x100 + offset, &mut data);
        data
    }

    /// Writes to it.
    pub fn set_config(&mut self, offset: u64, data: &[u8]) {
        let _ = self.transport.write(0x100 + offset, data);
    }

    /// The features that are offered.
    pub fn offered(&mut self) -> u64 {
        self.set_register(0x14, 0);
        let low = self.register(0x10);
        self.set_register(0x14, 1);
        u64::from(self.register(0x10)) << 32 | u64::from(low)
    }

    /// Takes the device as a driver does (Virtio 1.2, 3.1.1), with these features of its own and `VERSION_1`, and sets
    /// up all of its queues. Those of a device that was started before are new.
    pub fn start(&mut self, features: u64) {
        self.start_with(features, |_| true);
    }

    /// The same with some of its queues only.
    pub fn start_with(&mut self, features: u64, sets_up: impl Fn(usize) -> bool) {
        self.negotiate(features);
        for index in (0..self.queues.len()).filter(|index| sets_up(*index)) {
            self.set_up(index);
        }
        self.set_register(0x70, 0xf);
    }

    /// Begins to take the device: with the features, without the queues.
    pub fn negotiate(&mut self, features: u64) {
        let features = features | super::feature::VERSION_1;
        self.set_register(0x70, 0);
        self.set_register(0x70, 1);
        self.set_register(0x70, 3);
        for (sel, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.set_register(0x24, sel);
            self.set_register(0x20, half);
        }
        self.set_register(0x70, 0xb);
        assert_eq!(self.register(0x70), 0xb, "the device refuses these features");
        self.queues.iter_mut().for_each(Ring::clear);
    }

    /// Tells the device of a queue.
    pub fn set_up(&mut self, index: usize) {
        let (size, areas) = (self.queues[index].size, self.queues[index].areas());
        self.set_register(0x30, index as u32);
        self.set_register(0x38, size.into());
        for (place, area) in (0..).zip(areas) {
            self.set_register(0x80 + place * 16, area as u32);
            self.set_register(0x84 + place * 16, (area >> 32) as u32);
        }
        self.set_register(0x44, 1);
    }

    /// Resets the device.
    pub fn reset(&mut self) {
        self.set_register(0x70, 0);
    }

    /// The device status; 0x40 is `DEVICE_NEEDS_RESET`.
    pub fn status(&mut self) -> u32 {
        self.register(0x70)
    }

    /// Whether the device has given up until it is reset.
    pub fn needs_reset(&mut self) -> bool {
        self.status() & 0x40 != 0
    }

    /// Rings a queue's doorbell.
    pub fn notify(&mut self, queue: u32) {
        self.set_register(0x50, queue);
    }

    /// Lets the workers work until nothing is left to do at once. Gives the number of interrupts since the last time.
    pub fn run(&mut self) -> usize {
        let mut rounds = 0;
        while self.events.run_with_timeout(0).unwrap() > 0 {
            rounds += 1;
            assert!(rounds < 1_000_000, "the workers find no end");
        }
        self.interrupts()
    }

    /// Lets them work until `done`, waiting for the host where they have to. It is given 20 seconds.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = std::time::Instant::now();
        while !done(self) {
            assert!(start.elapsed().as_secs() < 20, "the device does not come to that");
            self.events.run_with_timeout(10).unwrap();
        }
    }

    /// Interrupts since the last time.
    pub fn interrupts(&mut self) -> usize {
        self.edges.0.swap(0, Ordering::Relaxed)
    }

    /// A queue, by its number.
    pub fn queue(&mut self, index: usize) -> &mut Ring {
        &mut self.queues[index]
    }

    /// The device.
    pub fn device(&self) -> &D {
        self.transport.device()
    }

    /// Guest memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Reads guest memory.
    pub fn read(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.read_slice(&mut data, GuestAddress(addr)).unwrap();
        data
    }

    /// Writes to it.
    pub fn write(&self, addr: u64, data: &[u8]) {
        self.memory.write_slice(data, GuestAddress(addr)).unwrap();
    }
}

/// The driver's side of a split ring: descriptors, then the available ring, then the used ring.
#[derive(Debug)]
pub struct Ring {
    memory: Memory,
    at: u64,
    /// How many descriptors it has; set it before the device is started.
    pub size: u16,
    next_descriptor: u16,
    available: u16,
    used: u16,
}

impl Ring {
    /// Of `size` descriptors, at `at`.
    pub fn new(memory: Memory, at: u64, size: u16) -> Self {
        Self { memory, at, size, next_descriptor: 0, available: 0, used: 0 }
    }

    fn clear(&mut self) {
        (self.next_descriptor, self.available, self.used) = (0, 0, 0);
        // Flags, index, elements, and the index that there is with `EVENT_IDX` (Virtio 1.2, 2.7.8).
        let end = self.areas()[2] + 6 + 8 * u64::from(self.size);
        let room = &[0; RING_ROOM as usize][..(end - self.at).min(RING_ROOM) as usize];
        self.memory.write_slice(room, GuestAddress(self.at)).unwrap();
    }

    /// Descriptor area, driver area, device area.
    pub fn areas(&self) -> [u64; 3] {
        let available = self.at + 16 * u64::from(self.size);
        [self.at, available, (available + 6 + 2 * u64::from(self.size)).next_multiple_of(4)]
    }

    fn put<const N: usize>(&self, at: u64, bytes: [u8; N]) {
        self.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
    }

    fn get(&self, at: u64) -> u32 {
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    /// Writes a descriptor, whatever it says.
    pub fn descriptor(&mut self, index: u16, (addr, len): (u64, u32), flags: u16, next: u16) {
        self.raw_descriptor(self.at + 16 * u64::from(index), (addr, len), flags, next);
    }

    /// The same anywhere in memory: in an indirect table.
    pub fn raw_descriptor(&mut self, at: u64, (addr, len): (u64, u32), flags: u16, next: u16) {
        let tail = u128::from(len) | u128::from(flags) << 32 | u128::from(next) << 48;
        self.put(at, (u128::from(addr) | tail << 64).to_le_bytes());
    }

    /// Puts a descriptor's number into the available ring.
    pub fn make_available(&mut self, head: u16) {
        let ring = self.areas()[1];
        self.put(ring + 4 + 2 * u64::from(self.available % self.size), head.to_le_bytes());
        self.set_available(self.available.wrapping_add(1));
    }

    /// Sets the available ring's index, whatever it says.
    pub fn set_available(&mut self, index: u16) {
        self.available = index;
        self.put(self.areas()[1] + 2, index.to_le_bytes());
    }

    /// Says from which index of the used ring on there are to be interrupts (`EVENT_IDX`).
    pub fn set_used_event(&mut self, index: u16) {
        self.put(self.areas()[1] + 4 + 2 * u64::from(self.size), index.to_le_bytes());
    }

    /// Sets the available ring's flags; 1 asks for no interrupts.
    pub fn set_flags(&mut self, flags: u16) {
        self.put(self.areas()[1], flags.to_le_bytes());
    }

    /// Makes a request available: `(address, length)` of what the device may read, then of what it may write. Gives its
    /// head. Descriptors are taken in order, around the ring: at most a ring's worth can be out at once.
    pub fn add(&mut self, readable: &[(u64, u32)], writable: &[(u64, u32)]) -> u16 {
        let all: Vec<_> = readable
            .iter()
            .map(|part| (*part, 0))
            .chain(writable.iter().map(|part| (*part, WRITE)))
            .collect();
        let head = self.next_descriptor;
        for (place, (part, flags)) in all.iter().enumerate() {
            let index = self.next_descriptor;
            self.next_descriptor = (index + 1) % self.size;
            let next = if place + 1 < all.len() { NEXT } else { 0 };
            self.descriptor(index, *part, flags | next, self.next_descriptor);
        }
        self.make_available(head);
        head
    }

    /// What the device has given back next: its head, and how much was written.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        let ring = self.areas()[2];
        let index = (self.get(ring) >> 16) as u16;
        if index == self.used {
            return None;
        }
        let element = ring + 4 + 8 * u64::from(self.used % self.size);
        self.used = self.used.wrapping_add(1);
        Some((self.get(element) as u16, self.get(element + 4)))
    }
}
