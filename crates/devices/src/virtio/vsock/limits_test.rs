//! What a guest or a host can do too much of.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::packet::op;
use super::testing::{Guest, Packet, Pairs};
use super::{MOST_CONNECTIONS, MOST_GREETING};

fn guest() -> (Guest<Pairs>, Pairs) {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    guest.give(32);
    (guest, host)
}

fn ops(packets: &[Packet]) -> Vec<u16> {
    packets.iter().map(|packet| packet.op).collect()
}

fn is_open(mut stream: &UnixStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn connections() {
    let (mut guest, host) = guest();
    let mut promised = 0;
    for port in 0..MOST_CONNECTIONS as u32 {
        guest.send(&Packet::new(op::REQUEST, port, 80));
        let answers = guest.receive_all();
        assert_eq!(ops(&answers), [op::RESPONSE], "{port}");
        promised += answers[0].buf_alloc;
    }
    assert_eq!(promised, 64 * (256 << 10) + 448 * (32 << 10), "30 MiB in all");
    guest.send(&Packet::new(op::REQUEST, 5000, 80));
    assert_eq!(ops(&guest.receive_all()), [op::RST], "no more");
    let (_, first) = host.server().unwrap();
    let client = host.client(52);
    assert_eq!(guest.receive_all(), []);
    assert!(!is_open(&client), "nor from the host");

    assert!(is_open(&first));
    guest.send(&Packet::new(op::RST, 0, 80));
    assert!(!is_open(&first));
    let client = host.client(52);
    let answers = guest.receive_all();
    assert_eq!((ops(&answers), answers[0].buf_alloc), (vec![op::REQUEST], 256 << 10), "room for one");
    assert!(is_open(&client));
    guest.send(&Packet::new(op::REQUEST, 5000, 80));
    assert_eq!(ops(&guest.receive_all()), [op::RST]);
}

#[test]
fn two_hundred_and_fifty_six_at_once() {
    let (mut guest, host) = guest();
    let mut servers = Vec::new();
    for port in 0..256 {
        guest.send(&Packet::new(op::REQUEST, port, 80 + port % 3));
        assert_eq!(ops(&guest.receive_all()), [op::RESPONSE]);
        servers.push(host.server().unwrap().1);
    }
    for round in 0..3 {
        for port in (0..256).rev() {
            let packet = Packet::new(op::RW, port, 80 + port % 3).with(&port.to_le_bytes());
            guest.send(&Packet { fwd_cnt: round * 8, ..packet });
        }
        for (port, server) in (0_u32..).zip(&mut servers) {
            let mut bytes = [0; 4];
            server.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, port.to_le_bytes());
            server.write_all(&[bytes, bytes].concat()).unwrap();
        }
        let mut seen = vec![0; 256];
        for packet in guest.receive_all() {
            assert_eq!(packet.payload, [packet.dst_port.to_le_bytes(); 2].concat());
            seen[packet.dst_port as usize] += 1;
        }
        assert_eq!(seen, [1; 256]);
    }
}

#[test]
fn clients_that_say_nothing() {
    let (mut guest, host) = guest();
    let silent: Vec<_> = (0..MOST_GREETING + 10).map(|_| host.silent_client()).collect();
    guest.bench.run();
    let open = silent.iter().map(is_open).collect::<Vec<_>>();
    let expected: Vec<_> = (0..MOST_GREETING + 10).map(|client| client >= 10).collect();
    assert_eq!(open, expected, "the oldest are gone");
    // One that says what it wants makes room for another one.
    (&silent[50]).write_all(&52_u32.to_le_bytes()).unwrap();
    assert_eq!(ops(&guest.receive_all()), [op::REQUEST]);
    let another = host.silent_client();
    guest.bench.run();
    assert!(is_open(&silent[10]) && is_open(&another));
    let another = host.silent_client();
    guest.bench.run();
    assert!(!is_open(&silent[10]) && is_open(&another));
    // One that leaves is forgotten.
    drop(silent);
    guest.bench.run();
    assert!(is_open(&another));
}

#[test]
fn clients_that_cannot_be_accepted_now() {
    let (mut guest, host) = guest();
    host.refuse(1);
    let client = host.client(52);
    guest.bench.run();
    assert_eq!(guest.receive(), None);
    // The next one who comes, or anything else that happens, is an opportunity.
    guest.send(&Packet::new(op::RST, 1, 1));
    assert_eq!(ops(&guest.receive_all()), [op::REQUEST]);
    assert!(is_open(&client));
}

#[test]
fn a_flood_of_what_belongs_to_nothing() {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    let bytes = Packet::new(op::RW, 1, 1).bytes();
    let mut taken = 0;
    for _ in 0..300 {
        guest.post(&bytes, &[]);
        guest.bench.run();
        let Some(_) = guest.bench.queue(1).used() else { break };
        taken += 1;
    }
    assert_eq!(taken, 256, "no more is taken than can be answered");
    guest.give(1);
    assert_eq!(guest.receive().unwrap().op, op::RST);
    assert!(guest.bench.queue(1).used().is_some(), "one answered, one taken");
    guest.give(32);
    assert_eq!(guest.receive_all().len(), 256, "each has its answer");
    assert_eq!(guest.bench.run(), 0);
}

#[test]
fn a_guest_without_buffers_that_opens_and_closes() {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    for _ in 0..2000 {
        guest.send(&Packet::new(op::REQUEST, 1, 1));
        guest.send(&Packet::new(op::RST, 1, 1));
    }
    guest.give(32);
    assert_eq!(guest.receive_all(), []);
}

#[test]
fn buffers_that_are_too_small() {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    guest.send(&Packet::new(op::REQUEST, 1, 1));
    let take = |guest: &mut Guest<Pairs>, sizes: &[u32]| {
        let base = super::super::testing::FREE;
        for size in sizes {
            guest.bench.queue(0).add(&[], &[(base, *size)]);
        }
        guest.bench.notify(0);
        guest.bench.run();
        std::iter::from_fn(|| guest.bench.queue(0).used()).map(|(_, len)| len).collect::<Vec<_>>()
    };
    assert_eq!(take(&mut guest, &[0, 1, 43]), [0, 0, 0], "too small for anything");
    assert_eq!(take(&mut guest, &[44]), [44], "a response");
    let (_, mut server) = host.server().unwrap();
    server.write_all(b"hello").unwrap();
    guest.bench.run();
    assert_eq!(take(&mut guest, &[44, 44]), [0, 0], "too small for bytes");
    assert_eq!(take(&mut guest, &[46, 45, 100]), [46, 45, 46]);
    // Buffers that can only be read.
    server.write_all(b"again").unwrap();
    guest.bench.queue(0).add(&[(super::super::testing::FREE, 100)], &[]);
    guest.bench.notify(0);
    guest.bench.run();
    assert_eq!(guest.bench.queue(0).used().map(|used| used.1), Some(0));
}

#[test]
fn a_guest_that_does_not_read_is_not_woken_for_it() {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    guest.give(1);
    guest.send(&Packet::new(op::REQUEST, 1, 1));
    guest.bench.interrupts();
    let (_, mut server) = host.server().unwrap();
    let mut kept = 0;
    // What there is no buffer for stays with the host's programs.
    while let Ok(count) = server.write(&[0; 1000]) {
        kept += count;
        guest.bench.run();
    }
    assert_eq!((guest.bench.interrupts(), kept < 1 << 20), (0, true));
}
