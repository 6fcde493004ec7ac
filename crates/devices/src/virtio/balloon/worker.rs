//! Who takes what the guest gives.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use event_manager::EventOps;
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemory};

use super::control::{BalloonStats, Shared};
use super::run::Run;
use super::{PAGE_SIZE, Reclaim, feature};
use crate::virtio::{Activation, Buffer, Chain, Doorbell, Interrupt, Virtqueue, Wakeup, Worker};

/// How much is dealt with at a time: ranges, each piece of a large one for itself, and pieces of lists.
const MOST: usize = 1024;
/// In bytes. To give back a GiB takes a host a quarter of a second; 64 MiB at a time leave others their turn.
const PIECE: u64 = 64 << 10;
/// How many bytes of page numbers are read at once: what Linux gives in one request.
const CHUNK: usize = 1024;
/// How many pieces its pages are, of 4 KiB each: what a chunk counts for.
const CHUNK_PIECES: usize = CHUNK / 4 / 16;
/// How many figures are looked at; there are ten.
const MOST_STATS: usize = 32;

/// The worker.
pub(super) struct Reclaimer<R, M> {
    host: Host<R>,
    shared: Arc<Shared>,
    doorbells: Vec<Doorbell>,
    chain: Chain,
    active: Option<Active<M>>,
    /// The target that the driver has been interrupted for, or has found.
    told: u32,
}

/// Where memory goes, and whether the log has been told that it does not.
struct Host<R> {
    reclaim: R,
    warned: bool,
}

/// From activation to reset.
struct Active<M> {
    memory: M,
    interrupt: Interrupt,
    lanes: Vec<Option<Lane>>,
}

/// A queue and what comes through it.
struct Lane {
    queue: Virtqueue,
    cargo: Cargo,
}

enum Cargo {
    /// Numbers of pages that the guest gives up, and how many bytes of the first request are done.
    Inflate { done: u64 },
    /// Numbers of pages that it takes back: they are its own as soon as it touches them.
    Deflate,
    /// Figures, and the request that is kept until the host wants new ones (5.5.6.3).
    Stats { held: Option<u16> },
    /// Free ranges, and how many bytes of the first request are done.
    Reports { done: u64 },
}

impl<R: Reclaim, M: GuestAddressSpace> Reclaimer<R, M> {
    pub(super) fn new(reclaim: R, shared: Arc<Shared>, doorbells: Vec<Doorbell>) -> Self {
        let host = Host { reclaim, warned: false };
        Self { host, shared, doorbells, chain: Chain::new(), active: None, told: 0 }
    }

    pub(super) fn activate(&mut self, activation: Activation<M>) {
        let features = activation.features;
        let has = |feature| features & feature != 0;
        let lanes = (0..).zip(activation.queues).map(|(index, queue)| {
            let cargo = match index {
                0 => Cargo::Inflate { done: 0 },
                1 => Cargo::Deflate,
                2 if has(feature::STATS_VQ) => Cargo::Stats { held: None },
                // Number 4, says the specification. Drivers that count only the queues they use (Linux among them)
                // take the first that is left. It cannot be another's: there are no hints.
                2..=4 if has(feature::PAGE_REPORTING) => Cargo::Reports { done: 0 },
                _ => return None,
            };
            Some(Lane { queue: queue?, cargo })
        });
        let (memory, interrupt) = (activation.memory, activation.interrupt);
        self.active = Some(Active { memory, interrupt, lanes: lanes.collect() });
    }

    pub(super) fn deactivate(&mut self) {
        self.active = None;
        // The next driver looks for itself.
        self.told = self.shared.num_pages.load(Ordering::Relaxed);
    }
}

impl<R: Reclaim, M: GuestAddressSpace + Send> Worker for Reclaimer<R, M> {
    fn wake(&mut self, why: Wakeup, _: &mut EventOps<'_>) {
        let Self { host, shared, doorbells, chain, active: Some(active), told } = self else { return };
        let target = shared.num_pages.load(Ordering::Relaxed);
        if *told != target {
            *told = target;
            active.interrupt.configuration_changed();
        }
        let memory = active.memory.memory();
        for (index, lane) in active.lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            if matches!(why, Wakeup::Doorbell(rung) if rung != index && rung < doorbells.len()) {
                continue;
            }
            let more = lane.serve(&*memory, chain, host, shared);
            lane.queue.signal(&*memory);
            if more && let Some(doorbell) = doorbells.get(index) {
                doorbell.ring();
            }
        }
    }
}

impl Lane {
    /// Does a bounded amount of work; gives whether there is more.
    fn serve<M: GuestMemory>(
        &mut self,
        memory: &M,
        chain: &mut Chain,
        host: &mut Host<impl Reclaim>,
        shared: &Shared,
    ) -> bool {
        let mut left = MOST;
        let mut unfinished = false;
        let more = match &mut self.cargo {
            Cargo::Stats { held } => return serve_stats(&mut self.queue, held, memory, chain, shared),
            Cargo::Deflate => self.queue.serve(memory, chain, |queue, chain| {
                queue.push(memory, chain.head(), 0);
                true
            }),
            Cargo::Inflate { done } => self.queue.serve(memory, chain, |queue, chain| {
                unfinished = !host.release_numbers(memory, chain.readable(), done, &mut left);
                if !unfinished {
                    *done = 0;
                    queue.push(memory, chain.head(), 0);
                }
                !unfinished
            }),
            Cargo::Reports { done } => self.queue.serve(memory, chain, |queue, chain| {
                // They are for writing (5.5.6.7), and nothing is written; for reading they would be as free.
                unfinished = !host.release_ranges(chain.writable(), done, &mut left);
                if !unfinished {
                    *done = 0;
                    queue.push(memory, chain.head(), 0);
                }
                !unfinished
            }),
        };
        more || unfinished
    }
}

/// Takes figures, and gives the last request back when new ones are wanted.
fn serve_stats<M: GuestMemory>(
    queue: &mut Virtqueue,
    held: &mut Option<u16>,
    memory: &M,
    chain: &mut Chain,
    shared: &Shared,
) -> bool {
    if held.is_some()
        && shared.wants_stats.swap(false, Ordering::AcqRel)
        && let Some(head) = held.take()
    {
        queue.push(memory, head, 0);
    }
    while held.is_none() {
        if queue.pop(memory, chain) {
            let mut entries = [0; BalloonStats::ENTRY * MOST_STATS];
            let len = chain.readable().read(memory, &mut entries);
            if len >= BalloonStats::ENTRY {
                *shared.stats() = Some(BalloonStats::parse(entries.get(..len).unwrap_or_default()));
            }
            *held = Some(chain.head());
            // These are new enough for whoever has asked meanwhile.
            shared.wants_stats.store(false, Ordering::Release);
        } else if !queue.rearm(memory) {
            return false;
        }
    }
    // One request is all that there is to be; if there is another, it is looked at when this one was given back.
    let _ = queue.rearm(memory);
    false
}

impl<R: Reclaim> Host<R> {
    /// Releases the pages whose numbers stand in `numbers`, from the byte `done` on, which it moves. `false` if `left` is
    /// used up before they are.
    fn release_numbers<M: GuestMemory>(
        &mut self,
        memory: &M,
        numbers: Buffer<'_>,
        done: &mut u64,
        left: &mut usize,
    ) -> bool {
        let mut run = Run::default();
        let mut bytes = [0; CHUNK];
        loop {
            if *left == 0 {
                self.release(run.into_pages());
                return false;
            }
            *left = left.saturating_sub(CHUNK_PIECES);
            let len = numbers.split_at(*done).1.read(memory, &mut bytes);
            *done += len as u64;
            for number in bytes.get(..len).unwrap_or_default().chunks_exact(4) {
                let number = number.try_into().map_or(0, u32::from_le_bytes);
                if let released @ Some(_) = run.add(u64::from(number) * PAGE_SIZE, PAGE_SIZE) {
                    self.release(released);
                    *left = left.saturating_sub(1);
                }
            }
            if len < CHUNK {
                self.release(run.into_pages());
                return true;
            }
        }
    }

    /// The same for ranges.
    fn release_ranges(&mut self, ranges: Buffer<'_>, done: &mut u64, left: &mut usize) -> bool {
        let mut run = Run::default();
        for range in ranges.split_at(*done).1.segments() {
            if *left == 0 {
                self.release(run.into_pages());
                return false;
            }
            let len = u64::from(range.len).min(*left as u64 * PIECE);
            *left -= usize::try_from(len.div_ceil(PIECE)).unwrap_or(*left).min(*left);
            *done += len;
            let released = run.add(range.addr.0, len);
            self.release(released);
        }
        self.release(run.into_pages());
        true
    }

    fn release(&mut self, pages: Option<(GuestAddress, u64)>) {
        let Some((start, len)) = pages else { return };
        if let Err(error) = self.reclaim.release(start, len)
            && !std::mem::replace(&mut self.warned, true)
        {
            log::warn!(
                "the guest gives up {len:#x} bytes at {:#x}, and the host cannot have them: {error}",
                start.0
            );
        }
    }
}
