//! Moves a queue's requests to a disk and its answers back.

use std::mem;
use std::ops::Deref;
use std::sync::atomic::Ordering;

use event_manager::{EventOps, EventSet};
use vm_memory::{Bytes as _, GuestAddress, GuestAddressSpace, GuestMemory};

use super::super::rate::Throttle;
use super::super::{Chain, Doorbell, Virtqueue, Wakeup, Worker, watch};
use super::request::{Place, Range, Request, Status, Terms, parse};
use super::{Completion, Disk, Op, Serial, feature};

/// What is watched besides the doorbell.
const DISK: u32 = 0;
const TIMER: u32 = 1;

/// How often the disk is given operations, and asked for those that have ended, before others have their turn.
const ROUNDS: u32 = 8;

/// The worker of one queue.
pub(super) struct Mover<M, D> {
    active: Option<(M, Virtqueue)>,
    chain: Chain,
    desk: Desk<D>,
    doorbell: Doorbell,
    /// Requests of the ring that wait although nobody will ring for them: the disk was full, or time was to pass.
    is_behind: bool,
}

/// What is known of requests that are in flight.
struct Desk<D> {
    disk: D,
    throttle: Throttle,
    serial: Serial,
    terms: Terms,
    /// Every write is to be durable, for the driver will not flush.
    durable: bool,
    /// By tag.
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// Whether an error of each kind was in the log.
    logged: [bool; 4],
}

/// An operation in flight and, if it is a request's first, the request.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The first operation of its request.
    first: u16,
    kind: Kind,
    head: u16,
    place: Place,
    /// How much of the driver's buffer will have been written if all goes well.
    written: u32,
    /// How many of the request's operations have not ended.
    left: u16,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Flush,
    /// Discard or write zeroes.
    Clear,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Clear => "discard or zero a part of",
        }
    }
}

impl Slot {
    const UNUSED: Self = Self {
        first: 0,
        kind: Kind::Flush,
        head: 0,
        place: Place { status_at: GuestAddress(0), written: 0 },
        written: 0,
        left: 0,
        status: Status::Ok,
    };
}

impl<M: GuestAddressSpace, D: Disk<M::T>> Mover<M, D> {
    pub(super) fn new(disk: D, doorbell: Doorbell, throttle: Throttle, serial: Serial) -> Self {
        let terms = Terms { properties: disk.properties(), may_discard: false, may_write_zeroes: false };
        let depth = disk.depth();
        let desk = Desk {
            disk,
            throttle,
            serial,
            terms,
            durable: true,
            slots: vec![Slot::UNUSED; depth.into()],
            free: (0..depth).rev().collect(),
            logged: [false; 4],
        };
        Self { active: None, chain: Chain::new(), desk, doorbell, is_behind: false }
    }

    pub(super) fn activate(&mut self, memory: M, queue: Virtqueue, features: u64) {
        let desk = &mut self.desk;
        let has = |feature| features & feature != 0;
        desk.terms.may_discard = has(feature::DISCARD);
        desk.terms.may_write_zeroes = has(feature::WRITE_ZEROES);
        desk.durable = !has(feature::FLUSH);
        self.is_behind = true;
        self.active = Some((memory, queue));
    }

    pub(super) fn reset(&mut self) {
        if self.active.is_none() {
            return;
        }
        let desk = &mut self.desk;
        desk.disk.drain();
        desk.free.clear();
        desk.free.extend((0..desk.disk.depth()).rev());
        self.active = None;
    }

    fn work(&mut self) {
        let Self { active: Some((memory, queue)), chain, desk, doorbell, is_behind } = self else { return };
        let memory = memory.memory();
        // However fast the disk is and however much a request wants, others have their turn: on the event loop, and whoever
        // wants to reset the device.
        let (mut turns, mut rounds) = (queue.size(), ROUNDS);
        loop {
            let reaped = desk.reap(&*memory, queue);
            if turns > 0 && mem::take(is_behind) {
                let more = queue.serve(&*memory, chain, |queue, chain| {
                    let takes = turns > 0 && desk.take(&memory, queue, chain);
                    *is_behind |= !takes;
                    turns = turns.saturating_sub(takes.into());
                    takes
                });
                *is_behind |= more;
            }
            let committed = desk.disk.commit();
            // What was reaped has made room for what waits.
            let may_take = reaped && *is_behind && turns > 0;
            if !committed && !may_take {
                break;
            }
            rounds -= 1;
            if rounds == 0 {
                doorbell.ring();
                break;
            }
        }
        if *is_behind && turns == 0 {
            doorbell.ring();
        }
        queue.signal(&*memory);
    }
}

impl<M: GuestAddressSpace + Send, D: Disk<M::T>> Worker for Mover<M, D> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Some(source) = self.desk.disk.source() {
            watch(ops, &source, DISK, EventSet::IN);
        }
        self.desk.throttle.watch(ops, TIMER);
    }

    fn wake(&mut self, why: Wakeup, _: &mut EventOps<'_>) {
        // The disk alone says nothing of the ring.
        self.is_behind |= why != Wakeup::Source(DISK);
        self.work();
    }
}

impl<D> Desk<D> {
    /// Takes a request if that can be now.
    fn take<G>(&mut self, memory: &G, queue: &mut Virtqueue, chain: &Chain) -> bool
    where
        G: Deref<Target: GuestMemory + Sized>,
        D: Disk<G>,
    {
        let Some((request, place)) = parse(chain, &**memory, &self.terms) else {
            // There is no way to say what is wrong with it.
            queue.push(&**memory, chain.head(), 0);
            return true;
        };
        let (bytes, count) = match &request {
            Request::Read { into: data, .. } | Request::Write { from: data, .. } => (data.len(), 1),
            Request::Discard(ranges) => (0, ranges.len()),
            // Where they cannot be made otherwise they are written.
            Request::WriteZeroes(ranges) => {
                let written = ranges.iter().filter(|range| !range.unmap).map(|range| range.len);
                (written.fold(0, u64::saturating_add), ranges.len())
            }
            Request::Flush => (0, 1),
            Request::GetId { .. } | Request::Answer(_) => (0, 0),
        };
        if self.free.len() < count || !self.throttle.take(bytes) {
            return false;
        }
        let status_and = |data: u64| u32::try_from(data + 1).unwrap_or(u32::MAX);
        let slot = Slot { head: chain.head(), place, written: place.written, ..Slot::UNUSED };
        let durable = self.durable;
        match request {
            Request::Read { offset, into } => {
                let written = status_and(into.len());
                let op = Op::Read { offset, into };
                self.submit(Slot { kind: Kind::Read, written, ..slot }, [op].into_iter(), memory);
            }
            Request::Write { offset, from } => {
                let op = Op::Write { offset, from, durable };
                self.submit(Slot { kind: Kind::Write, ..slot }, [op].into_iter(), memory);
            }
            Request::Flush => self.submit(slot, [Op::Flush].into_iter(), memory),
            Request::Discard(ranges) => {
                let ops = ranges.iter().map(|Range { offset, len, .. }| Op::Discard { offset, len });
                self.submit(Slot { kind: Kind::Clear, ..slot }, ops, memory);
            }
            Request::WriteZeroes(ranges) => {
                let op = |Range { offset, len, unmap }| Op::WriteZeroes { offset, len, unmap, durable };
                self.submit(Slot { kind: Kind::Clear, ..slot }, ranges.iter().map(op), memory);
            }
            Request::GetId { into } => {
                let id = into.write(&**memory, self.serial.as_bytes()) as u64;
                // The status counts only if there is no gap before it.
                let written = status_and(id) - u32::from(id < into.len());
                finish(&**memory, queue, &Slot { written, ..slot });
            }
            Request::Answer(status) => finish(&**memory, queue, &Slot { status, ..slot }),
        }
        true
    }

    /// Submits a request's operations. There are tags for them.
    fn submit<'a, G>(&mut self, slot: Slot, ops: impl Iterator<Item = Op<'a>>, memory: &G)
    where
        D: Disk<G>,
    {
        let mut first = None;
        for op in ops {
            let Some(tag) = self.free.pop() else { break };
            let first = *first.get_or_insert(tag);
            if let Some(own) = self.slots.get_mut(usize::from(tag)) {
                *own = Slot { first, left: 0, ..slot };
            }
            if let Some(request) = self.slots.get_mut(usize::from(first)) {
                request.left += 1;
            }
            self.disk.submit(tag, op, memory);
        }
    }

    /// Answers requests whose operations have ended; gives whether any operation has.
    fn reap<G, Mem>(&mut self, memory: &Mem, queue: &mut Virtqueue) -> bool
    where
        D: Disk<G>,
        Mem: GuestMemory,
    {
        let mut reaped = false;
        while let Some(Completion { tag, result }) = self.disk.completed() {
            reaped = true;
            let Some(&Slot { first, kind, .. }) = self.slots.get(usize::from(tag)) else { continue };
            if tag != first {
                self.free.push(tag);
            }
            let Some(request) = self.slots.get_mut(usize::from(first)) else { continue };
            request.left = request.left.saturating_sub(1);
            if let Err(error) = result {
                let unsupported = error.kind() == std::io::ErrorKind::Unsupported;
                request.status = if unsupported { Status::Unsupported } else { Status::IoErr };
                if let Some(logged) = self.logged.get_mut(kind as usize)
                    && !mem::replace(logged, true)
                {
                    log::warn!("the guest's disk cannot be made to {}: {error}", kind.name());
                }
            }
            if request.left == 0 {
                finish(memory, queue, request);
                self.free.push(first);
            }
        }
        reaped
    }
}

/// Answers a request.
fn finish<G: GuestMemory>(memory: &G, queue: &mut Virtqueue, slot: &Slot) {
    // The memory was found to be RAM when the request was taken.
    let _ = memory.store(slot.status as u8, slot.place.status_at, Ordering::Relaxed);
    // Of what a failed request has written nothing is certain but its status.
    queue.push(memory, slot.head, if slot.status == Status::Ok { slot.written } else { slot.place.written });
}

#[cfg(test)]
#[path = "mover_test.rs"]
mod tests;
