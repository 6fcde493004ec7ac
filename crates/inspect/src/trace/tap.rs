//! The vCPU's side of a trace.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError};

use strata_vmm::vcpu::{Exit, Sync, Synced, Tracer};
use vm_memory::{Bytes, GuestAddress};

use super::event::{Cpu, Event, What};
use super::writer::Shared;

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
    /// When the guest was entered, in nanoseconds since the trace began.
    entered: Cell<u64>,
    /// When it came back.
    back: u64,
}

impl<M> Tap<M> {
    pub(super) fn new(vcpu: u8, memory: M, shared: Arc<Shared>, queue: SyncSender<Event>) -> Self {
        let entered = Cell::new(shared.now());
        Self { vcpu, memory, shared, queue, entered, back: 0 }
    }
}

impl<M: Bytes<GuestAddress> + Send> Tracer for Tap<M> {
    fn wants(&self) -> Sync {
        // It is asked just before the guest is entered for the first time.
        self.entered.set(self.shared.now());
        Sync::All
    }

    #[inline]
    fn back(&mut self) {
        self.back = self.shared.now();
    }

    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        let handled = self.shared.now();
        if self.shared.wants(self.vcpu, exit) {
            let event = Event {
                vcpu: self.vcpu,
                back: self.back,
                guest: self.back.saturating_sub(self.entered.get()),
                host: handled.saturating_sub(self.back),
                what: What::of(exit),
                cpu: synced.state().map(|state| Cpu::of(&self.memory, &state)),
            };
            if let Err(TrySendError::Full(_)) = self.queue.try_send(event) {
                self.shared.dropped.fetch_add(1, Relaxed);
            }
        }
        self.entered.set(self.shared.now());
    }
}
