//! Who moves the packets.

use event_manager::{EventOps, EventSet};
use vm_memory::GuestAddressSpace;

use super::super::{Chain, Doorbell, Virtqueue, Wakeup, Worker, watch};
use super::switch::{Clients, Switch};
use super::table::Slot;
use super::{Host, RX, TX};

/// The listener's number among what is watched; those of connections are their slots.
const LISTENER: u32 = 1 << 30;

/// What there is from `DRIVER_OK` to the next reset.
#[derive(Debug)]
pub(super) struct Active<M> {
    pub(super) memory: M,
    pub(super) rx: Virtqueue,
    pub(super) tx: Virtqueue,
}

/// The worker.
pub(super) struct Carrier<M, H: Host> {
    switch: Switch<H>,
    active: Option<Active<M>>,
    chain: Chain,
    doorbells: Vec<Doorbell>,
    /// There may be clients that no edge tells of.
    has_clients: bool,
    /// There may be packets from the guest that no doorbell tells of.
    has_packets: bool,
}

impl<M, H: Host> Carrier<M, H> {
    pub(super) fn new(cid: u64, host: H, doorbells: &[Doorbell]) -> Self {
        Self {
            switch: Switch::new(cid, host),
            active: None,
            chain: Chain::new(),
            doorbells: doorbells.to_vec(),
            has_clients: false,
            has_packets: false,
        }
    }

    pub(super) fn activate(&mut self, active: Option<Active<M>>) {
        self.active = active;
        self.has_packets = true;
    }

    pub(super) fn reset(&mut self) {
        self.active = None;
        self.switch.reset();
    }

    fn ring(&self, queue: usize) {
        if let Some(doorbell) = self.doorbells.get(queue) {
            doorbell.ring();
        }
    }
}

impl<M: GuestAddressSpace + Send, H: Host> Carrier<M, H> {
    /// Takes what the guest sends.
    fn take_packets(&mut self, ops: &mut EventOps<'_>) {
        let Self { switch, active: Some(active), chain, .. } = self else { return };
        let memory = active.memory.memory();
        self.has_packets = active.tx.serve(&*memory, chain, |queue, chain| {
            if switch.is_overwhelmed() {
                return false;
            }
            switch.take(&*memory, chain.readable(), ops);
            queue.push(&*memory, chain.head(), 0);
            true
        });
        active.tx.signal(&*memory);
        self.has_packets |= self.switch.is_overwhelmed();
    }

    /// Gives the guest what there is for it, at most a ring's worth.
    fn give_packets(&mut self, ops: &mut EventOps<'_>) {
        let Self { switch, active: Some(Active { memory, rx, .. }), chain, .. } = self else { return };
        let memory = memory.memory();
        let mut left = rx.size();
        // Of new buffers it hears only while it waits for one.
        rx.disarm(&*memory);
        while switch.has_packet() {
            if left == 0 {
                self.ring(RX);
                break;
            }
            if !rx.pop(&*memory, chain) {
                if !rx.rearm(&*memory) {
                    break;
                }
                rx.disarm(&*memory);
                continue;
            }
            left -= 1;
            match switch.give(&*memory, chain.writable(), ops) {
                Some(written) => rx.push(&*memory, chain.head(), written),
                None => rx.undo_pop(),
            }
        }
        if let Some(active) = &mut self.active {
            active.rx.signal(&*memory);
        }
    }
}

impl<M: GuestAddressSpace + Send, H: Host> Worker for Carrier<M, H> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Some(listener) = self.switch.host().listener() {
            watch(ops, &listener, LISTENER, EventSet::IN);
        }
    }

    fn wake(&mut self, why: Wakeup, ops: &mut EventOps<'_>) {
        self.switch.bury(ops);
        match why {
            Wakeup::Doorbell(TX) => self.has_packets = true,
            Wakeup::Source(LISTENER) => self.has_clients = true,
            Wakeup::Source(number) => {
                if let Ok(slot) = Slot::try_from(number) {
                    self.switch.stir(slot, ops);
                }
            }
            Wakeup::Called | Wakeup::Doorbell(_) => {}
        }
        if self.has_clients {
            let others = self.switch.accept(self.active.is_some(), ops);
            self.has_clients = others != Clients::None;
            if others == Clients::More {
                self.ring(RX);
            }
        }
        if self.has_packets {
            self.take_packets(ops);
        }
        self.give_packets(ops);
        // What could not be taken for want of buffers may be now.
        if self.has_packets && self.active.is_some() && !self.switch.is_overwhelmed() {
            self.ring(TX);
        }
    }
}
