//! A device's side of a split virtqueue.

use std::mem;
use std::sync::atomic::{Ordering, fence};

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Error, Queue, QueueT as _};
use vm_memory::bitmap::BS;
use vm_memory::{
    Address as _, Bytes as _, GuestAddress, GuestMemory, Permissions, VolatileMemory as _, VolatileSlice,
};

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
    /// The available ring's index when it was last looked at: up to there no other look is needed.
    seen: u16,
    /// How much was pushed since the driver was last asked whether it wants to hear of it.
    pushed: u16,
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
        Self { seen: ring.next_avail(), ring, index, interrupt, pushed: 0, broken: false }
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

    // By hand, not by `Queue::iter`: that looks up memory anew for each descriptor, and for the index each time.
    fn try_pop<M: GuestMemory>(&mut self, memory: &M, chain: &mut Chain) -> Result<bool, Wrong> {
        let (size, next) = (self.ring.size(), self.ring.next_avail());
        if next == self.seen {
            self.seen = self.ring.avail_idx(memory, Ordering::Acquire)?.0;
            if next == self.seen {
                return Ok(false);
            }
        }
        if self.seen.wrapping_sub(next) > size {
            return Err(Error::InvalidAvailRingIndex.into());
        }
        // Behind the ring's flags and its index (2.7.6).
        let at = GuestAddress(self.ring.avail_ring()).unchecked_add(4 + 2 * u64::from(next % size));
        let head = u16::from_le(memory.load(at, Ordering::Relaxed).map_err(Error::GuestMemory)?);
        if head >= size {
            return Err(Error::InvalidDescriptorIndex.into());
        }
        self.ring.set_next_avail(next.wrapping_add(1));
        chain.head = head;
        collect(Table::new(memory, GuestAddress(self.ring.desc_table()), size), size, chain)?;
        Ok(true)
    }

    /// Whether requests are left of those that were there at the last look.
    fn has_seen_more(&self) -> bool {
        self.ring.next_avail() != self.seen
    }

    /// Puts the last request back that was popped: the next [`pop`](Self::pop) gives it again.
    pub fn undo_pop(&mut self) {
        self.ring.set_next_avail(self.ring.next_avail().wrapping_sub(1));
    }

    /// Gives a request back to the driver, with the number of bytes written to it.
    pub fn push<M: GuestMemory>(&mut self, memory: &M, head: u16, written: u32) {
        if self.broken {
            return;
        }
        match self.ring.add_used(memory, head, written) {
            Ok(()) => self.pushed = self.pushed.saturating_add(1),
            Err(wrong) => {
                self.break_for(&wrong.into());
            }
        }
    }

    /// Gives several requests back, each with the number of bytes written to it, of which the driver sees all or none:
    /// the parts of one packet (Virtio 1.2, 5.1.6.4.1). They are no more than have been popped and not pushed.
    pub fn push_together<M: GuestMemory>(&mut self, memory: &M, used: impl Iterator<Item = (u16, u32)>) {
        let mut used = used.peekable();
        while let Some((head, written)) = used.next() {
            if used.peek().is_none() {
                // This moves the index, which shows them all.
                return self.push(memory, head, written);
            }
            if self.broken {
                return;
            }
            // An element is the head and the length, 32 bits each, behind the ring's flags and index (2.7.8).
            let next = self.ring.next_used();
            let offset = 4 + 8 * u64::from(next % self.ring.size());
            let element = u64::from(written) << 32 | u64::from(head);
            let at = GuestAddress(self.ring.used_ring().wrapping_add(offset));
            match memory.write_obj(element.to_le(), at) {
                Ok(()) => {
                    self.ring.set_next_used(next.wrapping_add(1));
                    self.pushed = self.pushed.saturating_add(1);
                }
                Err(wrong) => {
                    self.break_for(&Error::GuestMemory(wrong).into());
                }
            }
        }
    }

    /// Interrupts, if the driver wants to hear of what has been pushed since the last time.
    pub fn signal<M: GuestMemory>(&mut self, memory: &M) {
        let pushed = mem::take(&mut self.pushed);
        if self.broken || pushed == 0 {
            return;
        }
        match self.wants_interrupt(memory, pushed) {
            Ok(true) => self.interrupt.used_buffers(self.index),
            Ok(false) => {}
            Err(wrong) => {
                self.break_for(&wrong);
            }
        }
    }

    fn wants_interrupt<M: GuestMemory>(&mut self, memory: &M, pushed: u16) -> Result<bool, Wrong> {
        // What was pushed is there before the driver is asked, or it could have looked for the last time meanwhile.
        fence(Ordering::SeqCst);
        let available = GuestAddress(self.ring.avail_ring());
        // Behind its flags, its index and the ring itself stands the index that the driver waits for (2.7.7.2).
        let event = available.unchecked_add(4 + 2 * u64::from(self.ring.size()));
        let at = if self.ring.event_idx_enabled() { event } else { available };
        let said: u16 = memory.load(at, Ordering::Relaxed).map_err(Error::GuestMemory)?;
        let said = u16::from_le(said);
        Ok(if self.ring.event_idx_enabled() {
            self.ring.next_used().wrapping_sub(said).wrapping_sub(1) < pushed
        } else {
            said & NO_INTERRUPT == 0
        })
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
                if !self.has_seen_more() {
                    break;
                }
            }
            if left == 0 || !self.rearm(memory) {
                return left == 0;
            }
            // A driver may go on making this look worth while.
            left -= 1;
            self.disarm(memory);
        }
    }

    /// Gives `false`, for the callers.
    #[cold]
    fn break_for(&mut self, wrong: &Wrong) -> bool {
        if !mem::replace(&mut self.broken, true) {
            self.interrupt.complain(&format_args!("broke virtqueue {}: {wrong}", self.index));
            self.interrupt.set_needs_reset();
        }
        false
    }
}

/// A table of descriptors: the ring's, or one that a descriptor of it names.
struct Table<'m, M: GuestMemory> {
    memory: &'m M,
    addr: GuestAddress,
    len: u16,
    /// The table, up to where a piece of RAM ends.
    slice: Option<VolatileSlice<'m, BS<'m, M::Bitmap>>>,
}

impl<'m, M: GuestMemory> Table<'m, M> {
    fn new(memory: &'m M, addr: GuestAddress, len: u16) -> Self {
        let slices = memory.get_slices(addr, usize::from(len) * size_of::<Descriptor>(), Permissions::Read);
        let slice = slices.ok().and_then(|mut slices| slices.next()?.ok());
        Self { memory, addr, len, slice }
    }

    /// That which a descriptor names; `None` if its size is none (Virtio 1.2, 2.7.5.3.1).
    fn indirect(memory: &'m M, descriptor: &Descriptor) -> Option<Self> {
        let size = descriptor.len() as usize;
        let len = u16::try_from(size / size_of::<Descriptor>()).ok()?;
        size.is_multiple_of(size_of::<Descriptor>()).then(|| Self::new(memory, descriptor.addr(), len))
    }

    fn get(&self, index: u16) -> Option<Descriptor> {
        if index >= self.len {
            return None;
        }
        let at = usize::from(index) * size_of::<Descriptor>();
        let inside = self.slice.as_ref().and_then(|slice| slice.get_ref::<Descriptor>(at).ok());
        match inside {
            Some(place) => Some(place.load()),
            None => self.memory.read_obj(self.addr.checked_add(at as u64)?).ok(),
        }
    }
}

/// Follows a chain from its head to its end, in a ring of `size` descriptors.
fn collect<M: GuestMemory>(mut table: Table<'_, M>, size: u16, chain: &mut Chain) -> Result<(), Wrong> {
    let memory = table.memory;
    chain.segments.clear();
    chain.readable = 0;
    let (mut next, mut is_indirect) = (chain.head, false);
    let (mut count, mut bytes) = (0, 0_u32);
    // Of an indirect table's, too, there may be no more than the ring has (Virtio 1.2, 2.7.5.3.1).
    while count < size {
        let descriptor = table.get(next).ok_or(Wrong::Unending)?;
        if descriptor.refers_to_indirect_table() {
            // Not in one another.
            table = Table::indirect(memory, &descriptor).filter(|_| !is_indirect).ok_or(Wrong::Unending)?;
            (next, is_indirect) = (0, true);
            continue;
        }
        count += 1;
        // No chain has more than 2^32 bytes (2.7.5.2).
        bytes = bytes.checked_add(descriptor.len()).ok_or(Wrong::Unending)?;
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
        if !descriptor.has_next() {
            return Ok(());
        }
        next = descriptor.next();
    }
    Err(Wrong::Unending)
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
