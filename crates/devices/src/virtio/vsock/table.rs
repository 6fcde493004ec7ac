//! All connections: by ports, by descriptor, and in the order in which they may speak.

use std::collections::{HashMap, VecDeque};
use std::net::Shutdown;

use event_manager::{EventOps, EventSet, Events};

use super::connection::{Connection, Stage};
use super::{MOST_CONNECTIONS, MOST_GREETING, Stream};

/// What is promised to a connection, in bytes: as much as Linux promises, as long as this is the sum; then little.
const PROMISE: u32 = 256 << 10;
const MOST_PROMISED: u32 = 16 << 20;
const SMALL_PROMISE: u32 = 32 << 10;

/// Where the ports begin and end that the host's clients seem to come from.
const FIRST_CLIENT_PORT: u32 = 1 << 30;
const LAST_CLIENT_PORT: u32 = (1 << 31) - 1;

/// A connection's ports: the host's, the guest's.
pub(super) type Ports = (u32, u32);

/// A connection's place, by which its descriptor is watched too.
pub(super) type Slot = u16;

#[derive(Debug)]
pub(super) struct Table<S> {
    slots: Vec<Option<Connection<S>>>,
    free: Vec<Slot>,
    by_ports: HashMap<Ports, Slot>,
    /// Those that have something to say, each once.
    speakers: VecDeque<Slot>,
    greeting: usize,
    /// The sum of all that has been promised beyond the small promises.
    promised: u32,
    next_client_port: u32,
    /// How many connections there have been.
    count: u64,
    /// Those that have ended without the event loop's knowing.
    dead: Vec<S>,
}

impl<S: Stream> Table<S> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_ports: HashMap::new(),
            speakers: VecDeque::new(),
            greeting: 0,
            promised: 0,
            next_client_port: FIRST_CLIENT_PORT,
            count: 0,
            dead: Vec::new(),
        }
    }

    /// The connection with these ports.
    pub(super) fn find(&self, ports: Ports) -> Option<Slot> {
        self.by_ports.get(&ports).copied()
    }

    pub(super) fn get(&mut self, slot: Slot) -> Option<&mut Connection<S>> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    /// Takes a stream in; `None` if there is no place for it, or it cannot be watched.
    pub(super) fn insert(&mut self, stream: S, stage: Stage, ops: &mut EventOps<'_>) -> Option<Slot> {
        let new = Slot::try_from(self.slots.len()).ok().filter(|_| self.slots.len() < MOST_CONNECTIONS);
        let slot = self.free.last().copied().or(new)?;
        let events = Events::with_data(&stream.as_fd(), slot.into(), EventSet::IN | EventSet::EDGE_TRIGGERED);
        if let Err(error) = ops.add(events) {
            log::error!("cannot watch a vsock connection's descriptor: {error}");
            return None;
        }
        self.count += 1;
        let connection = Some(Connection::new(stream, stage, self.count));
        if self.free.pop().is_none() {
            self.slots.push(connection);
        } else if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = connection;
        }
        if stage == Stage::Greeting {
            self.greeting += 1;
        }
        Some(slot)
    }

    /// Makes room for one more that has not said what it wants.
    pub(super) fn make_room_for_greeting(&mut self, ops: &mut EventOps<'_>) {
        if self.greeting < MOST_GREETING {
            return;
        }
        let greeting = (0..).zip(&self.slots).filter_map(|(slot, connection)| {
            let connection = connection.as_ref().filter(|connection| connection.stage == Stage::Greeting)?;
            Some((connection.number, slot))
        });
        if let Some((_, oldest)) = greeting.min() {
            self.close(oldest, ops);
        }
    }

    /// Gives a connection its ports; the guest is to hear of it by this operation.
    pub(super) fn begin(&mut self, slot: Slot, ports: Ports, op: u16) {
        let is_large = self.promised <= MOST_PROMISED - PROMISE;
        let alloc = if is_large { PROMISE } else { SMALL_PROMISE };
        let Some(connection) = self.get(slot) else { return };
        connection.begin(ports, alloc, op);
        if is_large {
            self.promised += PROMISE;
        }
        self.by_ports.insert(ports, slot);
    }

    /// A client has said that it wants this port of the guest's.
    pub(super) fn begin_client(&mut self, slot: Slot, guest_port: u32, op: u16) {
        if let Some(connection) = self.get(slot) {
            connection.stage = Stage::Requested;
            self.greeting -= 1;
        }
        // There are more ports than connections.
        let mut port = self.next_client_port;
        while self.by_ports.contains_key(&(port, guest_port)) {
            port = after(port);
        }
        self.next_client_port = after(port);
        self.begin(slot, (port, guest_port), op);
    }

    /// The guest knows nothing of this connection any more; what it has sent remains to be delivered.
    pub(super) fn linger(&mut self, slot: Slot, ops: &mut EventOps<'_>) {
        let Some(connection) = self.get(slot) else { return };
        connection.linger();
        let ports = (connection.host_port, connection.guest_port);
        self.by_ports.remove(&ports);
        self.silence(slot);
        self.settle(slot, ops);
    }

    /// Ends a connection: whoever is at the other end sees it.
    pub(super) fn close(&mut self, slot: Slot, ops: &mut EventOps<'_>) {
        let Some(connection) = self.slots.get_mut(usize::from(slot)).and_then(Option::take) else { return };
        self.free.push(slot);
        if connection.is_queued {
            self.speakers.retain(|&speaker| speaker != slot);
        }
        match connection.stage {
            Stage::Greeting => self.greeting -= 1,
            Stage::Requested | Stage::Connected => {
                self.by_ports.remove(&(connection.host_port, connection.guest_port));
            }
            Stage::Lingering => {}
        }
        if connection.credit.alloc() == PROMISE {
            self.promised -= PROMISE;
        }
        forget(&connection.stream, ops);
    }

    /// After anything has happened to a connection: watches for what it waits for, lets it speak if it has something to
    /// say, and ends it if it has no more to do.
    pub(super) fn settle(&mut self, slot: Slot, ops: &mut EventOps<'_>) {
        let Some(connection) = self.slots.get_mut(usize::from(slot)).and_then(Option::as_mut) else { return };
        let has_backlog = connection.has_backlog();
        if connection.stage == Stage::Lingering && !has_backlog {
            return self.close(slot, ops);
        }
        if connection.is_watched_for_room != has_backlog {
            let mut set = EventSet::IN | EventSet::EDGE_TRIGGERED;
            set.set(EventSet::OUT, has_backlog);
            // There is an edge at once if there is room already.
            if let Err(error) = ops.modify(Events::with_data(&connection.stream.as_fd(), slot.into(), set)) {
                log::error!("cannot watch a vsock connection's descriptor: {error}");
            }
            connection.is_watched_for_room = has_backlog;
        }
        if !connection.is_queued && connection.wants_to_speak() {
            connection.is_queued = true;
            self.speakers.push_back(slot);
            debug_assert!(self.speakers.len() <= MOST_CONNECTIONS, "each is there once");
        }
    }

    /// Whether anybody has something to say.
    pub(super) fn has_speaker(&self) -> bool {
        !self.speakers.is_empty()
    }

    /// Who is to speak next.
    pub(super) fn next_speaker(&mut self) -> Option<Slot> {
        let slot = self.speakers.pop_front()?;
        if let Some(connection) = self.get(slot) {
            connection.is_queued = false;
        }
        Some(slot)
    }

    /// Lets this one be the next to speak again.
    pub(super) fn speak_again(&mut self, slot: Slot) {
        if let Some(connection) = self.get(slot)
            && !connection.is_queued
        {
            connection.is_queued = true;
            self.speakers.push_front(slot);
        }
    }

    fn silence(&mut self, slot: Slot) {
        if let Some(connection) = self.get(slot)
            && connection.is_queued
        {
            connection.is_queued = false;
            self.speakers.retain(|&speaker| speaker != slot);
        }
    }

    /// Ends all connections where there is no event loop: the other ends see it at once, the descriptors are closed by
    /// [`bury`](Self::bury).
    pub(super) fn end_all(&mut self) {
        for connection in self.slots.drain(..).flatten() {
            let _ = connection.stream.shutdown(Shutdown::Both);
            self.dead.push(connection.stream);
        }
        self.free.clear();
        self.by_ports.clear();
        self.speakers.clear();
        self.greeting = 0;
        self.promised = 0;
    }

    /// Closes what [`end_all`](Self::end_all) has ended.
    pub(super) fn bury(&mut self, ops: &mut EventOps<'_>) {
        for stream in self.dead.drain(..) {
            forget(&stream, ops);
        }
    }
}

/// The event loop must forget a descriptor before it is closed: the next one may have the same number.
fn forget(stream: &impl Stream, ops: &mut EventOps<'_>) {
    if let Err(error) = ops.remove(Events::empty(&stream.as_fd())) {
        log::error!("cannot stop watching a vsock connection's descriptor: {error}");
    }
}

fn after(port: u32) -> u32 {
    if port == LAST_CLIENT_PORT { FIRST_CLIENT_PORT } else { port + 1 }
}
