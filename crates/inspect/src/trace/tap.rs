//! The vCPU's side of a trace.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError};

use strata_vmm::vcpu::{Exit, Sync, Synced, Tracer};
use vm_memory::{Bytes, GuestAddress};

use super::event::{Cpu, Event, What};
use super::writer::Shared;
use crate::clock::Clock;

/// Watches one vCPU for a [`Trace`](super::Trace): takes clocks, registers and the instruction's bytes, and never waits.
///
/// Time in the guest is what passes between the end of one exit and the guest's coming back for the next; a kick between the
/// two, and what the machine then waits for, counts as the guest's.
#[derive(Debug)]
pub struct Tap<M> {
    vcpu: u8,
    memory: M,
    shared: Arc<Shared>,
    queue: SyncSender<Event>,
    clock: Clock,
}

impl<M> Tap<M> {
    pub(super) fn new(vcpu: u8, memory: M, shared: Arc<Shared>, queue: SyncSender<Event>) -> Self {
        let clock = Clock::new(shared.start);
        Self { vcpu, memory, shared, queue, clock }
    }
}

impl<M: Bytes<GuestAddress> + Send> Tracer for Tap<M> {
    fn wants(&self) -> Sync {
        self.clock.enter();
        Sync::All
    }

    #[inline]
    fn back(&mut self) {
        self.clock.back();
    }

    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        let times = self.clock.handled();
        if self.shared.wants(self.vcpu, exit) {
            let event = Event {
                vcpu: self.vcpu,
                times,
                what: What::of(exit),
                cpu: synced.state().map(|state| Cpu::of(&self.memory, &state)),
            };
            if let Err(TrySendError::Full(_)) = self.queue.try_send(event) {
                self.shared.dropped.fetch_add(1, Relaxed);
            }
        }
        self.clock.enter();
    }
}
