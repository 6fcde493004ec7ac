//! A guest that sends any packets in any descriptors, resets and writes to registers, and a host that connects, reads,
//! writes and leaves. The device does not panic and comes to an end of its work; a reset ends all connections.

mod host;

use std::net::Shutdown;

use strata_devices::virtio::testing::{FREE, RAM};
use strata_devices::virtio::vsock::testing::{Guest, Packet};

use super::memory;
use host::{Ends, Far};

/// Operations (Virtio 1.2, 5.10.6).
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RW: u16 = 5;

/// Where no other packet lies.
const AT_END: u64 = RAM - 0x1000;

/// The bytes, as small numbers.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[usize::from(self.next()) % N]
    }

    /// Up to 64 Ki, small ones as often as large ones; some that are more than a connection may have sent in all.
    fn len(&mut self) -> usize {
        let byte = self.next();
        let shift = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 4, 15][usize::from(byte >> 4)];
        (usize::from(byte & 0xf) << shift) + usize::from(byte >> 6)
    }
}

struct World {
    guest: Guest<Ends>,
    host: Ends,
    ends: Vec<Far>,
    /// Host ports that requests have come from.
    ports: Vec<u32>,
    received: u32,
}

impl World {
    fn packet(&mut self, bytes: &mut Bytes<'_>) {
        let newest = self.ports.last().copied().unwrap_or(1 << 30);
        let op = u16::from(bytes.next() % 9);
        let guest_port = u32::from(bytes.next() % 4);
        let mut packet = Packet::new(op, guest_port, bytes.pick([80, 81, 0, newest, 80, newest]));
        packet.flags = u32::from(bytes.next());
        packet.buf_alloc = bytes.pick([256 << 10, 256 << 10, 100, 0, u32::MAX, 4000]);
        packet.fwd_cnt = bytes.pick([self.received, self.received, 0, u32::MAX, 1]);
        let (len, fill) = (bytes.len(), bytes.next());
        packet.len = (len as u32).wrapping_add(bytes.pick([0, 0, 0, 0, 0, 0, 1, u32::MAX, 1 << 31]));
        packet.kind = bytes.pick([1, 1, 1, 1, 1, 1, 1, 2]);
        packet.src_cid = bytes.pick([3, 3, 3, 3, 3, 3, 3, 2]);
        packet.dst_cid = bytes.pick([2, 2, 2, 2, 2, 2, 2, 1 << 33]);
        let mut raw = packet.bytes();
        raw.resize(raw.len() + len, fill);
        let cuts = [bytes.len(), bytes.len()];
        let whole = bytes.pick([raw.len(), raw.len(), raw.len(), 43, 44, 0]);
        self.guest.post(&raw[..whole.min(raw.len())], &cuts[..usize::from(bytes.next() % 3)]);
    }

    /// Packets of no connection, each of which is answered.
    fn flood(&mut self, bytes: &mut Bytes<'_>) {
        self.guest.bench.write(AT_END, &Packet::new(RW, 1000, 80).bytes());
        for _ in 0..bytes.next() % 64 {
            self.guest.bench.queue(1).add(&[(AT_END, 44)], &[]);
        }
        self.guest.bench.notify(1);
        self.guest.bench.run();
    }

    fn buffers(&mut self, bytes: &mut Bytes<'_>) {
        let len = bytes.pick([4096, 4096, 44, 45, 43, 1, 20_000]);
        for place in 0..bytes.next() % 16 {
            let at = FREE + u64::from(place) * 4096;
            self.guest.bench.queue(0).add(&[], &[(at, len)]);
        }
        self.guest.bench.notify(0);
    }

    fn host(&mut self, bytes: &mut Bytes<'_>) {
        let what = bytes.next() % 12;
        match what {
            0 => return self.ends.push(self.host.client(u32::from(bytes.next() % 4))),
            1 => return self.ends.push(self.host.silent_client()),
            2 => return self.host.refuse(1),
            3 => return self.host.set_room(bytes.len()),
            _ => {}
        }
        if self.ends.is_empty() {
            return;
        }
        let which = usize::from(bytes.next()) % self.ends.len();
        let end = &self.ends[which];
        match what {
            4 | 5 => end.write(&vec![3; bytes.len()]),
            6 | 7 => end.read(bytes.len()),
            8 => end.shutdown(bytes.pick([Shutdown::Write, Shutdown::Read, Shutdown::Both])),
            9 => end.fail(i32::from(bytes.next() % 128)),
            _ => drop(self.ends.swap_remove(which)),
        }
    }

    /// What no driver does.
    fn raw(&mut self, bytes: &mut Bytes<'_>) {
        let (queue, index) = (usize::from(bytes.next() % 3), u16::from(bytes.next() % 66));
        let at = bytes.pick([FREE, RAM - 8, RAM, 0, u64::MAX - 7, RAM / 2 - 20, 0x1_0000]);
        let len = bytes.pick([0, 44, 60, 4096, u32::MAX, 8]);
        let (flags, next) = (u16::from(bytes.next() % 8), u16::from(bytes.next() % 66));
        let ring = self.guest.bench.queue(queue);
        match bytes.next() % 4 {
            0 => ring.descriptor(index, (at, len), flags, next),
            1 => ring.make_available(index),
            2 => ring.set_available(index * 700),
            _ => ring.raw_descriptor(FREE + 16 * u64::from(index), (at, len), flags, next),
        }
        self.guest.bench.notify(bytes.next().into());
    }

    /// Looks at what the guest has received.
    fn look(&mut self) {
        while let Some((_, len)) = self.guest.bench.queue(0).used() {
            if len < 44 {
                assert_eq!(len, 0, "a part of a header");
                continue;
            }
            // Buffers overlap, so that only the last one is certain to be whole.
            self.received = self.received.wrapping_add(len - 44);
        }
        while self.guest.bench.queue(1).used().is_some() {}
        let header = Packet::parse(&self.guest.bench.read(FREE, 44));
        if header.src_port >= 1 << 30 {
            self.ports.push(header.src_port);
        }
        self.ends.append(&mut self.host.servers());
    }

    /// All that was connected has ended.
    fn reset(&mut self) {
        self.guest.bench.reset();
        self.ends.append(&mut self.host.servers());
        let waiting: Vec<_> = self.ends.drain(..).filter(|end| !end.has_ended()).collect();
        // One that was not accepted yet will be closed: those that were refused before are accepted now, to be sent away.
        self.host.refuse(0);
        drop(self.host.client(1));
        self.guest.bench.run();
        assert!(waiting.iter().all(Far::has_ended), "it is still connected");
    }
}

/// Runs an input.
pub fn vsock(data: &[u8]) {
    let host = Ends::new();
    let guest = Guest::with_memory(host.clone(), memory());
    let mut world = World { guest, host, ends: Vec::new(), ports: Vec::new(), received: 0 };
    let mut bytes = Bytes(data);
    for _ in 0..200 {
        if bytes.0.is_empty() {
            break;
        }
        match bytes.next() % 16 {
            0..=4 => world.packet(&mut bytes),
            5 | 6 => world.buffers(&mut bytes),
            7..=10 => world.host(&mut bytes),
            11 => world.raw(&mut bytes),
            12 => {
                let at = u64::from(bytes.next()) & !3;
                let value = bytes.pick([0, 1, 2, 3, 0xb, 0xf, 0x80, u32::MAX]);
                world.guest.bench.set_register(at, value);
            }
            13 => {
                world.reset();
                world.guest.restart();
            }
            14 => world.flood(&mut bytes),
            _ => {
                world.guest.bench.run();
                world.look();
            }
        }
    }
    world.guest.bench.run();
    world.reset();

    // Whatever has happened, it works after a reset.
    world.guest.restart();
    world.guest.give(1);
    world.guest.send(&Packet::new(REQUEST, 9, 80));
    let answers: Vec<_> =
        world.guest.receive_all().iter().map(|answer| (answer.op, answer.dst_port)).collect();
    assert_eq!(answers, [(RESPONSE, 9)]);
}
