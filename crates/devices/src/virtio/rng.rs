//! Entropy for the guest (Virtio 1.2, 5.4).

use std::fmt;
use std::io::{self, Read};

use event_manager::{EventOps, MutEventSubscriber};
use vm_memory::GuestAddressSpace;

use super::device::read_bytes;
use super::rate::{RateLimits, Throttle};
use super::{Activation, Chain, Doorbell, Post, VirtioDevice, Virtqueue, Wakeup, Worker};

/// How much of a request is served: a driver that wants more asks again. Linux asks for 64 bytes.
const MOST: usize = 4096;

/// The throttle's timer, among the worker's sources.
const TIMER: u32 = 0;

/// An entropy device: what the driver asks for is read from a source, such as `/dev/urandom`.
///
/// A source that fails or ends leaves requests with what there was, perhaps with nothing. The log tells of it once an
/// activation.
pub struct Rng<R, M> {
    post: Post<Filler<R, M>>,
    doorbells: Vec<Doorbell>,
}

impl<R, M> fmt::Debug for Rng<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rng").finish_non_exhaustive()
    }
}

/// The worker.
struct Filler<R, M> {
    source: R,
    chain: Chain,
    active: Option<(M, Virtqueue)>,
    doorbell: Doorbell,
    throttle: Throttle,
    /// Whether the log has been told that the source gives nothing.
    warned: bool,
}

impl<R: Read + Send + 'static, M: GuestAddressSpace + Send + 'static> Rng<R, M> {
    /// A device that gives what it reads from `source`, as fast as the driver asks. A read must not wait.
    ///
    /// # Errors
    ///
    /// What `eventfd(2)` answered.
    pub fn new(source: R) -> io::Result<Self> {
        Self::limited(source, RateLimits::default())
    }

    /// The same at no more than a rate: of bytes as they are asked for, at most 4 KiB a request; of requests. What has
    /// to wait stays in the queue.
    ///
    /// # Errors
    ///
    /// What `eventfd(2)` or `timerfd_create(2)` answered.
    pub fn limited(source: R, limits: RateLimits) -> io::Result<Self> {
        let doorbells = Doorbell::several(1)?;
        let doorbell = Doorbell::clone(doorbells.first().ok_or(io::ErrorKind::NotFound)?);
        let throttle = Throttle::new(limits)?;
        let filler = Filler { source, chain: Chain::new(), active: None, doorbell, throttle, warned: false };
        Ok(Self { post: Post::new(filler)?, doorbells })
    }

    /// What does its work, for an event loop.
    pub fn worker(&self) -> Box<dyn MutEventSubscriber + Send> {
        self.post.subscriber(&self.doorbells)
    }
}

impl<R: Read + Send + 'static, M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for Rng<R, M> {
    fn id(&self) -> u32 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_bytes(&[], offset, data);
    }

    fn activate(&mut self, mut activation: Activation<M>) {
        let queue = activation.queues.pop().flatten();
        let mut filler = self.post.lock();
        filler.active = queue.map(|queue| (activation.memory, queue));
        self.post.call();
    }

    fn reset(&mut self) {
        self.post.lock().active = None;
    }
}

impl<R: Read + Send, M: GuestAddressSpace + Send> Worker for Filler<R, M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.throttle.watch(ops, TIMER);
    }

    fn wake(&mut self, _: Wakeup, _: &mut EventOps<'_>) {
        let Self { source, chain, active: Some((memory, queue)), doorbell, throttle, warned } = self else {
            return;
        };
        let memory = memory.memory();
        let more = queue.serve(&*memory, chain, |queue, chain| {
            let mut bytes = [0; MOST];
            let wanted = usize::try_from(chain.writable().len()).unwrap_or(MOST).min(MOST);
            if !throttle.take(wanted as u64) {
                return false;
            }
            let got = bytes.get_mut(..wanted).map_or(0, |bytes| read(source, bytes, warned));
            let written = chain.writable().write(&*memory, bytes.get(..got).unwrap_or_default());
            queue.push(&*memory, chain.head(), u32::try_from(written).unwrap_or(0));
            true
        });
        queue.signal(&*memory);
        if more {
            doorbell.ring();
        }
    }
}

/// Reads once; gives how many bytes, 0 if there are none to be had.
fn read(source: &mut impl Read, into: &mut [u8], warned: &mut bool) -> usize {
    if into.is_empty() {
        return 0;
    }
    let why = loop {
        match source.read(into) {
            Ok(0) => break io::ErrorKind::UnexpectedEof.into(),
            Ok(got) => return got.min(into.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
    };
    if !std::mem::replace(warned, true) {
        log::warn!("the guest gets no entropy: its source cannot be read: {why}");
    }
    0
}

#[cfg(test)]
#[path = "rng_test.rs"]
mod tests;
