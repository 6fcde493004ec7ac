//! An established vsock connection carries bytes without allocating.

mod counting;

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use strata_backends::vsock::UnixVsock;
use strata_devices::virtio::vsock::testing::{Guest, Packet};

use counting::allocations_of;

/// Operations (Virtio 1.2, 5.10.6).
const REQUEST: u16 = 1;
const RW: u16 = 5;
const CREDIT_UPDATE: u16 = 6;

/// Lets the device work; gives how often it allocated.
fn work(guest: &mut Guest<UnixVsock>) -> usize {
    allocations_of(|| {
        guest.bench.run();
    })
}

/// Everything there is to read.
fn drain(mut server: &UnixStream) -> usize {
    let (mut bytes, mut count) = ([0; 1 << 14], 0);
    loop {
        match server.read(&mut bytes) {
            Ok(got) => count += got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends and receives in such pieces; gives how often the device allocated.
fn round(guest: &mut Guest<UnixVsock>, server: &UnixStream, (sent, received): (&mut u32, &mut u32)) -> usize {
    let mut count = 0;
    // More than the socket takes at once, less than is promised.
    for _ in 0..4 {
        let packet = Packet { fwd_cnt: *received, ..Packet::new(RW, 1, 80) };
        guest.post(&packet.with(&vec![5; 60_000]).bytes(), &[]);
        count += work(guest);
        assert!(guest.bench.queue(1).used().is_some());
        *sent += 60_000;
    }
    let mut drained = 0;
    while drained < 240_000 {
        drained += drain(server);
        count += work(guest);
    }
    let mut server = server;
    server.write_all(&vec![6; 50_000]).unwrap();
    count += work(guest);
    for packet in guest.receive_all() {
        *received += packet.len;
    }
    let packet = Packet { fwd_cnt: *received, ..Packet::new(CREDIT_UPDATE, 1, 80) };
    guest.post(&packet.bytes(), &[]);
    count += work(guest);
    assert!(guest.bench.queue(1).used().is_some());
    count
}

#[test]
fn none_once_it_is_warm() {
    let place = std::env::temp_dir().join(format!("strata-vsock-allocations-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let service = UnixListener::bind(place.join("v_80")).unwrap();
    let mut guest = Guest::new(UnixVsock::new(place.join("v")).unwrap());
    guest.give(60);
    guest.post(&Packet::new(REQUEST, 1, 80).bytes(), &[]);
    let connecting = work(&mut guest);
    assert!(guest.bench.queue(1).used().is_some());
    assert!(connecting > 0, "it is counted at all");
    guest.receive_all();
    let (server, _) = service.accept().unwrap();
    server.set_nonblocking(true).unwrap();

    let (mut sent, mut received) = (0, 0);
    assert!(round(&mut guest, &server, (&mut sent, &mut received)) > 0, "what is kept for the first time");
    for _ in 0..20 {
        assert_eq!(round(&mut guest, &server, (&mut sent, &mut received)), 0);
    }
    assert_eq!((sent, received), (21 * 240_000, 21 * 50_000));
    std::fs::remove_dir_all(&place).unwrap();
}
