#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are short here")]

use std::sync::{Arc, Mutex};

use super::super::rate::{Limit, RateLimits};
use super::super::testing::{Bench, FREE, Memory};
use super::super::{VirtioMmio, feature as ring};
use super::testing::Wire;
use super::*;

pub(super) type NetBench = Bench<Net<Wire, Memory>>;

fn config() -> NetConfig {
    NetConfig::new("52:54:00:12:34:56".parse().unwrap())
}

/// A device with so many pairs, after `set` has changed their scripts.
pub(super) fn bench_of(pairs: usize, set: impl Fn(&mut testing::Script)) -> (NetBench, Vec<Wire>) {
    let wires: Vec<_> = (0..pairs).map(|_| Wire::new().unwrap()).collect();
    for wire in &wires {
        set(&mut wire.script());
    }
    let net = Net::new(&config(), wires.clone()).unwrap();
    let workers = net.workers();
    (Bench::new(net, workers), wires)
}

pub(super) fn bench(features: u64) -> (NetBench, Wire) {
    let (mut bench, mut wires) = bench_of(1, |script| script.offloads = feature::OFFLOADS);
    bench.start(features);
    (bench, wires.remove(0))
}

/// A packet of so many bytes, its header among them, which says that nothing is to be done.
pub(super) fn packet(len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let header = HEADER.min(len);
    packet[..header].fill(0);
    packet
}

/// The same as the guest has to find it.
pub(super) fn with_buffers(mut packet: Vec<u8>, count: u16) -> Vec<u8> {
    packet[10..12].copy_from_slice(&count.to_le_bytes());
    packet
}

pub(super) const RX: usize = 0;
pub(super) const TX: usize = 1;

#[test]
fn what_is_offered_is_what_the_back_end_can() {
    let always = feature::MAC | feature::STATUS | feature::MRG_RXBUF;
    let offered = |pairs, offloads, mtu| {
        let (mut bench, _) = bench_of(pairs, |script| (script.offloads, script.mtu) = (offloads, mtu));
        bench.offered() & !ring::OF_RING
    };
    assert_eq!(offered(1, 0, None), always);
    assert_eq!(offered(1, u64::MAX, None), always | feature::OFFLOADS);
    assert_eq!(offered(1, 0, Some(1400)), always | feature::MTU);
    assert_eq!(offered(1, 0, Some(67)), always, "none that the specification does not allow");
    assert_eq!(offered(2, 0, None), always | feature::MQ | feature::CTRL_VQ);
    assert_eq!(offered(1, feature::GUEST_TSO4, None), always, "which needs GUEST_CSUM");
}

#[test]
fn the_configuration_space() {
    let (mut bench, _) = bench_of(3, |script| script.mtu = Some(9000));
    assert_eq!(bench.config::<16>(0), [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 3, 0, 0x28, 0x23, 0, 0, 0, 0]);
    assert_eq!(bench.config::<2>(9), [0, 0x28]);
}

#[test]
fn how_many_pairs_there_may_be() {
    for count in [0, 65] {
        let wires = (0..count).map(|_| Wire::new().unwrap()).collect();
        let error = Net::<_, Memory>::new(&config(), wires).unwrap_err();
        assert!(matches!(error, NetError::Pairs(pairs) if pairs == count), "{error}");
    }
}

#[test]
fn packets_are_sent_however_they_are_cut() {
    for cuts in [vec![], vec![12], vec![1, 11, 13], vec![5, 5, 90], vec![99]] {
        let (mut bench, wire) = bench(0);
        let packet = packet(100);
        let (mut parts, mut at, mut from) = (Vec::new(), FREE, 0);
        for to in cuts.iter().copied().chain([packet.len()]) {
            bench.write(at, &packet[from..to]);
            parts.push((at, (to - from) as u32));
            (at, from) = (at + 0x1000, to);
        }
        let head = bench.queue(TX).add(&parts, &[]);
        bench.notify(1);
        assert_eq!(bench.run(), 1);
        assert_eq!((wire.sent(), bench.queue(TX).used()), (vec![packet], Some((head, 0))), "{cuts:?}");
    }
}

#[test]
fn what_is_no_packet_is_not_sent() {
    let (mut bench, wire) = bench(0);
    bench.queue(TX).add(&[(FREE, 11)], &[]);
    bench.queue(TX).add(&[], &[(FREE, 100)]);
    bench.queue(TX).add(&[(FREE, LONGEST as u32 + 1)], &[]);
    bench.queue(TX).add(&[(FREE, 12)], &[]);
    bench.notify(1);
    assert_eq!(bench.run(), 1);
    assert_eq!(std::iter::from_fn(|| bench.queue(TX).used()).count(), 4);
    assert_eq!(wire.sent().len(), 1);
    assert_eq!(bench.device().counts(), Counts { sent: 1, not_sent: 3, ..Counts::default() });
}

#[test]
fn a_host_that_is_not_ready_holds_packets_up_and_loses_none() {
    let (mut bench, wire) = bench(0);
    wire.script().room = Some(2);
    for place in 0..4_u8 {
        bench.write(FREE + 0x100 * u64::from(place), &[place; 20]);
        bench.queue(TX).add(&[(FREE + 0x100 * u64::from(place), 20)], &[]);
    }
    bench.notify(1);
    assert_eq!((bench.run(), wire.sent().len()), (1, 2));
    for _ in 0..3 {
        bench.notify(1);
    }
    assert_eq!((bench.run(), wire.sent().len()), (0, 0), "the guest's notifications change nothing");
    wire.script().room = None;
    wire.ready();
    bench.run();
    assert_eq!(wire.sent(), [vec![2; 20], vec![3; 20]]);
    assert_eq!(std::iter::from_fn(|| bench.queue(TX).used()).count(), 4);
}

#[test]
fn a_packet_that_the_host_refuses_is_dropped() {
    let (mut bench, wire) = bench(0);
    wire.script().refuses = true;
    bench.queue(TX).add(&[(FREE, 60)], &[]);
    bench.notify(1);
    bench.run();
    wire.script().refuses = false;
    wire.script().garbles = true;
    bench.queue(TX).add(&[(FREE, 60)], &[]);
    bench.notify(1);
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.notify(0);
    wire.put(packet(60));
    bench.run();
    assert_eq!(bench.device().counts(), Counts { sent: 1, not_sent: 1, received: 0, not_received: 1 });
    wire.put(packet(60));
    bench.run();
    assert_eq!(bench.queue(RX).used(), Some((0, 60)), "its buffer is there for the next one");
}

#[test]
fn a_link_that_is_lost_is_down_and_the_guest_goes_on() {
    for direction in [RX, TX] {
        let (mut bench, wire) = bench(feature::STATUS);
        bench.queue(RX).add(&[], &[(FREE, 1526)]);
        bench.notify(0);
        bench.run();
        let generation = bench.register(0xfc);
        wire.script().is_lost = true;
        if direction == RX {
            wire.ready();
            assert_eq!(bench.run(), 1);
        } else {
            for _ in 0..3 {
                bench.queue(TX).add(&[(FREE, 60)], &[]);
            }
            bench.notify(1);
            assert!(bench.run() >= 1);
        }
        assert_ne!(bench.register(0x60) & 2, 0, "the configuration has changed");
        assert_eq!((bench.register(0xfc), bench.config::<2>(6)), (generation + 1, [0, 0]));
        assert!(!bench.needs_reset());
        // What it sends is taken and dropped.
        while bench.queue(TX).used().is_some() {}
        bench.queue(TX).add(&[(FREE, 60)], &[]);
        bench.notify(1);
        assert_eq!(bench.run(), 1);
        assert!(bench.queue(TX).used().is_some());
        bench.start(feature::STATUS);
        bench.notify(1);
        bench.run();
        assert_eq!(bench.config::<2>(6), [0, 0], "for good");
    }
}

#[test]
fn a_link_lost_while_packets_wait_frees_them() {
    let (mut bench, wire) = bench(0);
    wire.script().room = Some(0);
    for _ in 0..4 {
        bench.queue(TX).add(&[(FREE, 60)], &[]);
    }
    bench.notify(1);
    assert_eq!(bench.run(), 0);
    wire.script().is_lost = true;
    wire.ready();
    bench.run();
    assert_eq!(std::iter::from_fn(|| bench.queue(TX).used()).count(), 4);
    assert_eq!(bench.device().counts().not_sent, 4);
}

#[test]
fn a_reset_forgets_what_was_under_way() {
    let (mut bench, wire) = bench(feature::MRG_RXBUF);
    wire.script().room = Some(0);
    bench.queue(RX).add(&[], &[(FREE, 100)]);
    bench.queue(TX).add(&[(FREE, 60)], &[]);
    bench.notify(0);
    bench.notify(1);
    wire.put(packet(1000));
    bench.run();
    bench.reset();
    bench.write(FREE, &[0xaa; 2000]);
    wire.script().room = None;
    wire.put(packet(50));
    bench.notify(0);
    bench.notify(1);
    assert_eq!(bench.run(), 0);
    assert_eq!((bench.read(FREE, 2000), wire.sent().len()), (vec![0xaa; 2000], 0));
    bench.start(0);
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(RX).used(), Some((0, 50)));
    bench.queue(TX).add(&[(FREE, 60)], &[]);
    bench.notify(1);
    bench.run();
    assert_eq!((wire.sent().len(), bench.queue(TX).used()), (1, Some((0, 0))));
}

#[test]
fn offloads_are_set_as_the_driver_takes_them() {
    for (taken, set) in [
        (0, 0),
        (feature::GUEST_CSUM, feature::GUEST_CSUM),
        (feature::GUEST_TSO4, 0),
        (feature::GUEST_CSUM | feature::GUEST_ECN, feature::GUEST_CSUM),
        (feature::OFFLOADS, feature::GUEST_OFFLOADS),
    ] {
        let (_, wire) = bench(taken);
        assert_eq!(wire.script().offloads_set, Some(set), "{taken:#x}");
    }
}

/// Every combination of what the driver may take, with a packet each way.
#[test]
fn all_features_work_together() {
    let bits = [
        feature::CSUM,
        feature::GUEST_CSUM,
        feature::GUEST_TSO4,
        feature::HOST_TSO4,
        feature::MRG_RXBUF,
        feature::STATUS,
        feature::MQ,
        feature::CTRL_VQ,
        ring::EVENT_IDX,
        ring::INDIRECT_DESC,
    ];
    for choice in 0..1_usize << bits.len() {
        let features =
            (0..bits.len()).filter(|bit| choice >> bit & 1 != 0).fold(0, |all, bit| all | bits[bit]);
        let (mut bench, wires) = bench_of(2, |script| script.offloads = feature::OFFLOADS);
        bench.start(features);
        bench.queue(RX).add(&[], &[(FREE, 1526)]);
        bench.notify(0);
        wires[0].put(packet(700));
        bench.queue(TX).add(&[(FREE + 0x1000, 700)], &[]);
        bench.notify(1);
        assert!(bench.run() >= 1, "{features:#x}");
        assert_eq!(bench.queue(RX).used(), Some((0, 700)), "{features:#x}");
        assert_eq!(bench.queue(TX).used(), Some((0, 0)), "{features:#x}");
        assert_eq!(wires[0].sent().len(), 1, "{features:#x}");
    }
}

#[test]
fn a_wake_up_ends_even_when_packets_do_not() {
    // Each way no more than a ring's worth, and then the other way has its turn: `run` sees all of them in the end.
    let (mut bench, wire) = bench(0);
    wire.script().incoming = (0..100).map(|_| packet(60)).collect();
    for _ in 0..16 {
        bench.queue(RX).add(&[], &[(FREE, 1526)]);
        bench.queue(TX).add(&[(FREE, 60)], &[]);
    }
    wire.ready();
    bench.notify(1);
    bench.run();
    assert_eq!(wire.script().incoming.len(), 84, "as many as there are buffers");
    assert_eq!(wire.sent().len(), 16);
}

#[test]
fn limits_hold_packets_up() {
    let wire = Wire::new().unwrap();
    let limit =
        RateLimits { operations: Some(Limit { per_second: 1000, burst: 2 }), ..RateLimits::default() };
    let config = NetConfig { receive_limits: limit, send_limits: limit, ..config() };
    let net = Net::new(&config, vec![wire.clone()]).unwrap();
    let workers = net.workers();
    let mut bench = Bench::new(net, workers);
    bench.start(0);
    for _ in 0..8 {
        bench.queue(RX).add(&[], &[(FREE, 1526)]);
        bench.queue(TX).add(&[(FREE, 60)], &[]);
        wire.put(packet(60));
    }
    bench.notify(0);
    bench.notify(1);
    let done = Counts { received: 8, sent: 8, ..Counts::default() };
    bench.run_until(|bench| bench.device().counts() == done);
    assert_eq!(wire.sent().len(), 8);
}

#[test]
fn bears_what_a_guest_does_to_it() {
    let memory = vm_memory::GuestMemoryMmap::<()>::from_ranges(&[(vm_memory::GuestAddress(0), 0x1_0000)]);
    let memory = Arc::new(memory.unwrap());
    let make = || {
        let net = Net::new(&config(), vec![Wire::new().unwrap(), Wire::new().unwrap()]).unwrap();
        Mutex::new(VirtioMmio::new(net, Arc::clone(&memory), Arc::new(crate::NoIrq)))
    };
    crate::conformance::check("virtio-net", VirtioMmio::LEN, make).unwrap();
}
