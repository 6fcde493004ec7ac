//! A network device on a real TAP, in a network namespace of the test's own.

#![allow(missing_docs)]

mod common;

use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use common::{MAC, RX, TX, arp_request, bench, enter_namespace, fill, ip, is_arp_reply, receive, send, udp};
use strata_backends::tap::{Tap, TapError, TapOptions};
use strata_devices::virtio::net::{HEADER, NetBackend as _, feature};

const HOST: [u8; 4] = [10, 0, 0, 1];
const GUEST: [u8; 4] = [10, 0, 0, 2];

/// Whether TAPs can be had here.
fn can(what: &str) -> bool {
    if !common::has("ip") {
        eprintln!("not run: {what}: the program ip is not installed");
        return false;
    }
    if !enter_namespace(what) {
        return false;
    }
    match Tap::open(&TapOptions::new("probe")) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("not run: {what}: {error}");
            false
        }
    }
}

/// The namespace's interface, up and with an address; gives its Ethernet address.
fn up(name: &str) -> [u8; 6] {
    ip(&format!("addr add 10.0.0.1/24 dev {name}"));
    ip(&format!("link set {name} address 02:00:00:00:00:07 up"));
    ip(&format!("neigh replace 10.0.0.2 lladdr 52:54:00:12:34:56 dev {name}"));
    [2, 0, 0, 0, 0, 7]
}

#[test]
fn packets_pass_both_ways() {
    if !can("packets over a TAP") {
        return;
    }
    let taps = Tap::open(&TapOptions::new("tap%d")).unwrap();
    assert_eq!((taps.len(), taps[0].name(), taps[0].mtu()), (1, "tap0", Some(1500)));
    assert_eq!(taps[0].offloads() & feature::HOST_OFFLOADS, feature::HOST_OFFLOADS);
    let mut bench = bench(taps, 0);
    fill(&mut bench, RX, 1526);
    up("tap0");
    send(&mut bench, TX, [0; HEADER], &arp_request(GUEST, HOST));
    let reply = receive(&mut bench, RX, 1526, |frame| is_arp_reply(frame, HOST));
    assert_eq!(reply[..HEADER], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(reply[HEADER..HEADER + 6], MAC);
}

#[test]
fn checksums_are_left_to_the_other_side() {
    if !can("checksum offload over a TAP") {
        return;
    }
    let mut bench = bench(Tap::open(&TapOptions::new("tap0")).unwrap(), feature::CSUM | feature::GUEST_CSUM);
    fill(&mut bench, RX, 1526);
    let mac = up("tap0");
    let socket = UdpSocket::bind("10.0.0.1:2000").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // VIRTIO_NET_HDR_F_NEEDS_CSUM: from byte 34 on, to be put 6 bytes behind that.
    let header = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
    send(&mut bench, TX, header, &udp(mac, [GUEST, HOST], 2000, b"from the guest"));
    let mut data = [0; 100];
    let (len, from) = socket.recv_from(&mut data).unwrap();
    assert_eq!((&data[..len], from.to_string().as_str()), (&b"from the guest"[..], "10.0.0.2:1000"));

    socket.send_to(b"from the host", "10.0.0.2:3000").unwrap();
    let packet = receive(&mut bench, RX, 1526, |frame| frame.ends_with(b"from the host"));
    assert_eq!((packet[0], packet[6], packet[8]), (1, 34, 6), "the checksum is not filled in");
}

#[test]
fn without_offloads_checksums_are_whole() {
    if !can("packets without offloads over a TAP") {
        return;
    }
    let mut bench = bench(Tap::open(&TapOptions::new("tap0")).unwrap(), feature::MRG_RXBUF);
    fill(&mut bench, RX, 1526);
    up("tap0");
    let socket = UdpSocket::bind("10.0.0.1:2000").unwrap();
    socket.send_to(b"from the host", "10.0.0.2:3000").unwrap();
    let packet = receive(&mut bench, RX, 1526, |frame| frame.ends_with(b"from the host"));
    assert_eq!(packet[0], 0);
    let (ip, length) = (&packet[HEADER + 14..], 8_u8 + 13);
    let pseudo = [&ip[12..20], &[0, 17, 0, length], &ip[20..]].concat();
    assert_eq!(common::sum(&pseudo), 0xffff);
}

#[test]
fn large_packets_are_spread_over_buffers() {
    if !can("large packets over a TAP") {
        return;
    }
    let taps = Tap::open(&TapOptions::new("tap0")).unwrap();
    ip("link set tap0 mtu 9000");
    let mut bench = bench(taps, feature::MRG_RXBUF);
    up("tap0");
    fill(&mut bench, RX, 1526);
    let socket = UdpSocket::bind("10.0.0.1:2000").unwrap();
    let data: Vec<u8> = (0..=250).cycle().take(8000).collect();
    socket.send_to(&data, "10.0.0.2:3000").unwrap();
    let packet = receive(&mut bench, RX, 1526, |frame| frame.len() > 8000);
    assert_eq!((packet[10], packet.len()), (6, HEADER + 42 + 8000));
    assert!(packet.ends_with(&data));
}

#[test]
fn queues_are_switched_on_and_off() {
    if !can("several queues of a TAP") {
        return;
    }
    let taps = Tap::open(&TapOptions { queues: 2, ..TapOptions::new("tap0") }).unwrap();
    let mut bench = bench(taps, feature::MQ | feature::CTRL_VQ);
    fill(&mut bench, RX, 1526);
    fill(&mut bench, 2, 1526);
    up("tap0");
    for (pairs, queue) in [(2_u8, 3), (1, TX), (2, 3)] {
        let command = 0x20_0000 + 0x18_0000;
        bench.write(command, &[4, 0, pairs, 0]);
        bench.queue(4).add(&[(command, 4)], &[(command + 8, 1)]);
        bench.notify(4);
        bench.run();
        assert_eq!(
            (bench.queue(4).used().map(|used| used.1), bench.read(command + 8, 1)),
            (Some(1), vec![0])
        );
        // The kernel answers on the queue that it was asked on last.
        send(&mut bench, queue, [0; HEADER], &arp_request(GUEST, HOST));
        bench.run_until(|bench| {
            let used = [RX, 2].map(|queue| bench.queue(queue).used());
            used.into_iter().flatten().any(|(_, len)| len as usize == HEADER + 42)
        });
    }
    assert_eq!(bench.device().counts().sent, 3);
}

#[test]
fn a_tap_that_is_deleted_takes_the_link_down() {
    if !can("a TAP that is deleted") {
        return;
    }
    let mut bench = bench(Tap::open(&TapOptions::new("tap0")).unwrap(), feature::STATUS);
    fill(&mut bench, RX, 1526);
    up("tap0");
    send(&mut bench, TX, [0; HEADER], &arp_request(GUEST, HOST));
    ip("link del tap0");
    bench.run_until(|bench| !bench.device().is_up());
    assert_eq!(bench.config::<2>(6), [0, 0]);
    send(&mut bench, TX, [0; HEADER], &arp_request(GUEST, HOST));
    assert_eq!(bench.device().counts().not_sent, 1);
}

#[test]
fn a_tap_that_is_not_up_drops_packets_and_is_no_lost_link() {
    if !can("a TAP that is down") {
        return;
    }
    let mut bench = bench(Tap::open(&TapOptions::new("tap0")).unwrap(), 0);
    send(&mut bench, TX, [0; HEADER], &arp_request(GUEST, HOST));
    assert_eq!((bench.device().counts().not_sent, bench.device().is_up()), (1, true));
}

#[test]
fn one_made_to_stay_stays() {
    if !can("a TAP that stays") {
        return;
    }
    drop(Tap::open(&TapOptions { persistent: true, ..TapOptions::new("stays") }).unwrap());
    // Another test's child process may still have the first one's descriptor, between its fork and its exec.
    let again = (0..1000).find_map(|_| {
        let opened = Tap::open(&TapOptions::new("stays"));
        if matches!(opened, Err(TapError::Busy(_))) {
            std::thread::sleep(Duration::from_millis(5));
            return None;
        }
        Some(opened.unwrap())
    });
    drop(again.unwrap());
    ip("link show stays");
    drop(Tap::open(&TapOptions::new("goes")).unwrap());
    let gone = std::process::Command::new("ip").args(["link", "show", "goes"]).output().unwrap();
    assert!(!gone.status.success());
}

#[test]
fn what_is_wrong_with_a_tap_is_said() {
    if !can("TAPs that cannot be had") {
        return;
    }
    let refused = |name, queues| Tap::open(&TapOptions { queues, ..TapOptions::new(name) }).unwrap_err();
    ip("tuntap add one mode tap");
    ip("tuntap add several mode tap multi_queue");
    ip("tuntap add layer3 mode tun");
    let open = Tap::open(&TapOptions::new("one")).unwrap();
    assert!(matches!(refused("one", 1), TapError::Busy(_)));
    assert!(matches!(refused("one", 2), TapError::Kind { several: true, .. }));
    assert!(matches!(refused("several", 1), TapError::Kind { several: false, .. }));
    assert!(matches!(refused("layer3", 1), TapError::Kind { .. }));
    assert!(matches!(refused("lo", 1), TapError::Kind { .. }));
    drop(open);
    assert_eq!(Tap::open(&TapOptions { queues: 3, ..TapOptions::new("several") }).unwrap().len(), 3);
}

#[test]
fn names_and_numbers_that_no_tap_has() {
    for name in ["", "sixteen-letters-", "a/b", "a b", "a:b", "a\0b", ".", ".."] {
        let error = Tap::open(&TapOptions::new(name)).unwrap_err();
        assert!(matches!(error, TapError::Name(_)), "{name:?}: {error}");
    }
    for queues in [0, 65] {
        let error = Tap::open(&TapOptions { queues, ..TapOptions::new("tap0") }).unwrap_err();
        assert!(matches!(error, TapError::Queues(_)), "{error}");
    }
    assert!(matches!(Tap::from_fds(vec![]).unwrap_err(), TapError::Queues(0)));
}

#[test]
fn a_descriptor_that_somebody_else_has_opened() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let number = file.as_raw_fd();
    let error = Tap::from_fds(vec![OwnedFd::from(file)]).unwrap_err();
    assert!(matches!(error, TapError::NotTap(fd) if fd == number), "{error}");
    if !can("a TAP by descriptor") {
        return;
    }
    let opened = Tap::open(&TapOptions::new("tap0")).unwrap();
    let copy = rustix::io::dup(std::os::fd::AsFd::as_fd(opened[0].as_file())).unwrap();
    drop(opened);
    let taps = Tap::from_fds(vec![copy]).unwrap();
    assert_eq!((taps[0].name(), taps[0].mtu()), ("tap0", None));
    let mut bench = bench(taps, 0);
    fill(&mut bench, RX, 1526);
    up("tap0");
    send(&mut bench, TX, [0; HEADER], &arp_request(GUEST, HOST));
    receive(&mut bench, RX, 1526, |frame| is_arp_reply(frame, HOST));
}
