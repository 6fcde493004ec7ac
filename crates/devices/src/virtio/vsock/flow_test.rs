//! Credit, backlogs and ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::packet::{op, shutdown};
use super::testing::{Guest, Packet, Pairs};

fn to_host(op: u16) -> Packet {
    Packet::new(op, 1000, 80)
}

/// A guest whose port 1000 is connected to the host's port 80, with so much credit, and the host's end.
fn connected(buf_alloc: u32) -> (Guest<Pairs>, UnixStream) {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    guest.give(32);
    guest.send(&Packet { buf_alloc, ..to_host(op::REQUEST) });
    assert_eq!(guest.receive_all()[0].op, op::RESPONSE);
    (guest, host.server().unwrap().1)
}

/// What each packet is, and how long.
fn said(packets: &[Packet]) -> Vec<(u16, u32)> {
    packets.iter().map(|packet| (packet.op, packet.len)).collect()
}

fn read(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        Ok(_) => bytes.extend(b"<end>"),
    }
    bytes
}

#[test]
fn no_more_is_sent_than_there_is_credit_for() {
    let (mut guest, mut server) = connected(10);
    server.write_all(b"0123456789abcdefghijklmno").unwrap();
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RW, 10), (op::CREDIT_REQUEST, 0)]);
    assert_eq!(packets[0].payload, b"0123456789");
    // A guest that answers that there is none is not asked again.
    guest.send(&Packet { buf_alloc: 10, ..to_host(op::CREDIT_UPDATE) });
    assert_eq!(guest.receive_all(), []);
    server.write_all(b"p").unwrap();
    assert_eq!(guest.receive_all(), []);
    // The other direction goes on.
    guest.send(&Packet { buf_alloc: 10, ..to_host(op::RW).with(b"hello") });
    assert_eq!(read(&server), b"hello");

    guest.send(&Packet { buf_alloc: 10, fwd_cnt: 4, ..to_host(op::CREDIT_UPDATE) });
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RW, 4), (op::CREDIT_REQUEST, 0)]);
    assert_eq!(packets[0].payload, b"abcd");
    guest.send(&Packet { buf_alloc: 100, fwd_cnt: 14, ..to_host(op::CREDIT_UPDATE) });
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RW, 12)]);
    assert_eq!(packets[0].payload, b"efghijklmnop");
}

#[test]
fn a_guest_that_lies_about_credit_gets_nothing() {
    let (mut guest, mut server) = connected(10);
    server.write_all(b"0123456789abcdefghijklmno").unwrap();
    assert_eq!(guest.receive_all().len(), 2);
    // It has passed on what it was not sent; its room has shrunk.
    for (buf_alloc, fwd_cnt) in [(10, 11), (u32::MAX - 1, 11), (9, 0), (0, 10), (0, u32::MAX)] {
        guest.send(&Packet { buf_alloc, fwd_cnt, ..to_host(op::CREDIT_UPDATE) });
        assert_eq!(guest.receive_all(), [], "{buf_alloc} {fwd_cnt}");
    }
    guest.send(&Packet { buf_alloc: u32::MAX, fwd_cnt: 10, ..to_host(op::CREDIT_UPDATE) });
    assert_eq!(said(&guest.receive_all()), [(op::RW, 15)]);
}

#[test]
fn a_packet_is_as_long_as_its_buffer() {
    let (mut guest, mut server) = connected(1 << 20);
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    server.write_all(&bytes).unwrap();
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RW, 4052), (op::RW, 4052), (op::RW, 1896)]);
    assert_eq!(packets.iter().flat_map(|packet| packet.payload.clone()).collect::<Vec<_>>(), bytes);
}

#[test]
fn what_the_host_does_not_take_is_kept_and_no_more_than_promised() {
    let (mut guest, server) = connected(1 << 20);
    let (mut sent, mut announced) = (Vec::new(), 0);
    let mut chunk = |guest: &mut Guest<Pairs>, sent: &mut Vec<u8>, len: usize| {
        let bytes: Vec<u8> = (0..=250).cycle().skip(sent.len() % 251).take(len).collect();
        guest.send(&to_host(op::RW).with(&bytes));
        sent.extend(bytes);
        for packet in guest.receive_all() {
            assert_eq!(packet.op, op::CREDIT_UPDATE);
            announced = packet.fwd_cnt as usize;
        }
        announced
    };
    // As long as there is credit; the host reads nothing.
    let mut known = 0;
    while sent.len() - known + 30_000 <= 256 << 10 {
        known = chunk(&mut guest, &mut sent, 30_000);
    }
    let left = (256 << 10) - (sent.len() - known);
    known = chunk(&mut guest, &mut sent, left);
    assert_eq!(sent.len() - known, 256 << 10, "all that was promised is used");

    // The host reads: all comes, in order, and the guest hears that it may go on.
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let now = read(&server);
        assert!(!now.is_empty(), "{} of {}", got.len(), sent.len());
        got.extend(now);
        guest.bench.run();
    }
    assert_eq!(got, sent);
    let updates = guest.receive_all();
    assert!(updates.iter().all(|packet| packet.op == op::CREDIT_UPDATE));
    assert_eq!(updates.last().unwrap().fwd_cnt as usize, sent.len());
    guest.send(&to_host(op::RW).with(b"on and on"));
    assert_eq!(read(&server), b"on and on");
}

#[test]
fn more_than_promised_resets() {
    let (mut guest, server) = connected(1 << 20);
    let mut packets = Vec::new();
    for _ in 0..30 {
        guest.send(&to_host(op::RW).with(&vec![1; 60_000]));
        packets = guest.receive_all();
        if packets.iter().any(|packet| packet.op == op::RST) {
            break;
        }
    }
    assert_eq!(packets.last().map(|packet| packet.op), Some(op::RST));
    let got = read(&server);
    assert!(got.ends_with(b"<end>") && got.len() < 30 * 60_000);
}

#[test]
fn one_packet_with_more_than_promised_resets() {
    use super::super::testing::FREE;
    let (mut guest, server) = connected(1 << 20);
    for (more, answer) in [(0, op::CREDIT_UPDATE), (1, op::RST)] {
        let header = Packet { len: (256 << 10) + more, ..to_host(op::RW) };
        guest.bench.write(FREE + (2 << 20), &header.bytes());
        guest.bench.queue(1).add(&[(FREE + (2 << 20), 44), (FREE, 128 << 10), (FREE, 130 << 10)], &[]);
        guest.bench.notify(1);
        // The host takes all that there is.
        let mut got = read(&server).len();
        guest.bench.run();
        assert!(guest.bench.queue(1).used().is_some());
        for _ in 0..20 {
            got += read(&server).len();
            guest.bench.run();
        }
        assert_eq!(guest.receive_all().last().map(|packet| packet.op), Some(answer));
        assert_eq!(got, if more == 0 { 256 << 10 } else { 20 * "<end>".len() }, "all or nothing");
    }
}

#[test]
fn a_guest_that_asks_hears_how_much_it_may_send() {
    let (mut guest, server) = connected(10);
    guest.send(&to_host(op::RW).with(b"abc"));
    assert_eq!(guest.receive_all(), [], "not worth telling");
    guest.send(&to_host(op::CREDIT_REQUEST));
    let update = guest.receive_all().remove(0);
    assert_eq!((update.op, update.buf_alloc, update.fwd_cnt), (op::CREDIT_UPDATE, 256 << 10, 3));
    assert_eq!(read(&server), b"abc");
}

#[test]
fn the_host_ends_its_half() {
    let (mut guest, mut server) = connected(1000);
    server.write_all(b"that is all").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RW, 11), (op::SHUTDOWN, 0)]);
    assert_eq!(packets[1].flags, shutdown::SEND);
    guest.send(&to_host(op::RW).with(b"and that is mine"));
    assert_eq!(read(&server), b"and that is mine");
    guest.send(&Packet { flags: shutdown::SEND, ..to_host(op::SHUTDOWN) });
    assert_eq!(read(&server), b"<end>");
    assert_eq!(guest.receive_all(), []);
    guest.send(&Packet { flags: shutdown::BOTH, ..to_host(op::SHUTDOWN) });
    assert_eq!(said(&guest.receive_all()), [(op::RST, 0)]);
}

#[test]
fn the_guest_ends_its_half() {
    let (mut guest, mut server) = connected(1000);
    guest.send(&to_host(op::RW).with(b"that is all"));
    guest.send(&Packet { flags: shutdown::SEND, ..to_host(op::SHUTDOWN) });
    assert_eq!(read(&server), b"that is all<end>");
    server.write_all(b"and that is mine").unwrap();
    assert_eq!(guest.receive_all()[0].payload, b"and that is mine");
    // It has said that it sends no more.
    guest.send(&to_host(op::RW).with(b"but"));
    assert_eq!(said(&guest.receive_all()), [(op::RST, 0)]);
}

#[test]
fn the_guest_does_not_listen_any_more() {
    let (mut guest, mut server) = connected(1000);
    guest.send(&Packet { flags: shutdown::RECEIVE, ..to_host(op::SHUTDOWN) });
    assert_eq!(server.write_all(b"hello").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(guest.receive_all(), []);
    guest.send(&to_host(op::RW).with(b"I still talk"));
    assert_eq!(read(&server), b"I still talk");
    guest.send(&Packet { flags: shutdown::SEND | 0xfc, ..to_host(op::SHUTDOWN) });
    assert_eq!(said(&guest.receive_all()), [(op::RST, 0)], "both halves, one after the other");
    assert_eq!(read(&server), b"<end>");
}

#[test]
fn what_was_sent_before_the_end_is_delivered_after_it() {
    let (mut guest, server) = connected(1 << 20);
    let sent: Vec<u8> = (0..=250).cycle().take(4 * 60_000).collect();
    // No more than a promise, but more than a socket takes.
    for bytes in sent.chunks(60_000) {
        guest.send(&to_host(op::RW).with(bytes));
    }
    guest.send(&Packet { flags: shutdown::BOTH, ..to_host(op::SHUTDOWN) });
    assert_eq!(guest.receive_all().last().unwrap().op, op::RST);
    // The ports are free at once, and what comes on them is not mixed up with the old.
    guest.send(&to_host(op::REQUEST));
    assert_eq!(said(&guest.receive_all()), [(op::RESPONSE, 0)]);
    guest.send(&to_host(op::RW).with(b"new"));
    let mut got = Vec::new();
    while !got.ends_with(b"<end>") {
        let now = read(&server);
        assert!(!now.is_empty(), "{} of {}", got.len(), sent.len());
        got.extend(now);
        guest.bench.run();
    }
    got.truncate(got.len() - 5);
    assert_eq!(got, sent);
}

#[test]
fn what_was_not_said_before_the_end_is_not_said_after_it() {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    guest.send(&to_host(op::REQUEST));
    for _ in 0..4 {
        guest.send(&to_host(op::RW).with(&vec![1; 60_000]));
    }
    guest.send(&Packet { flags: shutdown::BOTH, ..to_host(op::SHUTDOWN) });
    guest.give(8);
    assert_eq!(said(&guest.receive_all()), [(op::RST, 0)]);
    let (_, server) = host.server().unwrap();
    let mut got = 0;
    while got < 240_000 {
        got += read(&server).len();
        guest.bench.run();
    }
    assert_eq!(guest.receive_all(), []);
}

#[test]
fn a_host_that_hangs_up_is_heard_before_it_is_missed() {
    let (mut guest, mut server) = connected(4);
    server.write_all(b"goodbye").unwrap();
    drop(server);
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RW, 4), (op::CREDIT_REQUEST, 0)]);
    // Nobody reads this. The guest hears so, but its own credit goes on.
    guest.send(&Packet { buf_alloc: 4, ..to_host(op::RW).with(b"hello?") });
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::SHUTDOWN, 0)]);
    assert_eq!(packets[0].flags, shutdown::RECEIVE);
    guest.send(&Packet { buf_alloc: 4, fwd_cnt: 4, ..to_host(op::RW).with(&[0; 1000]) });
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RW, 3), (op::SHUTDOWN, 0)]);
    assert_eq!((packets[0].payload.as_slice(), packets[0].fwd_cnt), (&b"bye"[..], 1006));
    assert_eq!(packets[1].flags, shutdown::BOTH);
    // As Linux answers that.
    guest.send(&to_host(op::RST));
    assert_eq!(guest.receive_all(), []);
}

#[test]
fn a_host_that_hangs_up_on_unread_bytes_resets() {
    let (mut guest, server) = connected(1000);
    guest.send(&to_host(op::RW).with(b"unread"));
    drop(server);
    let packets = guest.receive_all();
    assert_eq!(said(&packets), [(op::RST, 0)]);
}

#[test]
fn a_guest_that_hangs_up() {
    let (mut guest, server) = connected(1000);
    guest.send(&to_host(op::RW).with(b"last words"));
    guest.send(&to_host(op::RST));
    assert_eq!(read(&server), b"last words<end>");
    assert_eq!(guest.receive_all(), []);
}

#[test]
fn everybody_has_a_turn() {
    let host = Pairs::new().unwrap();
    let mut guest = Guest::new(host.clone());
    guest.give(1);
    let mut servers = Vec::new();
    for port in [1, 2] {
        guest.send(&Packet::new(op::REQUEST, port, 80));
        guest.receive_all();
        servers.push(host.server().unwrap().1);
    }
    for server in &mut servers {
        server.write_all(&vec![0; 40_000]).unwrap();
    }
    guest.bench.run();
    assert!(guest.receive().is_some(), "one has the only buffer, both have more to say");
    guest.give(8);
    let ports: Vec<_> = std::iter::from_fn(|| guest.receive()).map(|packet| packet.dst_port).collect();
    assert!(ports == [1, 2, 1, 2, 1, 2, 1, 2] || ports == [2, 1, 2, 1, 2, 1, 2, 1], "{ports:?}");
}
