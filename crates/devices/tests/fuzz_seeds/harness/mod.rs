//! What the fuzz targets do: bytes become what a driver does, well-behaved or not. A function for each device.
//!
//! What an input does depends on nothing but the input.

mod balloon;
mod block;
mod console;
mod net;
mod rng;
mod vsock;

use std::sync::Arc;

use event_manager::MutEventSubscriber;
use strata_devices::virtio::VirtioDevice;
use strata_devices::virtio::testing::{self, Bench, FREE, Memory, RAM};

pub use {balloon::balloon, block::block, console::console, net::net, rng::rng, vsock::vsock};

thread_local! {
    /// For one run after the other: to make it takes longer than to run most inputs.
    static MEMORY: Memory = testing::memory();
}

/// Guest memory, all zero. What ran before has nothing of it any more.
pub fn memory() -> Memory {
    MEMORY.with(|memory| {
        assert_eq!(Arc::strong_count(memory), 1, "somebody keeps guest memory");
        testing::wipe(memory);
        Arc::clone(memory)
    })
}

/// Guest memory as the last run has left it.
pub fn memory_left() -> Memory {
    MEMORY.with(Arc::clone)
}

/// Puts a device on a bench.
pub fn bench<D: VirtioDevice<Memory>>(
    device: D,
    workers: Vec<Box<dyn MutEventSubscriber + Send>>,
) -> Bench<D> {
    Bench::with_memory(device, workers, memory())
}

/// Bytes to be taken from the front. All of it gives `None` at their end.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    bytes: &'a [u8],
    longest: u32,
}

impl<'a> Input<'a> {
    /// These.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, longest: u32::MAX }
    }

    /// Parts of requests that lie in RAM are at most so long, for a device that works long on long ones.
    pub fn with_longest_part(self, longest: u32) -> Self {
        Self { longest, ..self }
    }

    /// So many.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// One.
    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two, as a number.
    pub fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four, as a number.
    pub fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight, as a number.
    pub fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A place in the test's part of memory, near its start, so that several are the same or overlap.
    pub fn place(&mut self) -> Option<u64> {
        Some(FREE + u64::from(self.short()?))
    }

    /// A part of a request: mostly a small one in RAM, sometimes any.
    pub fn part(&mut self) -> Option<(u64, u32)> {
        let (at, len) = self.any_part()?;
        let is_too_long = len > self.longest && u64::from(len) <= RAM;
        Some((at, if is_too_long { len % self.longest } else { len }))
    }

    fn any_part(&mut self) -> Option<(u64, u32)> {
        match self.byte()? {
            0xff => Some((self.long()?, self.word()?)),
            0xfe => Some((self.place()?, self.word()?)),
            0xfd => Some((RAM - u64::from(self.byte()?), self.short()?.into())),
            // In sectors.
            sectors @ 0xf0.. => Some((self.place()?, u32::from(sectors - 0xf0) * 512)),
            len => Some((self.place()?, len.into())),
        }
    }

    /// Up to seven parts.
    pub fn parts(&mut self) -> Option<Vec<(u64, u32)>> {
        let count = self.byte()? % 8;
        (0..count).map(|_| self.part()).collect()
    }
}

/// Does with a device what the bytes say, until they end. `own` does what only this device knows of: a request of its
/// kind, something that happens to its back end.
pub fn drive<D: VirtioDevice<Memory>>(
    bench: &mut Bench<D>,
    input: &mut Input<'_>,
    mut own: impl FnMut(&mut Bench<D>, &mut Input<'_>) -> Option<()>,
) {
    start(bench, u64::MAX, 16);
    while step(bench, input, &mut own).is_some() {}
    bench.run();
}

/// Takes the device as a driver does, with those of these features that it offers.
pub fn start<D: VirtioDevice<Memory>>(bench: &mut Bench<D>, features: u64, size: u16) {
    let features = prepare(bench, features, size);
    bench.start(features);
}

fn prepare<D: VirtioDevice<Memory>>(bench: &mut Bench<D>, features: u64, size: u16) -> u64 {
    for queue in 0..queues(bench) {
        bench.queue(queue).size = size;
    }
    features & bench.offered()
}

fn queues<D: VirtioDevice<Memory>>(bench: &Bench<D>) -> usize {
    bench.device().doorbells().len()
}

fn step<D: VirtioDevice<Memory>>(
    bench: &mut Bench<D>,
    input: &mut Input<'_>,
    own: &mut impl FnMut(&mut Bench<D>, &mut Input<'_>) -> Option<()>,
) -> Option<()> {
    let operation = input.byte()?;
    let queue = usize::from(operation >> 4) % queues(bench);
    match operation & 0xf {
        0 => {
            let (offset, value) = (input.byte()?, input.word()?);
            bench.set_register(offset.into(), value);
        }
        1 => {
            let (offset, count) = (input.short()?, input.byte()? % 16);
            bench.set_config(offset.into(), input.bytes(count.into())?);
        }
        2 => {
            let (features, how) = (input.long()?, input.byte()?);
            let features = prepare(bench, features, 1 << (how % 16 % 9));
            match how >> 4 {
                // Some of the queues only.
                12 | 13 => {
                    let which = input.byte()?;
                    bench.start_with(features, |queue| which >> (queue % 8) & 1 != 0);
                }
                // Not yet: what is written to registers now may make a mess of it.
                14 | 15 => {
                    bench.negotiate(features);
                    (0..queues(bench)).for_each(|queue| bench.set_up(queue));
                }
                _ => bench.start(features),
            }
        }
        // A request as it should be, but for what is in it.
        3 => {
            let (readable, writable) = (input.parts()?, input.parts()?);
            bench.queue(queue).add(&readable, &writable);
        }
        4 => {
            let (index, part, flags, next) = (input.byte()?, input.part()?, input.byte()?, input.byte()?);
            bench.queue(queue).descriptor(index.into(), part, flags.into(), next.into());
        }
        5 => {
            let (at, part, flags, next) = (input.place()?, input.part()?, input.byte()?, input.byte()?);
            bench.queue(queue).raw_descriptor(at, part, flags.into(), next.into());
        }
        6 => bench.queue(queue).make_available(input.byte()?.into()),
        7 => bench.queue(queue).set_available(input.short()?),
        8 => bench.queue(queue).set_used_event(input.short()?),
        9 => bench.queue(queue).set_flags(input.short()?),
        10 => {
            let (at, count) = (input.place()?, input.byte()? % 64);
            bench.write(at, input.bytes(count.into())?);
        }
        11 => {
            let (at, byte) = (u64::from(input.word()?) % RAM, input.byte()?);
            bench.write(at, &[byte]);
        }
        12 => {
            bench.notify(queue as u32);
            bench.run();
        }
        13 => bench.notify(queue as u32),
        14 => {
            match input.byte()? {
                0 => bench.reset(),
                // The driver is ready.
                1 => bench.set_register(0x70, 0xf),
                what => {
                    bench.register(u64::from(what) * 2);
                    bench.config::<8>(what.into());
                }
            }
        }
        _ => own(bench, input)?,
    }
    Some(())
}
