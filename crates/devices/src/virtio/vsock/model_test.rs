//! Any packets and any doings of the host against a simple model.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::packet::{op, shutdown};
use super::testing::{Guest, Packet, Pairs};

/// Few ports, so that they meet.
const PORTS: u32 = 3;

/// What happens next. A connection is chosen by a number, among those that there are.
#[derive(Debug, Clone)]
enum Step {
    /// The guest connects from this port to port 80.
    Connect(u32),
    /// A client of the host's connects to this port, and the guest accepts that or not.
    Client(u32, bool),
    /// The guest sends as many bytes, if it may.
    Send(usize, usize),
    /// The guest's program takes as many bytes, and says so or not.
    Take(usize, usize, bool),
    /// The host's program sends.
    HostSends(usize, usize),
    /// It reads all.
    HostReads(usize),
    HostShuts(usize),
    HostCloses(usize),
    GuestShuts(usize, u32),
    GuestResets(usize),
    /// The guest gives as many buffers.
    Buffers(usize),
    /// Something that no driver sends.
    Nonsense(u16, u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..4_usize;
    prop_oneof![
        2 => (0..PORTS).prop_map(Step::Connect),
        2 => (0..PORTS, any::<bool>()).prop_map(|(port, accepted)| Step::Client(port, accepted)),
        6 => (which.clone(), 0..50_000_usize).prop_map(|(which, len)| Step::Send(which, len)),
        6 => (which.clone(), 0..20_000_usize, any::<bool>()).prop_map(|(a, b, c)| Step::Take(a, b, c)),
        6 => (which.clone(), 1..50_000_usize).prop_map(|(which, len)| Step::HostSends(which, len)),
        6 => which.clone().prop_map(Step::HostReads),
        1 => which.clone().prop_map(Step::HostShuts),
        1 => which.clone().prop_map(Step::HostCloses),
        1 => (which.clone(), 0..4_u32).prop_map(|(which, flags)| Step::GuestShuts(which, flags)),
        1 => which.prop_map(Step::GuestResets),
        6 => (1..30_usize).prop_map(Step::Buffers),
        1 => (0..10_u16, 0..PORTS, 70..90_u32).prop_map(|(op, from, to)| Step::Nonsense(op, from, to)),
    ]
}

/// A connection as its two ends see it.
struct Model {
    guest_port: u32,
    host_port: u32,
    /// The host's end; `None` when it is closed.
    end: Option<UnixStream>,
    /// Whether the guest knows of it, and has not said that it is done.
    is_known: bool,
    is_accepted: bool,
    /// Whether all that one side sends must reach the other.
    is_sound: bool,
    guest_shut: u32,
    host_shut_seen: u32,
    host_is_done: bool,
    /// What the guest keeps for it, what it was sent, and how much of that it has taken and said so.
    buf_alloc: u32,
    received: usize,
    taken: usize,
    said: usize,
    /// What the guest sent, what the device has said that it has passed on, what it keeps.
    sent: usize,
    passed: u32,
    promise: u32,
    /// What the host's program sent and read.
    host_sent: usize,
    host_read: usize,
}

impl Model {
    fn new(guest_port: u32, host_port: u32, end: UnixStream, buf_alloc: u32) -> Self {
        Self {
            guest_port,
            host_port,
            end: Some(end),
            is_known: true,
            is_accepted: false,
            is_sound: true,
            guest_shut: 0,
            host_shut_seen: 0,
            host_is_done: false,
            buf_alloc,
            received: 0,
            taken: 0,
            said: 0,
            sent: 0,
            passed: 0,
            promise: 0,
            host_sent: 0,
            host_read: 0,
        }
    }

    fn packet(&self, op: u16) -> Packet {
        let fwd_cnt = u32::try_from(self.said).unwrap();
        Packet { buf_alloc: self.buf_alloc, fwd_cnt, ..Packet::new(op, self.guest_port, self.host_port) }
    }
}

/// The byte at a place of a stream, which says where it belongs.
fn byte(salt: u32, at: usize) -> u8 {
    ((at * 7 + at / 256) as u32 + salt) as u8
}

fn bytes(salt: u32, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| byte(salt, at)).collect()
}

struct World {
    guest: Guest<Pairs>,
    host: Pairs,
    connections: Vec<Model>,
    /// Clients whose request has not reached the guest yet: the port they want, whether it accepts.
    clients: Vec<(u32, bool, UnixStream)>,
    /// What the guest is still to send.
    queue: VecDeque<Packet>,
    buffers: usize,
}

impl World {
    fn new() -> Self {
        let host = Pairs::new().unwrap();
        let guest = Guest::new(host.clone());
        let (connections, clients, queue) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { guest, host, connections, clients, queue, buffers: 0 }
    }

    fn known(&mut self, which: usize) -> Option<&mut Model> {
        let mut known: Vec<_> =
            self.connections.iter_mut().filter(|model| model.is_known && model.is_accepted).collect();
        let count = known.len();
        (count > 0).then(|| known.swap_remove(which % count))
    }

    fn with_end(&mut self, which: usize) -> Option<&mut Model> {
        let mut open: Vec<_> = self.connections.iter_mut().filter(|model| model.end.is_some()).collect();
        let count = open.len();
        (count > 0).then(|| open.swap_remove(which % count))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Connect(port) => self.connect(port),
            Step::Client(port, accepted) => {
                let end = self.host.client(port);
                self.clients.push((port, accepted, end));
            }
            Step::Send(which, len) => self.send(which, len),
            Step::Take(which, len, says) => {
                let Some(model) = self.known(which) else { return };
                model.taken = (model.taken + len).min(model.received);
                if says {
                    model.said = model.taken;
                    let packet = model.packet(op::CREDIT_UPDATE);
                    self.queue.push_back(packet);
                }
            }
            Step::HostSends(which, len) => {
                let Some(model) = self.with_end(which).filter(|model| !model.host_is_done) else { return };
                let bytes = bytes(model.guest_port + 1, model.host_sent, len);
                let mut end = model.end.as_ref().unwrap();
                model.host_sent += end.write(&bytes).unwrap_or(0);
            }
            Step::HostReads(which) => {
                if let Some(model) = self.with_end(which) {
                    host_reads(model);
                }
            }
            Step::HostShuts(which) => {
                if let Some(model) = self.with_end(which) {
                    model.host_is_done = true;
                    let _ = model.end.as_ref().unwrap().shutdown(Shutdown::Write);
                }
            }
            Step::HostCloses(which) => {
                if let Some(model) = self.with_end(which) {
                    // What it has not read is lost, and with it perhaps what it has sent.
                    model.is_sound = false;
                    model.end = None;
                }
            }
            Step::GuestShuts(which, flags) => {
                let Some(model) = self.known(which) else { return };
                model.guest_shut |= flags;
                model.is_known = model.guest_shut != shutdown::BOTH;
                let packet = Packet { flags, ..model.packet(op::SHUTDOWN) };
                self.queue.push_back(packet);
            }
            Step::GuestResets(which) => {
                let Some(model) = self.known(which) else { return };
                (model.is_known, model.is_sound) = (false, false);
                let packet = model.packet(op::RST);
                self.queue.push_back(packet);
            }
            Step::Buffers(count) => {
                let count = count.min(60 - self.buffers);
                self.buffers += count;
                self.guest.give(count);
            }
            Step::Nonsense(op, from, to) if to != 80 => {
                let packet = Packet::new(op, from, to).with(b"nonsense");
                // A request would be answered.
                self.queue.push_back(if op == op::REQUEST { packet } else { Packet { len: 4, ..packet } });
                if op == op::REQUEST {
                    self.queue.push_back(Packet::new(op::RST, from, to));
                }
            }
            Step::Nonsense(..) => {}
        }
    }

    fn connect(&mut self, port: u32) {
        // As long as the guest knows of one from this port it uses another one.
        if self.connections.iter().any(|model| model.guest_port == port && model.is_known) {
            return;
        }
        self.pump();
        let buf_alloc = 10_000 + port * 30_000;
        self.guest.send(&Packet { buf_alloc, ..Packet::new(op::REQUEST, port, 80) });
        let (_, end) = self.host.server().unwrap();
        self.connections.push(Model::new(port, 80, end, buf_alloc));
    }

    fn send(&mut self, which: usize, len: usize) {
        let Some(model) = self.known(which).filter(|model| model.guest_shut & shutdown::SEND == 0) else {
            return;
        };
        let in_flight = u32::try_from(model.sent).unwrap().wrapping_sub(model.passed);
        let len = len.min((model.promise - in_flight) as usize);
        let packet = model.packet(op::RW).with(&bytes(model.guest_port, model.sent, len));
        model.sent += len;
        self.queue.push_back(packet);
    }

    /// Lets everything move until nothing does.
    fn pump(&mut self) {
        loop {
            self.guest.bench.run();
            while let Some((_, stream)) = self.host.server() {
                // Of a request that was nonsense.
                drop(stream);
            }
            let mut moved = false;
            while let Some(packet) = self.guest.receive() {
                self.buffers -= 1;
                moved = true;
                self.receive(&packet);
            }
            if let Some(packet) = self.queue.pop_front() {
                self.guest.post(&packet.bytes(), &[]);
                self.guest.bench.run();
                moved = true;
                // One at a time; the flood that is not taken is another test's.
                if self.guest.bench.queue(1).used().is_none() {
                    self.guest.give(1);
                    self.buffers += 1;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn receive(&mut self, packet: &Packet) {
        assert_eq!((packet.src_cid, packet.dst_cid, packet.kind), (2, 3, 1));
        let ports = (packet.dst_port, packet.src_port);
        if packet.op == op::REQUEST {
            return self.accept(packet);
        }
        let found = self
            .connections
            .iter_mut()
            .find(|model| (model.guest_port, model.host_port) == ports && model.is_known);
        let Some(model) = found else {
            // Of one that the guest has ended while this was under way.
            return;
        };
        if packet.op != op::RST {
            model.passed = packet.fwd_cnt;
            model.promise = packet.buf_alloc;
            assert!(packet.fwd_cnt as usize <= model.sent, "no more is passed on than was sent");
        }
        match packet.op {
            op::RESPONSE => model.is_accepted = true,
            op::RST => {
                assert!(!model.is_sound, "no reason to reset {ports:?}");
                model.is_known = false;
            }
            op::RW => {
                let expected = bytes(model.guest_port + 1, model.received, packet.payload.len());
                assert_eq!(packet.len as usize, expected.len());
                assert!(packet.payload == expected, "bytes in order");
                assert_eq!(model.host_shut_seen & shutdown::SEND, 0, "none after the end");
                model.received += expected.len();
                assert!(model.received - model.said <= model.buf_alloc as usize, "more than credit");
            }
            op::SHUTDOWN => {
                if packet.flags & shutdown::SEND != 0 && model.is_sound {
                    assert_eq!(model.received, model.host_sent, "all of it came");
                }
                model.host_shut_seen |= packet.flags;
            }
            op::CREDIT_UPDATE | op::CREDIT_REQUEST => {}
            other => panic!("operation {other}"),
        }
    }

    fn accept(&mut self, packet: &Packet) {
        let place = self.clients.iter().position(|(port, ..)| *port == packet.dst_port);
        let (port, accepted, end) = self.clients.remove(place.unwrap());
        let buf_alloc = 20_000;
        let mut model = Model::new(port, packet.src_port, end, buf_alloc);
        model.promise = packet.buf_alloc;
        model.is_accepted = accepted;
        model.is_known = accepted;
        self.queue.push_back(model.packet(if accepted { op::RESPONSE } else { op::RST }));
        if accepted {
            self.connections.push(model);
        }
    }
}

/// The host's program reads all there is.
fn host_reads(model: &mut Model) {
    let mut end = model.end.as_ref().unwrap();
    let mut got = Vec::new();
    let ended = end.read_to_end(&mut got).is_ok();
    // The first bytes of a client's are its port.
    if model.host_port != 80 && model.host_read == 0 && got.len() >= 4 {
        assert_eq!(got[..4], model.host_port.to_le_bytes());
        got.drain(..4);
    }
    assert!(got == bytes(model.guest_port, model.host_read, got.len()), "bytes in order");
    model.host_read += got.len();
    assert!(model.host_read <= model.sent);
    if ended && model.is_sound {
        assert_eq!(model.host_read, model.sent, "all of it came");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_are_in_order_and_within_credit(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.pump();
        }
        // Given all the buffers and credit there can be, and a host that reads, everything arrives.
        for round in 0..40 {
            world.step(&Step::Buffers(60));
            for which in 0..world.connections.len() {
                if let Some(model) = world.connections.get_mut(which).filter(|model| model.is_known && model.is_accepted) {
                    (model.taken, model.said) = (model.received, model.received);
                    let packet = model.packet(op::CREDIT_UPDATE);
                    world.queue.push_back(packet);
                }
                if let Some(model) = world.connections.get_mut(which).filter(|model| model.end.is_some()) {
                    host_reads(model);
                }
            }
            world.pump();
            prop_assert!(!world.guest.bench.needs_reset(), "{round}");
        }
        for model in world.connections.iter().filter(|model| model.is_sound && model.end.is_some()) {
            prop_assert_eq!(model.host_read, model.sent);
            if model.is_known && model.guest_shut & shutdown::RECEIVE == 0 {
                prop_assert_eq!(model.received, model.host_sent);
            }
        }
    }
}
