//! A guest's side of a network, and a network namespace for the test's thread.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::cast_possible_truncation, reason = "checksums and lengths are cut to their fields")]
#![allow(unsafe_code, reason = "a thread leaves its network namespace")]

use std::process::Command;

use strata_devices::virtio::net::{HEADER, Net, NetBackend, NetConfig};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(crate) const RX: usize = 0;
pub(crate) const TX: usize = 1;
/// Where the guest keeps its receive buffers, and what it sends.
const BUFFERS: u64 = FREE;
const OUT: u64 = FREE + 0x18_0000;

pub(crate) type NetBench<B> = Bench<Net<B, Memory>>;

/// Moves the calling thread to a network namespace of its own, in which nothing is up; `false`, and why, if it may not.
pub(crate) fn enter_namespace(what: &str) -> bool {
    // SAFETY: it changes nothing but this thread's namespace.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        return true;
    }
    let error = std::io::Error::last_os_error();
    eprintln!("not run: {what}: no network namespace of its own: {error}");
    false
}

/// Whether the host has a program.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
        || Command::new(program).arg("-V").output().is_ok()
}

/// Runs `ip` with these arguments, in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A device on these back ends whose driver is ready, with receive buffers of this size.
pub(crate) fn bench<B: NetBackend>(backends: Vec<B>, features: u64) -> NetBench<B> {
    let net = Net::new(&NetConfig::new("52:54:00:12:34:56".parse().unwrap()), backends).unwrap();
    let workers = net.workers();
    let mut bench = Bench::new(net, workers);
    bench.start(features);
    bench
}

/// Gives the device a ring of receive buffers.
pub(crate) fn fill<B: NetBackend>(bench: &mut NetBench<B>, queue: usize, len: u32) {
    for place in 0..16 {
        bench.queue(queue).add(&[], &[(BUFFERS + u64::from(len) * place, len)]);
    }
    bench.notify(queue as u32);
    bench.run();
}

/// Sends an Ethernet frame with this header.
pub(crate) fn send<B: NetBackend>(bench: &mut NetBench<B>, queue: usize, header: [u8; HEADER], frame: &[u8]) {
    bench.write(OUT, &[&header[..], frame].concat());
    bench.queue(queue).add(&[(OUT, HEADER as u32), (OUT + HEADER as u64, frame.len() as u32)], &[]);
    bench.notify(queue as u32);
    bench.run();
}

/// Waits for a frame that is the one wanted; gives it with its header. Buffers have the size they were filled with, and
/// are not given again.
pub(crate) fn receive<B: NetBackend>(
    bench: &mut NetBench<B>,
    queue: usize,
    len: u32,
    wanted: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    let mut found = None;
    bench.run_until(|bench| {
        while found.is_none()
            && let Some((head, written)) = bench.queue(queue).used()
        {
            let at = |head: u16| BUFFERS + u64::from(len) * u64::from(head);
            let mut packet = bench.read(at(head), written as usize);
            let count = u16::from_le_bytes([packet[10], packet[11]]);
            for _ in 1..count {
                let (head, written) = bench.queue(queue).used().expect("the parts are seen together");
                packet.extend(bench.read(at(head), written as usize));
            }
            found = Some(packet).filter(|packet| wanted(&packet[HEADER..]));
        }
        found.is_some()
    });
    found.unwrap()
}

/// An ARP request: who has `target`?
pub(crate) fn arp_request(source: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(MAC);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(MAC);
    frame.extend(source);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

/// Whether a frame is the answer to that.
pub(crate) fn is_arp_reply(frame: &[u8], target: [u8; 4]) -> bool {
    frame.get(12..14) == Some(&[8, 6])
        && frame.get(20..22) == Some(&[0, 2])
        && frame.get(28..32) == Some(&target)
}

/// The internet's checksum before it is inverted.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// A UDP datagram over IPv4, from port 1000, with the checksum that stands for "to be filled in": that of the pseudo
/// header alone.
pub(crate) fn udp(to_mac: [u8; 6], [source, target]: [[u8; 4]; 2], port: u16, data: &[u8]) -> Vec<u8> {
    let length = 8 + data.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + length).to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    ip.extend(source);
    ip.extend(target);
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let pseudo = [&source[..], &target, &[0, 17], &length.to_be_bytes()].concat();
    let mut frame = [&to_mac[..], &MAC, &[8, 0], &ip].concat();
    frame.extend(1000_u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(length.to_be_bytes());
    frame.extend(sum(&pseudo).to_be_bytes());
    frame.extend(data);
    frame
}
