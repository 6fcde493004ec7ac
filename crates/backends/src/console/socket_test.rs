use std::io::{ErrorKind, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;

use strata_devices::virtio::console::{Console, Port};
use strata_devices::virtio::testing::{Bench, FREE};

use super::super::testing::Guest;
use super::*;

/// A path that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("strata-console-{name}-{}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(&self.0).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    fn guest(&self) -> Guest {
        Guest::new(UnixSocket::bind(&self.0).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_client_talks_with_the_guest() {
    let place = Place::new("talks");
    let mut guest = place.guest();
    guest.print(b"to nobody");
    assert!(guest.has_printed());
    let mut client = place.connect();
    client.write_all(b"hello").unwrap();
    guest.until_received(b"hello");
    guest.print(b"hi");
    guest.until_printed();
    assert_eq!(guest.until_read(&mut client, 2), b"hi");
}

#[test]
fn clients_come_one_after_another() {
    let place = Place::new("after");
    let mut guest = place.guest();
    let (mut one, mut two) = (place.connect(), place.connect());
    guest.bench.run();
    two.write_all(b"two").unwrap();
    one.write_all(b"one ").unwrap();
    guest.until_received(b"one ");
    guest.print(b"1");
    assert_eq!(guest.until_read(&mut one, 1), b"1");
    assert_eq!(two.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(one);
    guest.until_received(b"one two");
    guest.until_printed();
    guest.print(b"2");
    assert_eq!(guest.until_read(&mut two, 1), b"2");
    drop(two);
    let mut three = place.connect();
    three.write_all(b" three").unwrap();
    guest.until_received(b"one two three");
}

#[test]
fn a_slow_client_holds_the_guest_up_until_it_goes() {
    let place = Place::new("slow");
    let mut guest = place.guest();
    let mut client = place.connect();
    guest.bench.run();
    let much = vec![b'm'; 1 << 20];
    guest.print(&much);
    assert!(!guest.has_printed());
    assert!(guest.until_read(&mut client, much.len()) == much);
    guest.until_printed();
    guest.print(&much);
    assert!(!guest.has_printed());
    drop(client);
    guest.until_printed();
}

#[test]
fn one_who_says_no_more_still_listens() {
    let place = Place::new("half");
    let mut guest = place.guest();
    let mut client = place.connect();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    guest.until_received(b"question");
    guest.print(b"answer");
    guest.until_printed();
    assert_eq!(guest.until_read(&mut client, 6), b"answer");
    drop(client);
    let mut next = place.connect();
    next.write_all(b"!").unwrap();
    guest.until_received(b"question!");
}

#[test]
fn one_who_is_gone_makes_way_though_the_guest_reads_nothing() {
    let place = Place::new("gone");
    let mut guest = place.guest();
    let mut client = place.connect();
    guest.bench.run();
    client.write_all(b"never read").unwrap();
    drop(client);
    guest.bench.run();
    let mut next = place.connect();
    guest.bench.run();
    guest.print(b"welcome");
    guest.until_printed();
    assert_eq!(guest.until_read(&mut next, 7), b"welcome");
    next.write_all(b"read").unwrap();
    guest.until_received(b"read");
}

#[test]
fn a_guest_is_told_who_comes_and_goes_and_a_named_port_keeps_its_output() {
    let place = Place::new("told");
    let device = Console::new(vec![Port::named("agent", UnixSocket::bind(&place.0).unwrap())]).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(2);
    // Where messages lie, one after another; port 0 is ready and open in the guest.
    for (at, message) in [[0, 0, 0, 0, 3, 0, 1, 0], [0, 0, 0, 0, 6, 0, 1, 0]].iter().enumerate() {
        let at = FREE + 8 * at as u64;
        bench.write(at, message);
        bench.queue(3).add(&[(at, 8)], &[]);
    }
    for at in 0..8 {
        bench.queue(2).add(&[], &[(FREE + 0x1000 + at * 16, 16)]);
    }
    bench.notify(3);
    bench.queue(1).add(&[(FREE + 4, 4)], &[]);
    bench.notify(1);
    bench.run();
    let next = |bench: &mut Bench<_>, at: u64| {
        bench.run_until(|bench| bench.queue(2).used().is_some());
        bench.read(FREE + 0x1000 + at * 16, 8)
    };
    assert_eq!(next(&mut bench, 0), [0, 0, 0, 0, 7, 0, 1, 0]);
    assert_eq!(bench.queue(1).used(), None);
    let mut client = place.connect();
    assert_eq!(next(&mut bench, 1), [0, 0, 0, 0, 6, 0, 1, 0]);
    bench.run_until(|bench| bench.queue(1).used().is_some());
    let mut kept = [0; 8];
    assert_eq!((client.read(&mut kept).unwrap(), kept[0]), (4, 3));
    drop(client);
    assert_eq!(next(&mut bench, 2), [0, 0, 0, 0, 6, 0, 0, 0]);
    let _client = place.connect();
    assert_eq!(next(&mut bench, 3), [0, 0, 0, 0, 6, 0, 1, 0]);
}

#[test]
fn a_socket_left_behind_is_replaced_and_another_is_not() {
    let place = Place::new("left");
    drop(UnixListener::bind(&place.0).unwrap());
    let socket = UnixSocket::bind(&place.0).unwrap();
    let error = UnixSocket::bind(&place.0).unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error:?}");
    drop(socket);
    assert!(!place.0.exists(), "it goes with its owner");
    let socket = UnixSocket::bind(&place.0).unwrap();
    fs::remove_file(&place.0).unwrap();
    fs::write(&place.0, "somebody else's").unwrap();
    drop(socket);
    let error = UnixSocket::bind(&place.0).unwrap_err();
    assert!(matches!(error, SocketError::Bind { .. }), "{error:?}");
    assert_eq!(fs::read(&place.0).unwrap(), b"somebody else's");
    fs::remove_file(&place.0).unwrap();
    let _datagrams = UnixDatagram::bind(&place.0).unwrap();
    let error = UnixSocket::bind(&place.0).unwrap_err();
    assert!(matches!(error, SocketError::Bind { .. }), "{error:?}");
}
