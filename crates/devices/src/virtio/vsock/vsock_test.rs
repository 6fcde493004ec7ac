use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::super::testing::{Bench, FREE, Memory, RAM};
use super::super::{VirtioMmio, feature};
use super::packet::{op, shutdown};
use super::testing::{BUFFER, Guest, Packet, Pairs};
use super::*;
use crate::conformance;

/// A guest with buffers, and its host.
fn guest() -> (Guest<Pairs>, Pairs) {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    guest.give(32);
    (guest, host)
}

/// A guest whose port 1000 is connected to the host's port 80, and the host's end.
fn connected() -> (Guest<Pairs>, UnixStream, Pairs) {
    let (mut guest, host) = guest();
    guest.send(&Packet::new(op::REQUEST, 1000, 80));
    assert_eq!(ops(&guest.receive_all()), [op::RESPONSE]);
    let (port, server) = host.server().unwrap();
    assert_eq!(port, 80);
    (guest, server, host)
}

fn to_host(op: u16) -> Packet {
    Packet::new(op, 1000, 80)
}

fn ops(packets: &[Packet]) -> Vec<u16> {
    packets.iter().map(|packet| packet.op).collect()
}

/// What there is to read.
fn read(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        // A connection that is closed before all was read from it ends in an error.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            bytes.extend(b"<end>");
        }
        Ok(_) => bytes.extend(b"<end>"),
    }
    bytes
}

#[test]
fn what_the_driver_finds() {
    let (mut guest, _) = guest();
    assert_eq!(guest.bench.register(8), 19);
    assert_eq!(guest.bench.offered(), F_STREAM | feature::OF_RING);
    assert_eq!(guest.bench.config::<10>(0), [3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(guest.bench.config::<4>(4), [0; 4]);
    for cid in [0, 1, 2, 0xffff_ffff, 1 << 32] {
        let error = Vsock::<Memory, _>::new(cid, Pairs::new().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{cid} is no guest's")));
    }
}

#[test]
fn conforms() {
    let make = || {
        let device = Vsock::new(3, Pairs::new().unwrap()).unwrap();
        let memory = Memory::default();
        std::sync::Mutex::new(VirtioMmio::new(device, memory, std::sync::Arc::new(crate::NoIrq)))
    };
    conformance::check("vsock", VirtioMmio::LEN, make).unwrap();
}

#[test]
fn the_guest_connects() {
    let (mut guest, host) = guest();
    guest.send(&to_host(op::REQUEST));
    let response = guest.receive_all().remove(0);
    let expected = Packet {
        src_cid: 2,
        dst_cid: 3,
        src_port: 80,
        dst_port: 1000,
        len: 0,
        kind: 1,
        op: op::RESPONSE,
        flags: 0,
        buf_alloc: 256 << 10,
        fwd_cnt: 0,
        payload: vec![],
    };
    assert_eq!(response, expected);
    let (_, mut server) = host.server().unwrap();

    guest.send(&to_host(op::RW).with(b"hello"));
    assert_eq!(read(&server), b"hello");
    server.write_all(b"and hello to you").unwrap();
    let answer = guest.receive_all().remove(0);
    let expected =
        Packet { op: op::RW, fwd_cnt: 5, len: 16, payload: b"and hello to you".to_vec(), ..expected };
    assert_eq!(answer, expected);
    assert_eq!(guest.receive_all(), []);
}

#[test]
fn the_guest_connects_to_nobody() {
    let (mut guest, _) = guest();
    guest.send(&Packet::new(op::REQUEST, 1000, 0));
    let answer = guest.receive_all().remove(0);
    assert_eq!((answer.op, answer.src_port, answer.dst_port), (op::RST, 0, 1000));
}

#[test]
fn a_client_connects() {
    let (mut guest, host) = guest();
    let client = host.client(52);
    let request = guest.receive_all().remove(0);
    assert_eq!((request.op, request.src_cid, request.dst_cid, request.dst_port), (op::REQUEST, 2, 3, 52));
    assert_eq!(request.buf_alloc, 256 << 10);
    assert_eq!(read(&client), b"");
    (&client).write_all(b"in advance").unwrap();
    assert_eq!(guest.receive_all(), []);

    let other = host.client(52);
    let second = guest.receive_all().remove(0);
    assert_ne!(second.src_port, request.src_port);

    guest.send(&Packet::new(op::RESPONSE, 52, request.src_port));
    assert_eq!(read(&client), request.src_port.to_le_bytes());
    assert_eq!(guest.receive_all()[0].payload, b"in advance");
    guest.send(&Packet::new(op::RW, 52, request.src_port).with(b"welcome"));
    assert_eq!(read(&client), b"welcome");

    guest.send(&Packet::new(op::RST, 52, second.src_port));
    assert_eq!(read(&other), b"<end>");
    assert_eq!(guest.receive_all(), []);
}

#[test]
fn a_client_that_leaves_before_it_is_accepted() {
    let (mut guest, host) = guest();
    let client = host.client(52);
    let request = guest.receive_all().remove(0);
    drop(client);
    guest.bench.run();
    guest.send(&Packet::new(op::RESPONSE, 52, request.src_port));
    assert_eq!(ops(&guest.receive_all()), [op::RST]);
}

#[test]
fn a_packet_is_cut_anywhere() {
    let (mut guest, server, _) = connected();
    let packet = to_host(op::RW).with(&[7; 100]);
    for cut in 0..=144 {
        guest.post(&packet.bytes(), &[cut]);
        guest.bench.run();
        assert_eq!(read(&server), [7; 100], "{cut}");
    }
    guest.post(&packet.bytes(), &[1; 40]);
    guest.bench.run();
    assert_eq!(read(&server), [7; 100]);

    // Over the border of two pieces of RAM, both ways.
    let mut bytes = to_host(op::RW).with(b"over the border").bytes();
    bytes.extend([0; 50]);
    guest.bench.write(RAM / 2 - 50, &bytes);
    guest.bench.queue(1).add(&[(RAM / 2 - 50, 109)], &[]);
    guest.bench.notify(1);
    guest.bench.run();
    assert_eq!(read(&server), b"over the border", "what is behind it is nothing");

    let mut guest = Guest::new(Pairs::new().unwrap());
    let host = guest.bench.queue(0).add(&[], &[(RAM / 2 - 50, 10), (FREE, 3), (RAM / 2 - 30, 200)]);
    guest.post(&to_host(op::RW).with(b"to nobody").bytes(), &[]);
    guest.bench.run();
    assert_eq!(guest.bench.queue(0).used(), Some((host, 44)));
    let mut bytes = guest.bench.read(RAM / 2 - 50, 10);
    bytes.extend(guest.bench.read(FREE, 3));
    bytes.extend(guest.bench.read(RAM / 2 - 30, 31));
    assert_eq!(Packet::parse(&bytes).op, op::RST);
}

#[test]
fn what_belongs_to_nothing_is_reset() {
    let (mut guest, _server, _) = connected();
    for what in [op::RESPONSE, op::RW, op::SHUTDOWN, op::CREDIT_UPDATE, op::CREDIT_REQUEST, 0, 8, 0xffff] {
        guest.send(&Packet::new(what, 1000, 81));
        let answer = guest.receive_all().remove(0);
        assert_eq!((answer.op, answer.src_port, answer.dst_port), (op::RST, 81, 1000), "{what}");
    }
    guest.send(&Packet::new(op::RST, 1000, 81));
    assert_eq!(guest.receive_all(), [], "no answer to an answer");

    guest.send(&Packet { kind: 2, ..Packet::new(op::REQUEST, 5, 80) });
    let answer = guest.receive_all().remove(0);
    assert_eq!((answer.op, answer.kind), (op::RST, 2), "no such sockets");
    guest.send(&Packet { dst_cid: 4, ..Packet::new(op::REQUEST, 5, 80) });
    let answer = guest.receive_all().remove(0);
    assert_eq!((answer.op, answer.src_cid, answer.dst_cid), (op::RST, 4, 3), "no such host");
    guest.send(&Packet { src_cid: 4, ..Packet::new(op::REQUEST, 5, 80) });
    assert_eq!(guest.receive_all(), [], "nobody to answer to");
    guest.send(&Packet { len: 1, ..Packet::new(op::REQUEST, 5, 80) });
    assert_eq!(ops(&guest.receive_all()), [op::RST], "not as long as it says");
}

#[test]
fn what_is_wrong_in_a_connection_resets_it() {
    let wrong: [(&str, Packet); 9] = [
        ("a request", to_host(op::REQUEST)),
        ("a response", to_host(op::RESPONSE)),
        ("nothing", to_host(0)),
        ("the unknown", to_host(8)),
        ("the far unknown", to_host(0x101)),
        ("more than there is", Packet { len: 6, ..to_host(op::RW).with(b"hello") }),
        ("much more than there is", Packet { len: u32::MAX, ..to_host(op::RW).with(b"hello") }),
        ("a hello that is longer than it is", Packet { len: 1, ..to_host(op::CREDIT_UPDATE) }),
        ("a shutdown that is longer than it is", Packet { len: 1, ..to_host(op::SHUTDOWN) }),
    ];
    for (what, packet) in wrong {
        let (mut guest, server, _) = connected();
        guest.send(&packet);
        assert_eq!(ops(&guest.receive_all()), [op::RST], "{what}");
        assert_eq!(read(&server), b"<end>", "{what}");
        guest.send(&to_host(op::RW));
        assert_eq!(ops(&guest.receive_all()), [op::RST], "{what}: it is no more");
        guest.send(&to_host(op::REQUEST));
        assert_eq!(ops(&guest.receive_all()), [op::RESPONSE], "{what}: it can be again");
    }
}

#[test]
fn what_is_wrong_before_the_guest_has_accepted() {
    for what in [op::REQUEST, op::RW, op::SHUTDOWN, op::CREDIT_UPDATE, 0, 9] {
        let (mut guest, host) = guest();
        let client = host.client(52);
        let request = guest.receive_all().remove(0);
        guest.send(&Packet::new(what, 52, request.src_port));
        assert_eq!(ops(&guest.receive_all()), [op::RST], "{what}");
        assert_eq!(read(&client), b"<end>", "{what}");
    }
}

#[test]
fn a_packet_without_a_whole_header_is_nothing() {
    let (mut guest, server, _) = connected();
    let bytes = to_host(op::RW).with(b"hello").bytes();
    for len in [0, 1, 43] {
        guest.post(&bytes[..len], &[]);
        guest.bench.run();
        assert!(guest.bench.queue(1).used().is_some());
    }
    // One for writing is nothing to be read either.
    guest.bench.queue(1).add(&[], &[(FREE, 100)]);
    guest.bench.notify(1);
    guest.bench.run();
    assert!(guest.bench.queue(1).used().is_some());
    assert_eq!((guest.receive_all(), read(&server)), (vec![], vec![]));
    assert!(!guest.bench.needs_reset());
    guest.send(&to_host(op::RW).with(b"hello"));
    assert_eq!(read(&server), b"hello");
}

#[test]
fn reset_ends_all_connections() {
    let (mut guest, server, host) = connected();
    for _ in 0..3 {
        let silent = host.silent_client();
        let client = host.client(52);
        guest.receive_all();
        guest.bench.reset();
        for end in [&server, &silent, &client] {
            assert_eq!(read(end), b"<end>", "at once");
        }
        // At a time when the worker has not looked yet, or has.
        guest.restart();
        guest.give(32);
        assert_eq!(guest.receive_all(), [], "nothing is left of them");
        guest.send(&to_host(op::RW));
        assert_eq!(ops(&guest.receive_all()), [op::RST]);
        guest.send(&to_host(op::REQUEST));
        assert_eq!(ops(&guest.receive_all()), [op::RESPONSE]);
        let (_, mut server) = host.server().unwrap();
        server.write_all(b"new").unwrap();
        assert_eq!(guest.receive_all()[0].payload, b"new");
        guest.send(&to_host(op::RST));
        assert_eq!(read(&server), b"<end>");
    }
}

#[test]
fn without_a_driver_nobody_is_let_in() {
    let host = Pairs::new().unwrap();
    let device = Vsock::new(3, host.clone()).unwrap();
    let worker = device.worker();
    let mut bench: Bench<Vsock<Memory, Pairs>> = Bench::new(device, vec![worker]);
    let client = host.client(52);
    bench.run();
    assert_eq!(read(&client), b"<end>");
    // A driver that has set up one direction only is none.
    bench.start_with(0, |queue| queue == 1);
    let client = host.client(52);
    bench.notify(1);
    bench.run();
    assert_eq!(read(&client), b"<end>");
    bench.start_with(0, |queue| queue < 2);
    let client = host.client(52);
    bench.run();
    assert_eq!(read(&client), b"");
}

#[test]
fn a_broken_ring_is_no_end_of_the_world() {
    let (mut guest, server, _) = connected();
    guest.bench.queue(1).add(&[(RAM, 44)], &[]);
    guest.bench.notify(1);
    guest.bench.run();
    assert!(guest.bench.needs_reset());
    (&server).write_all(b"still there").unwrap();
    assert_eq!(guest.receive_all()[0].payload, b"still there");
    guest.bench.reset();
    assert_eq!(read(&server), b"<end>");
    assert!(BUFFER > 44 && shutdown::BOTH == 3);
}
