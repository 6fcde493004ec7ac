//! From the host to the guest.

use std::collections::VecDeque;
use std::io;

use vm_memory::bitmap::Bitmap as _;
use vm_memory::{GuestMemory, Permissions};

use super::super::rate::Throttle;
use super::super::{Chain, Virtqueue};
use super::{HEADER, LONGEST, LinkError, NetBackend, USUAL};

/// With so many pieces of memory no more buffers are gathered: a system call takes at most 1,024.
const MOST_SEGMENTS: usize = 128;

/// After a large packet room for another is offered for so many packets.
const LARGE_FOR: u8 = 64;

/// Where `num_buffers` lies in the header (Virtio 1.2, 5.1.6).
const NUM_BUFFERS: u64 = 10;

/// What packets to the guest are like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    /// They may lie in several buffers.
    pub(super) mergeable: bool,
    /// Their checksums must be whole, and the header's flags 0.
    pub(super) checked: bool,
}

/// What has to happen before there is more to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The link gets readable, if it is not already.
    Link,
    /// The link gets readable once more: now it says so and gives nothing.
    Edge,
    /// The guest gives buffers, or time passes.
    Others,
}

/// Whether packets come alone or together.
///
/// To ask for one more than there are is a system call for nothing. While they come alone only one is asked for at a time,
/// but now and then all there are: the more seldom, the more often that was in vain.
#[derive(Debug)]
struct Habit {
    together: bool,
    /// How many have come alone since all were asked for, and how many may.
    alone: u16,
    patience: u16,
}

impl Habit {
    const LEAST_PATIENCE: u16 = 8;
    const MOST_PATIENCE: u16 = 4096;
    const NEW: Self = Self { together: false, alone: 0, patience: Self::LEAST_PATIENCE };

    /// One was asked for, and came.
    fn one_came(&mut self) {
        self.alone += 1;
        self.together = self.alone >= self.patience;
    }

    /// All were asked for, and so many came.
    fn all_came(&mut self, packets: u16) {
        self.together = packets > 1;
        self.alone = 0;
        let patience = if self.together { Self::LEAST_PATIENCE } else { self.patience.saturating_mul(2) };
        self.patience = patience.min(Self::MOST_PATIENCE);
    }
}

/// One direction of a pair.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) queue: Option<Virtqueue>,
    buffers: Buffers,
    /// A packet that is in the buffers, as far as they have room, and in `spill` behind that.
    packet: Option<Packet>,
    spill: Box<[u8]>,
    form: Form,
    throttle: Throttle,
    /// What the last packet costs, which is paid before there is a next one.
    owed: Option<u64>,
    large_for: u8,
    habit: Habit,
    awaits: Awaits,
    complained: bool,
    pub(super) passed: u64,
    pub(super) dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    len: u64,
    /// How much of it lies in the buffers.
    placed: u64,
}

/// Buffers of the guest's that wait for packets.
#[derive(Debug, Default)]
struct Buffers {
    chains: VecDeque<Chain>,
    spare: Vec<Chain>,
    /// How many bytes and pieces they have.
    room: u64,
    segments: usize,
}

impl Buffers {
    /// Takes buffers until there is so much room, or no more of them, or as many as can be. At most `budget` that are
    /// of no use are given back.
    fn gather<M: GuestMemory>(&mut self, memory: &M, queue: &mut Virtqueue, room: u64, budget: &mut u16) {
        while self.room < room && self.may_grow(queue) && *budget > 0 {
            let mut chain = self.spare.pop().unwrap_or_default();
            if !queue.pop(memory, &mut chain) {
                return self.spare.push(chain);
            }
            let len = chain.writable().len();
            if len < HEADER as u64 {
                // It cannot even begin a packet.
                queue.push(memory, chain.head(), 0);
                self.spare.push(chain);
                *budget -= 1;
                continue;
            }
            self.room += len;
            self.segments += chain.writable().segments().count();
            self.chains.push_back(chain);
        }
    }

    fn may_grow(&self, queue: &Virtqueue) -> bool {
        self.segments < MOST_SEGMENTS && self.chains.len() < queue.size().into()
    }

    /// Forgets the first ones.
    fn drop_first(&mut self, count: usize) {
        for chain in self.chains.drain(..count.min(self.chains.len())) {
            self.room -= chain.writable().len();
            self.segments -= chain.writable().segments().count();
            self.spare.push(chain);
        }
    }
}

impl Receiver {
    pub(super) fn new(throttle: Throttle) -> Self {
        Self {
            queue: None,
            buffers: Buffers::default(),
            packet: None,
            spill: vec![0; LONGEST].into(),
            form: Form::default(),
            throttle,
            owed: None,
            large_for: 0,
            habit: Habit::NEW,
            awaits: Awaits::Others,
            complained: false,
            passed: 0,
            dropped: 0,
        }
    }

    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// A queue, or none; whatever was under way is forgotten.
    pub(super) fn set_queue(&mut self, queue: Option<Virtqueue>, form: Form) {
        self.buffers.drop_first(usize::MAX);
        (self.queue, self.form) = (queue, form);
        (self.packet, self.large_for) = (None, 0);
        self.awaits = Awaits::Others;
    }

    /// What it was that the last [`receive`](Self::receive) ended for.
    pub(super) fn awaits(&self) -> Awaits {
        self.awaits
    }

    /// Receives what there is, or one packet if they come alone and the link is watched for more (`is_watched`: for being
    /// readable, not for getting so); at most a ring's worth. `Ok(true)` if there may be more, of which nobody else will
    /// tell.
    ///
    /// # Errors
    ///
    /// The link is lost.
    pub(super) fn receive<M: GuestMemory, B: NetBackend>(
        &mut self,
        memory: &M,
        link: &mut B,
        is_watched: bool,
    ) -> io::Result<bool> {
        let Some(mut queue) = self.queue.take() else { return Ok(false) };
        self.awaits = Awaits::Others;
        let more = self.receive_to(memory, &mut queue, link, is_watched);
        queue.signal(memory);
        self.queue = Some(queue);
        more
    }

    fn receive_to<M: GuestMemory, B: NetBackend>(
        &mut self,
        memory: &M,
        queue: &mut Virtqueue,
        link: &mut B,
        is_watched: bool,
    ) -> io::Result<bool> {
        let mut budget = queue.size();
        let mut is_armed = true;
        let mut received = 0;
        while budget > 0 {
            let room = self.wanted_room();
            if self.buffers.room < room {
                self.buffers.gather(memory, queue, room, &mut budget);
            }
            if self.needs_more_buffers(queue) {
                if !queue.rearm(memory) {
                    return Ok(false);
                }
                // There are some, which came just now.
                (is_armed, budget) = (true, budget.saturating_sub(1));
                continue;
            }
            if is_armed {
                queue.disarm(memory);
                is_armed = false;
            }
            if let Some(packet) = self.packet.take() {
                self.finish(memory, queue, packet);
                budget = budget.saturating_sub(1);
                continue;
            }
            if let Some(owed) = self.owed {
                if !self.throttle.take(owed) {
                    return Ok(false);
                }
                self.owed = None;
            }
            if is_watched && !self.habit.together && received == 1 && !link.has_received() {
                self.habit.one_came();
                self.awaits = Awaits::Link;
                return Ok(false);
            }
            if !self.read(memory, link)? {
                self.habit.all_came(received);
                return Ok(false);
            }
            received += 1;
        }
        Ok(true)
    }

    /// How much room the next packet, or the one at hand, should find.
    fn wanted_room(&self) -> u64 {
        match self.packet {
            // One that cannot be merged has one buffer, whatever its size.
            _ if !self.form.mergeable => 1,
            Some(packet) => packet.len,
            None if self.large_for > 0 => LONGEST as u64,
            None => USUAL,
        }
    }

    /// Whether only the driver can help.
    fn needs_more_buffers(&self, queue: &Virtqueue) -> bool {
        let Some(packet) = self.packet else { return self.buffers.chains.is_empty() };
        // If there can be no more of them, it is dropped.
        self.form.mergeable && self.buffers.room < packet.len && self.buffers.may_grow(queue)
    }

    /// Receives a packet; `false` if there was none.
    fn read<M: GuestMemory, B: NetBackend>(&mut self, memory: &M, link: &mut B) -> io::Result<bool> {
        let into =
            self.buffers.chains.iter().flat_map(|chain| chain.writable().slices(memory, Permissions::Write));
        match link.receive(into, &mut self.spill) {
            Ok(len) => {
                let len = len as u64;
                self.packet = Some(Packet { len, placed: len.min(self.buffers.room) });
                self.large_for = if len > USUAL { LARGE_FOR } else { self.large_for.saturating_sub(1) };
                Ok(true)
            }
            Err(LinkError::NotReady) => {
                self.awaits = Awaits::Link;
                Ok(false)
            }
            Err(LinkError::Packet(error)) => {
                // It may say so again and again.
                self.awaits = Awaits::Edge;
                self.dropped += 1;
                if !std::mem::replace(&mut self.complained, true) {
                    log::warn!("a packet for the guest cannot be received: {error}");
                }
                Ok(false)
            }
            Err(LinkError::Lost(error)) => Err(error),
        }
    }

    /// Gives the packet at hand to the driver, if it fits.
    fn finish<M: GuestMemory>(&mut self, memory: &M, queue: &mut Virtqueue, packet: Packet) {
        self.owed = Some(packet.len);
        let is_packet = (HEADER as u64..=LONGEST as u64).contains(&packet.len);
        if !is_packet || packet.len > self.buffers.room {
            // Its buffers are for the next one.
            self.dropped += 1;
            return;
        }
        let count = self.complete(memory, packet);
        if let Some(first) = self.buffers.chains.front() {
            let header = first.writable();
            if self.form.checked {
                header.write(memory, &[0]);
            }
            header.split_at(NUM_BUFFERS).1.write(memory, &u16::try_from(count).unwrap_or(0).to_le_bytes());
        }
        let mut left = packet.len;
        let used = self.buffers.chains.iter().take(count).map(|chain| {
            let written = left.min(chain.writable().len());
            left -= written;
            (chain.head(), u32::try_from(written).unwrap_or(0))
        });
        queue.push_together(memory, used);
        self.buffers.drop_first(count);
        self.passed += 1;
    }

    /// Copies what was spilled behind the rest and says what has been written; gives how many buffers it all takes.
    fn complete<M: GuestMemory>(&self, memory: &M, Packet { len, placed }: Packet) -> usize {
        let (mut at, mut count) = (0, 0);
        for chain in &self.buffers.chains {
            if at >= len {
                break;
            }
            count += 1;
            let (received, rest) = chain.writable().split_at(placed.saturating_sub(at));
            for slice in received.slices(memory, Permissions::Write) {
                slice.bitmap().mark_dirty(0, slice.len());
            }
            at += received.len();
            if at < len && !rest.is_empty() {
                let from = usize::try_from(at - placed).unwrap_or(usize::MAX);
                let to = usize::try_from(len - placed).unwrap_or(usize::MAX);
                at += rest.write(memory, self.spill.get(from..to).unwrap_or_default()) as u64;
            }
        }
        count
    }
}

#[cfg(test)]
#[path = "receive_test.rs"]
mod tests;
