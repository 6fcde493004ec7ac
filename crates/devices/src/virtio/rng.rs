//! Entropy for the guest (Virtio 1.2, 5.4).

use std::fmt;
use std::io::{self, Read};

use event_manager::{EventOps, MutEventSubscriber};
use vm_memory::GuestAddressSpace;

use super::device::read_bytes;
use super::{Activation, Chain, Doorbell, Post, VirtioDevice, Virtqueue, Wakeup, Worker};

/// How much of a request is served: a driver that wants more asks again. Linux asks for 64 bytes.
const MOST: usize = 4096;

/// An entropy device: what the driver asks for is read from a source, such as `/dev/urandom`.
///
/// A source that fails or ends leaves requests with what there was, perhaps with nothing.
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
}

impl<R: Read + Send + 'static, M: GuestAddressSpace + Send + 'static> Rng<R, M> {
    /// A device that gives what it reads from `source`. A read must not wait.
    ///
    /// # Errors
    ///
    /// What `eventfd(2)` answered.
    pub fn new(source: R) -> io::Result<Self> {
        let doorbells = Doorbell::several(1)?;
        let doorbell = Doorbell::clone(doorbells.first().ok_or(io::ErrorKind::NotFound)?);
        let post = Post::new(Filler { source, chain: Chain::new(), active: None, doorbell })?;
        Ok(Self { post, doorbells })
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
        self.post.lock().active = queue.map(|queue| (activation.memory, queue));
        self.post.call();
    }

    fn reset(&mut self) {
        self.post.lock().active = None;
    }
}

impl<R: Read + Send, M: GuestAddressSpace + Send> Worker for Filler<R, M> {
    fn wake(&mut self, _: Wakeup, _: &mut EventOps<'_>) {
        let Self { source, chain, active: Some((memory, queue)), doorbell } = self else { return };
        let memory = memory.memory();
        let more = queue.serve(&*memory, chain, |queue, chain| {
            let mut bytes = [0; MOST];
            let wanted = usize::try_from(chain.writable().len()).unwrap_or(MOST).min(MOST);
            let got = bytes.get_mut(..wanted).map_or(0, |bytes| read(source, bytes));
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

/// Reads once; gives how many bytes, 0 if that failed.
fn read(source: &mut impl Read, into: &mut [u8]) -> usize {
    source.read(into).unwrap_or_else(|error| {
        log::warn!("the guest's entropy cannot be read: {error}");
        0
    })
}

#[cfg(test)]
#[path = "rng_test.rs"]
mod tests;
