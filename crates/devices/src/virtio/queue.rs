//! A device's side of a split virtqueue.

use std::mem;

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Error, Queue, QueueOwnedT as _, QueueT as _};
use vm_memory::{Bytes as _, GuestAddress, GuestMemory, Permissions};

use super::{Chain, Interrupt, Segment};

/// The driver does not want to be interrupted (Virtio 1.2, 2.7.6); for drivers without
/// [`EVENT_IDX`](super::feature::EVENT_IDX).
const NO_INTERRUPT: u16 = 1;

/// A split virtqueue that a driver has set up (Virtio 1.2, 2.7), over rust-vmm's `virtio-queue`.
///
/// None of its methods fails: a ring that is wrong is broken from then on, which the driver is told with
/// `DEVICE_NEEDS_RESET`, and stays as if it were empty.
#[derive(Debug)]
pub struct Virtqueue {
    ring: Queue,
    index: u16,
    interrupt: Interrupt,
    /// Whether anything was pushed since the driver was last asked whether it wants to hear of it.
    pushed: bool,
    broken: bool,
}

/// What is wrong with a ring or a chain.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Ring(#[from] Error),
    #[error("its descriptors are more than the ring has, are in a loop, or cannot be read")]
    Unending,
    #[error("a descriptor names {len} bytes at {addr:#x}, where there is no RAM")]
    NoRam { addr: u64, len: u32 },
    #[error("a descriptor for reading comes behind one for writing")]
    Order,
}

impl Virtqueue {
    /// A ring that is ready and has been found valid.
    pub(super) fn new(ring: Queue, index: u16, interrupt: Interrupt) -> Self {
        Self { ring, index, interrupt, pushed: false, broken: false }
    }

    /// Its number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// How many descriptors it has.
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Where its three parts lie: descriptors, available ring, used ring. For back ends in other processes.
    pub fn addresses(&self) -> [GuestAddress; 3] {
        [self.ring.desc_table(), self.ring.avail_ring(), self.ring.used_ring()].map(GuestAddress)
    }

    /// Whether the driver has broken it.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Fills `chain` with the next request; `false` if there is none.
    pub fn pop<M: GuestMemory>(&mut self, memory: &M, chain: &mut Chain) -> bool {
        if self.broken {
            return false;
        }
        match self.try_pop(memory, chain) {
            Ok(popped) => popped,
            Err(wrong) => self.break_for(&wrong),
        }
    }

    fn try_pop<M: GuestMemory>(&mut self, memory: &M, chain: &mut Chain) -> Result<bool, Wrong> {
        let size = self.ring.size();
        let Some(descriptors) = self.ring.iter(memory)?.next() else {
            return Ok(false);
        };
        if descriptors.head_index() >= size {
            return Err(Error::InvalidDescriptorIndex.into());
        }
        collect(memory, descriptors, size, chain)?;
        Ok(true)
    }

    /// Puts the last request back that was popped: the next [`pop`](Self::pop) gives it again.
    pub fn undo_pop(&mut self) {
        self.ring.go_to_previous_position();
    }

    /// Gives a request back to the driver, with the number of bytes written to it.
    pub fn push<M: GuestMemory>(&mut self, memory: &M, head: u16, written: u32) {
        if self.broken {
            return;
        }
        match self.ring.add_used(memory, head, written) {
            Ok(()) => self.pushed = true,
            Err(wrong) => {
                self.break_for(&wrong.into());
            }
        }
    }

    /// Interrupts, if the driver wants to hear of what has been pushed since the last time.
    pub fn signal<M: GuestMemory>(&mut self, memory: &M) {
        if self.broken || !mem::take(&mut self.pushed) {
            return;
        }
        match self.wants_interrupt(memory) {
            Ok(true) => self.interrupt.used_buffers(self.index),
            Ok(false) => {}
            Err(wrong) => {
                self.break_for(&wrong);
            }
        }
    }

    fn wants_interrupt<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, Wrong> {
        // This has the fence between what was pushed and what the driver says.
        let wanted = self.ring.needs_notification(memory)?;
        if self.ring.event_idx_enabled() {
            return Ok(wanted);
        }
        let flags: u16 = memory
            .load(GuestAddress(self.ring.avail_ring()), std::sync::atomic::Ordering::Relaxed)
            .map_err(Error::GuestMemory)?;
        Ok(u16::from_le(flags) & NO_INTERRUPT == 0)
    }

    /// Asks the driver to ring at the next request; `true` if there is one already.
    #[must_use]
    pub fn rearm<M: GuestMemory>(&mut self, memory: &M) -> bool {
        if self.broken {
            return false;
        }
        match self.ring.enable_notification(memory) {
            Ok(more) => more,
            Err(wrong) => self.break_for(&wrong.into()),
        }
    }

    /// Asks the driver not to ring; a hint. Without it a worker that is busy is woken for what it would find
    /// anyway.
    pub fn disarm<M: GuestMemory>(&mut self, memory: &M) {
        if !self.broken
            && let Err(wrong) = self.ring.disable_notification(memory)
        {
            self.break_for(&wrong.into());
        }
    }

    /// Hands every request to `take`, at most a ring's worth, then asks the driver to ring at the next one.
    ///
    /// `take` gives `false` if it cannot have this one now: it is put back, and this ends without asking. Otherwise
    /// `true` is returned if there is more, for which the worker rings its own
    /// [`Doorbell`](super::Doorbell), so that others on its event loop have their turn.
    #[must_use]
    pub fn serve<M: GuestMemory>(
        &mut self,
        memory: &M,
        chain: &mut Chain,
        mut take: impl FnMut(&mut Self, &Chain) -> bool,
    ) -> bool {
        let mut left = self.size();
        self.disarm(memory);
        loop {
            while left > 0 && self.pop(memory, chain) {
                if !take(self, chain) {
                    self.undo_pop();
                    return false;
                }
                left -= 1;
            }
            if left == 0 || !self.rearm(memory) {
                return left == 0;
            }
            self.disarm(memory);
        }
    }

    /// Gives `false`, for the callers.
    #[cold]
    fn break_for(&mut self, wrong: &Wrong) -> bool {
        if !mem::replace(&mut self.broken, true) {
            log::warn!("the guest's driver broke virtqueue {}: {wrong}", self.index);
            self.interrupt.set_needs_reset();
        }
        false
    }
}

/// Follows a chain to its end.
fn collect<M: GuestMemory>(
    memory: &M,
    descriptors: DescriptorChain<&M>,
    size: u16,
    chain: &mut Chain,
) -> Result<(), Wrong> {
    chain.head = descriptors.head_index();
    chain.segments.clear();
    chain.readable = 0;
    let (mut count, mut ended) = (0, false);
    for descriptor in descriptors {
        // Of an indirect table's too (Virtio 1.2, 2.7.5.3.1).
        count += 1;
        if count > size {
            break;
        }
        ended = !descriptor.has_next();
        let is_for_reading = !descriptor.is_write_only();
        if is_for_reading && chain.readable < chain.segments.len() {
            return Err(Wrong::Order);
        }
        if let Some(segment) = segment(memory, descriptor)? {
            chain.segments.push(segment);
        }
        if is_for_reading {
            chain.readable = chain.segments.len();
        }
    }
    // The iterator ends where it cannot go on; that was the end of the chain only if the last one said so.
    if ended && count <= size { Ok(()) } else { Err(Wrong::Unending) }
}

/// What a descriptor names; `None` for nothing.
fn segment<M: GuestMemory>(memory: &M, descriptor: Descriptor) -> Result<Option<Segment>, Wrong> {
    let (addr, len) = (descriptor.addr(), descriptor.len());
    if len == 0 {
        return Ok(None);
    }
    let access = if descriptor.is_write_only() { Permissions::Write } else { Permissions::Read };
    if !memory.check_range(addr, len as usize, access) {
        return Err(Wrong::NoRam { addr: addr.0, len });
    }
    Ok(Some(Segment { addr, len }))
}

#[cfg(test)]
#[path = "queue_test.rs"]
mod tests;
