use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::atomic::{AtomicU32, Ordering};

use strata_devices::virtio::testing::{Bench, FREE, Memory};
use strata_devices::virtio::vsock::Vsock;

use super::*;

/// A directory of the test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("strata-vsock-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("v")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type VsockBench = Bench<Vsock<Memory, UnixVsock>>;

fn bench(place: &Place) -> VsockBench {
    let device = Vsock::new(3, UnixVsock::new(place.socket()).unwrap()).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(0);
    for buffer in 0..16 {
        bench.queue(0).add(&[], &[(FREE + buffer * 0x1000, 0x1000)]);
    }
    bench.notify(0);
    bench
}

/// What the guest sends from.
const OUT: u64 = FREE + 0x8_0000;

/// Sends a packet: ports are the guest's and the host's.
fn send(bench: &mut VsockBench, (from, to): (u32, u32), op: u16, flags: u32, payload: &[u8]) {
    let mut packet = Vec::new();
    packet.extend(3_u64.to_le_bytes());
    packet.extend(2_u64.to_le_bytes());
    packet.extend(from.to_le_bytes());
    packet.extend(to.to_le_bytes());
    packet.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    packet.extend(1_u16.to_le_bytes());
    packet.extend(op.to_le_bytes());
    packet.extend(flags.to_le_bytes());
    packet.extend(0x1_0000_u32.to_le_bytes());
    packet.extend(0_u32.to_le_bytes());
    packet.extend(payload);
    bench.write(OUT, &packet);
    bench.queue(1).add(&[(OUT, u32::try_from(packet.len()).unwrap())], &[]);
    bench.notify(1);
    bench.run();
    assert!(bench.queue(1).used().is_some());
}

/// What the guest receives: the host's port, its own, the operation, the payload.
fn receive(bench: &mut VsockBench) -> Option<(u32, u32, u16, Vec<u8>)> {
    let (head, len) = bench.queue(0).used()?;
    let packet = bench.read(FREE + u64::from(head) * 0x1000, len as usize);
    let word = |at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().unwrap());
    Some((word(16), word(20), (word(28) >> 16) as u16, packet[44..].to_vec()))
}

fn line(client: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, client).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_client_reaches_the_guest() {
    let place = Place::new();
    let mut bench = bench(&place);
    let mut client = UnixStream::connect(place.socket()).unwrap();
    // In pieces, and with the first bytes behind it.
    client.write_all(b"CONN").unwrap();
    bench.run();
    assert_eq!(receive(&mut bench), None);
    client.write_all(b"ECT 52\nhello").unwrap();
    bench.run();
    let (host_port, guest_port, op, _) = receive(&mut bench).unwrap();
    assert_eq!((guest_port, op), (52, 1), "a request");
    assert_eq!(receive(&mut bench), None, "nothing before the guest has accepted");

    send(&mut bench, (52, host_port), 2, 0, b"");
    assert_eq!(line(&client), format!("OK {host_port}\n"));
    assert_eq!(receive(&mut bench), Some((host_port, 52, 5, b"hello".to_vec())));
    send(&mut bench, (52, host_port), 5, 0, b"to you, too\n");
    assert_eq!(line(&client), "to you, too\n");
    send(&mut bench, (52, host_port), 3, 0, b"");
    assert_eq!(line(&client), "", "the end");
}

#[test]
fn a_client_whom_the_guest_does_not_accept_is_closed() {
    let place = Place::new();
    let mut bench = bench(&place);
    let mut client = UnixStream::connect(place.socket()).unwrap();
    client.write_all(b"connect 4294967294\r\n").unwrap();
    bench.run();
    let (host_port, guest_port, ..) = receive(&mut bench).unwrap();
    send(&mut bench, (guest_port, host_port), 3, 0, b"");
    assert_eq!(line(&client), "");
}

#[test]
fn a_client_that_says_something_else_is_closed() {
    let place = Place::new();
    let mut bench = bench(&place);
    for said in [
        &b"\n"[..],
        b"CONNECT\n",
        b"CONNECT 4294967296\n",
        b"CONNECT +5\n",
        b"CONNECT -1\n",
        b"CONNECT 5 6\n",
        b"CONNECT5\n",
        b"GET / HTTP/1.1\n",
        b"CONNECT \xff\n",
        b"CONNECT 52                                ",
        &[0; 40],
    ] {
        let mut client = UnixStream::connect(place.socket()).unwrap();
        client.write_all(said).unwrap();
        bench.run();
        let end = client.read(&mut [0]);
        assert!(matches!(&end, Ok(0)) || end.is_err(), "{said:?}: {end:?}");
        assert_eq!(receive(&mut bench), None, "{said:?}");
    }
}

#[test]
fn the_guest_reaches_who_listens_on_its_port() {
    let place = Place::new();
    let mut bench = bench(&place);
    send(&mut bench, (1000, 80), 1, 0, b"");
    assert_eq!(receive(&mut bench), Some((80, 1000, 3, vec![])), "nobody listens");

    let service = UnixListener::bind(place.0.join("v_80")).unwrap();
    send(&mut bench, (1000, 80), 1, 0, b"");
    assert_eq!(receive(&mut bench), Some((80, 1000, 2, vec![])));
    let (mut server, _) = service.accept().unwrap();
    send(&mut bench, (1000, 80), 5, 0, b"GET /\n");
    assert_eq!(line(&server), "GET /\n");
    server.write_all(b"no").unwrap();
    drop(server);
    bench.run();
    assert_eq!(receive(&mut bench), Some((80, 1000, 5, b"no".to_vec())));
    assert_eq!(receive(&mut bench), Some((80, 1000, 4, vec![])));

    drop(service);
    send(&mut bench, (1001, 80), 1, 0, b"");
    assert_eq!(receive(&mut bench), Some((80, 1001, 3, vec![])), "nobody listens any more");
}

#[test]
fn a_service_that_accepts_nobody_stalls_nothing() {
    let place = Place::new();
    let mut bench = bench(&place);
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(place.0.join("v_80")).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    send(&mut bench, (1000, 80), 1, 0, b"");
    assert_eq!(receive(&mut bench), Some((80, 1000, 2, vec![])));
    // Its backlog is full now: whoever waits to connect waits until it accepts.
    send(&mut bench, (1001, 80), 1, 0, b"");
    assert_eq!(receive(&mut bench), Some((80, 1001, 3, vec![])));
}

#[test]
fn a_client_of_a_guest_without_a_driver_is_closed() {
    let place = Place::new();
    let mut bench = bench(&place);
    bench.reset();
    let client = UnixStream::connect(place.socket()).unwrap();
    bench.run();
    assert_eq!(line(&client), "");
}

#[test]
fn a_name_that_cannot_be_had() {
    let place = Place::new();
    let said = |path: PathBuf| UnixVsock::new(path).unwrap_err().to_string();
    assert!(said("/".repeat(97).into()).contains("at most 96 bytes"));
    assert!(said(place.0.join("no/such/place")).starts_with("cannot listen on"));

    let path = place.socket();
    fs::write(&path, "a file").unwrap();
    assert!(said(path.clone()).contains("is no socket"));
    assert_eq!(fs::read(&path).unwrap(), b"a file");
    fs::remove_file(&path).unwrap();

    let first = UnixVsock::new(&path).unwrap();
    assert!(said(path.clone()).contains("in use"));
    assert_eq!(first.path(), path);
    drop(first);
    assert!(!path.exists(), "removed at the end");
}

#[test]
fn what_a_dead_process_left_is_replaced() {
    let place = Place::new();
    let path = place.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let host = UnixVsock::new(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    // Somebody else's, by now.
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(host);
    assert!(path.exists(), "not its own");
}
