//! The worker of a pair of queues.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_manager::{EventOps, EventSet, Events};
use vm_memory::GuestAddressSpace;

use super::super::rate::Throttle;
use super::super::{Chain, Doorbell, Interrupt, Post, Virtqueue, Wakeup, Worker};
use super::receive::{Awaits, Form, Receiver};
use super::transmit::Transmitter;
use super::{LinkError, NetBackend, control, feature};

/// Numbers of what a worker watches.
const LINK: u32 = 0;
const RECEIVE_TIMER: u32 = 1;
const TRANSMIT_TIMER: u32 = 2;

/// Packets that a device, or a pair of it, has passed or dropped since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets given to the guest.
    pub received: u64,
    /// Packets to the guest that were dropped: too long for its buffers, or lost by the host.
    pub not_received: u64,
    /// Packets taken from the guest and sent.
    pub sent: u64,
    /// Packets from the guest that were dropped: refused by the host, not packets, or without a link.
    pub not_sent: u64,
}

/// What a device's pairs have in common.
#[derive(Debug)]
pub(super) struct Link {
    is_up: AtomicBool,
}

impl Link {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { is_up: AtomicBool::new(true) })
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }
}

/// What a pair works with from an activation to the next reset.
pub(super) struct Start<M> {
    pub(super) memory: M,
    pub(super) features: u64,
    pub(super) interrupt: Interrupt,
    pub(super) receive: Option<Virtqueue>,
    pub(super) transmit: Option<Virtqueue>,
    /// The control queue, for the first pair; and for how many pairs it can ask.
    pub(super) control: Option<(Virtqueue, u16)>,
}

/// The worker.
pub(super) struct Pair<B, M> {
    backend: B,
    link: Arc<Link>,
    receiver: Receiver,
    transmitter: Transmitter,
    control: Control<B, M>,
    active: Option<Active<M>>,
    is_enabled: bool,
    complained: bool,
    /// Whether the link is watched, and with what for.
    watched: Option<EventSet>,
    bells: Bells,
}

/// What a worker rings to be woken again, or to wake another.
pub(super) struct Bells {
    pub(super) receive: Doorbell,
    pub(super) transmit: Doorbell,
    pub(super) control: Option<Doorbell>,
}

struct Active<M> {
    memory: M,
    interrupt: Interrupt,
    has_status: bool,
}

/// The control queue, which the first pair serves.
struct Control<B, M> {
    queue: Option<Virtqueue>,
    chain: Chain,
    /// The other pairs. None of them ever locks another, so that this one may lock them.
    others: Vec<Post<Pair<B, M>>>,
    most: u16,
}

impl<B: NetBackend, M: GuestAddressSpace + Send + 'static> Pair<B, M> {
    /// A pair; the first one has the `others`.
    pub(super) fn new(
        backend: B,
        link: Arc<Link>,
        [receive, transmit]: [Throttle; 2],
        bells: Bells,
        others: Vec<Post<Self>>,
    ) -> Self {
        Self {
            backend,
            link,
            receiver: Receiver::new(receive),
            transmitter: Transmitter::new(transmit),
            control: Control { queue: None, chain: Chain::new(), others, most: 0 },
            active: None,
            is_enabled: true,
            complained: false,
            watched: None,
            bells,
        }
    }

    /// The driver has set the device up. `is_first` is true for the pair that is always enabled.
    pub(super) fn start(&mut self, start: Start<M>, is_first: bool) {
        let Start { memory, features, interrupt, receive, transmit, control } = start;
        let has = |feature| features & feature != 0;
        let form = Form { mergeable: has(feature::MRG_RXBUF), checked: !has(feature::GUEST_CSUM) };
        self.receiver.set_queue(receive, form);
        self.transmitter.set_queue(transmit);
        let (queue, most) = control.unzip();
        (self.control.queue, self.control.most) = (queue, most.unwrap_or(0));
        self.active = Some(Active { memory, interrupt, has_status: has(feature::STATUS) });
        if is_first {
            if let Err(error) = self.backend.set_offloads(features & feature::GUEST_OFFLOADS) {
                log::warn!(
                    "the host does not set a network link's offloads, so packets may be lost: {error}"
                );
            }
        } else {
            self.set_enabled(false);
        }
    }

    pub(super) fn stop(&mut self) {
        self.active = None;
        self.receiver.set_queue(None, Form::default());
        self.transmitter.set_queue(None);
        self.control.queue = None;
    }

    /// Has this pair take part, or not; gives whether it does as it should. Not for the first one.
    fn set_enabled(&mut self, enabled: bool) -> bool {
        if let Err(error) = self.backend.set_enabled(enabled) {
            if self.link.is_up() && !std::mem::replace(&mut self.complained, true) {
                log::warn!("the host does not switch a queue of a network link: {error}");
            }
            // One that could not be switched off is not used; one that could not be switched on cannot be.
            self.is_enabled = false;
            return !enabled;
        }
        self.is_enabled = enabled;
        true
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            received: self.receiver.passed,
            not_received: self.receiver.dropped,
            sent: self.transmitter.passed,
            not_sent: self.transmitter.dropped,
        }
    }

    pub(super) fn backend(&self) -> &B {
        &self.backend
    }

    fn can_pass(&self) -> bool {
        self.is_enabled && self.link.is_up()
    }

    fn receive(&mut self) {
        let can_pass = self.can_pass();
        let Some(active) = self.active.as_ref().filter(|_| can_pass) else { return };
        let is_watched = self.watched == Some(EventSet::IN);
        match self.receiver.receive(&*active.memory.memory(), &mut self.backend, is_watched) {
            Ok(true) => self.bells.receive.ring(),
            Ok(false) => {}
            Err(error) => self.lose(&error),
        }
    }

    fn transmit(&mut self) {
        let can_pass = self.can_pass();
        let Some(active) = self.active.as_ref() else { return };
        let link = can_pass.then_some(&mut self.backend);
        if self.transmitter.blocked && can_pass {
            return;
        }
        match self.transmitter.transmit(&*active.memory.memory(), link) {
            Ok(true) => self.bells.transmit.ring(),
            Ok(false) => {}
            Err(error) => {
                self.lose(&error);
                // What is still there is dropped.
                self.bells.transmit.ring();
            }
        }
    }

    /// The link is ready for something.
    fn flush(&mut self) {
        if !self.transmitter.blocked {
            return;
        }
        if self.can_pass() {
            match self.backend.flush() {
                Err(LinkError::NotReady) => return,
                Err(LinkError::Lost(error)) => self.lose(&error),
                Ok(()) | Err(LinkError::Packet(_)) => {}
            }
        }
        self.transmitter.blocked = false;
        self.transmit();
    }

    fn control(&mut self) {
        let Some(Active { memory, .. }) = &self.active else { return };
        let Control { queue: Some(queue), chain, others, most } = &mut self.control else {
            // The driver has this queue as its control queue, and the first pair serves that.
            return;
        };
        let memory = memory.memory();
        let more = queue.serve(&*memory, chain, |queue, chain| {
            let written = control::answer(&*memory, chain, *most, |pairs| {
                let mut all = true;
                for (number, other) in (2..).zip(&*others) {
                    all &= other.lock().set_enabled(number <= pairs);
                    // It watches its descriptor anew, and looks what has come.
                    other.call();
                }
                all
            });
            queue.push(&*memory, chain.head(), written);
            true
        });
        queue.signal(&*memory);
        if let (true, Some(bell)) = (more, &self.bells.control) {
            bell.ring();
        }
    }

    /// The link is lost, for all pairs.
    fn lose(&mut self, why: &io::Error) {
        self.transmitter.blocked = false;
        if !self.link.is_up.swap(false, Ordering::AcqRel) {
            return;
        }
        log::error!("a network link of the guest's is lost: {why}");
        if let Some(Active { interrupt, has_status: true, .. }) = &self.active {
            interrupt.configuration_changed();
        }
    }

    /// Watches the link for what is wanted of it: for being readable, while there are buffers; for edges otherwise, so that
    /// a link that is ready for what nobody wants wakes nobody twice.
    fn watch_link(&mut self, ops: &mut EventOps<'_>, anew: bool) {
        let is_wanted = self.active.is_some() && self.can_pass();
        let wanted = is_wanted.then(|| match (self.transmitter.blocked, self.receiver.awaits()) {
            (true, _) => EventSet::IN | EventSet::OUT | EventSet::EDGE_TRIGGERED,
            (false, Awaits::Link) => EventSet::IN,
            (false, Awaits::Edge) => EventSet::IN | EventSet::EDGE_TRIGGERED,
            (false, Awaits::Others) => EventSet::EDGE_TRIGGERED,
        });
        if self.watched == wanted && !anew {
            return;
        }
        let events = |set| Events::with_data(&self.backend, LINK, set);
        let done = match (self.watched.is_some() && !anew, wanted) {
            (true, Some(set)) => ops.modify(events(set)),
            (_, wanted) => {
                let removed =
                    if self.watched.is_some() { ops.remove(events(EventSet::empty())) } else { Ok(()) };
                removed.and_then(|()| wanted.map_or(Ok(()), |set| ops.add(events(set))))
            }
        };
        if let Err(error) = done {
            log::error!("cannot watch a network link: {error}");
        }
        self.watched = wanted;
    }
}

impl<B: NetBackend, M: GuestAddressSpace + Send + 'static> Worker for Pair<B, M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.receiver.throttle().watch(ops, RECEIVE_TIMER);
        self.transmitter.throttle().watch(ops, TRANSMIT_TIMER);
    }

    fn wake(&mut self, why: Wakeup, ops: &mut EventOps<'_>) {
        match why {
            Wakeup::Called => {
                // One that was switched off and on again is not seen by who watched it before.
                self.watch_link(ops, true);
                self.control();
                self.transmit();
                self.receive();
            }
            Wakeup::Doorbell(0) => {
                // For a driver without several pairs this queue is something else, for which the first worker cares.
                let is_control = self.receiver.queue.is_none() && self.control.others.is_empty();
                match &self.bells.control {
                    Some(control) if is_control => control.ring(),
                    // Otherwise the link tells of what there is for these buffers.
                    _ if self.receiver.awaits() == Awaits::Others => self.receive(),
                    _ => {}
                }
            }
            Wakeup::Source(RECEIVE_TIMER) => self.receive(),
            Wakeup::Doorbell(1) | Wakeup::Source(TRANSMIT_TIMER) => self.transmit(),
            Wakeup::Doorbell(_) => self.control(),
            Wakeup::Source(_) => {
                self.flush();
                self.receive();
            }
        }
        self.watch_link(ops, false);
    }
}
