use std::sync::{Arc, Mutex};

use super::super::rate::{Limit, RateLimits};
use super::super::testing::{Bench, FREE, Memory};
use super::super::{VirtioMmio, feature as ring};
use super::testing::Wire;
use super::*;

type NetBench = Bench<Net<Wire, Memory>>;

fn config() -> NetConfig {
    NetConfig::new("52:54:00:12:34:56".parse().unwrap())
}

/// A device with so many pairs, after `set` has changed their scripts.
fn bench_of(pairs: usize, set: impl Fn(&mut testing::Script)) -> (NetBench, Vec<Wire>) {
    let wires: Vec<_> = (0..pairs).map(|_| Wire::new().unwrap()).collect();
    wires.iter().for_each(|wire| set(&mut wire.script()));
    let net = Net::new(&config(), wires.clone()).unwrap();
    let workers = net.workers();
    (Bench::new(net, workers), wires)
}

fn bench(features: u64) -> (NetBench, Wire) {
    let (mut bench, mut wires) = bench_of(1, |script| script.offloads = feature::OFFLOADS);
    bench.start(features);
    (bench, wires.remove(0))
}

/// A packet of so many bytes, its header among them, which says that nothing is to be done.
fn packet(len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let header = HEADER.min(len);
    packet[..header].fill(0);
    packet
}

/// The same as the guest has to find it.
fn with_buffers(mut packet: Vec<u8>, count: u16) -> Vec<u8> {
    packet[10..12].copy_from_slice(&count.to_le_bytes());
    packet
}

const RX: usize = 0;
const TX: usize = 1;

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
fn packets_are_received_however_buffers_are_cut() {
    for cuts in [vec![], vec![12], vec![1, 11, 13], vec![5, 5, 90], vec![99]] {
        let (mut bench, wire) = bench(feature::GUEST_CSUM);
        let (mut parts, mut at, mut from) = (Vec::new(), FREE, 0);
        for to in cuts.iter().copied().chain([120]) {
            parts.push((at, (to - from) as u32));
            (at, from) = (at + 0x1000, to);
        }
        let head = bench.queue(RX).add(&[], &parts);
        bench.notify(0);
        assert_eq!(bench.run(), 0);
        wire.put(packet(100));
        assert_eq!(bench.run(), 1);
        assert_eq!(bench.queue(RX).used(), Some((head, 100)), "{cuts:?}");
        let found: Vec<u8> =
            parts.iter().flat_map(|(at, len)| bench.read(*at, *len as usize)).take(100).collect();
        assert_eq!(found, with_buffers(packet(100), 1), "{cuts:?}");
    }
}

#[test]
fn a_packet_that_came_before_the_driver_is_there_for_it() {
    let (mut bench, wires) = bench_of(1, |_| {});
    wires[0].put(packet(60));
    assert_eq!(bench.run(), 0);
    bench.start(0);
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(RX).used(), Some((0, 60)));
}

#[test]
fn merged_buffers_are_filled_one_after_the_other_and_seen_together() {
    let (mut bench, wire) = bench(feature::MRG_RXBUF | feature::GUEST_CSUM | ring::EVENT_IDX);
    for place in 0..16 {
        bench.queue(RX).add(&[], &[(FREE + 0x1000 * place, 512)]);
    }
    // Not of interest before the third is used.
    bench.queue(RX).set_used_event(2);
    bench.notify(0);
    bench.run();
    wire.put(packet(512));
    assert_eq!(bench.run(), 0);
    wire.put(packet(1300));
    assert_eq!(bench.run(), 1);
    let used: Vec<_> = std::iter::from_fn(|| bench.queue(RX).used()).collect();
    assert_eq!(used, [(0, 512), (1, 512), (2, 512), (3, 276)]);
    assert_eq!(bench.read(FREE, 512), with_buffers(packet(512), 1));
    let found: Vec<u8> = (1..4).flat_map(|place| bench.read(FREE + 0x1000 * place, 512)).collect();
    assert_eq!(found[..1300], with_buffers(packet(1300), 3));
    // The others are still the device's.
    wire.put(packet(20));
    bench.run();
    assert_eq!(bench.queue(RX).used(), Some((4, 20)));
}

#[test]
fn a_large_packet_is_copied_once_and_then_finds_room() {
    let (mut bench, wire) = bench(feature::MRG_RXBUF | feature::GUEST_CSUM);
    let fill = |bench: &mut NetBench| {
        for place in 0..16 {
            bench.queue(RX).add(&[], &[(FREE + 0x2000 * place, 0x1800)]);
        }
        bench.notify(0);
        bench.run();
    };
    fill(&mut bench);
    for round in 0..2 {
        wire.put(packet(LONGEST));
        assert_eq!(bench.run(), 1, "{round}");
        let used: Vec<_> = std::iter::from_fn(|| bench.queue(RX).used()).collect();
        assert_eq!((used.len(), used[10].1), (11, (LONGEST - 10 * 0x1800) as u32), "{round}");
        let found: Vec<u8> = used
            .iter()
            .flat_map(|(head, len)| bench.read(FREE + 0x2000 * u64::from(*head), *len as usize))
            .collect();
        assert!(found == with_buffers(packet(LONGEST), 11), "{round}");
        bench.start(feature::MRG_RXBUF | feature::GUEST_CSUM);
        fill(&mut bench);
    }
}

#[test]
fn a_packet_for_which_there_are_too_few_buffers_waits() {
    let (mut bench, wire) = bench(feature::MRG_RXBUF | feature::GUEST_CSUM);
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.notify(0);
    bench.run();
    wire.put(packet(2000));
    wire.put(packet(30));
    assert_eq!((bench.run(), bench.queue(RX).used()), (0, None));
    bench.queue(RX).add(&[], &[(FREE + 0x1000, 100)]);
    bench.notify(0);
    assert_eq!((bench.run(), bench.queue(RX).used()), (0, None));
    bench.queue(RX).add(&[], &[(FREE + 0x2000, 600)]);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    let used: Vec<_> = std::iter::from_fn(|| bench.queue(RX).used()).collect();
    assert_eq!(used, [(0, 1526), (1, 100), (2, 374)]);
    let found = [bench.read(FREE, 1526), bench.read(FREE + 0x1000, 100), bench.read(FREE + 0x2000, 374)];
    assert_eq!(found.concat(), with_buffers(packet(2000), 3));
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(RX).used(), Some((3, 30)));
}

#[test]
fn a_packet_that_no_ring_could_hold_is_dropped() {
    let (mut bench, wire) = bench(feature::MRG_RXBUF);
    for place in 0..16 {
        bench.queue(RX).add(&[], &[(FREE + 0x1000 * place, 64)]);
    }
    bench.notify(0);
    wire.put(packet(1025));
    wire.put(packet(1024));
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(RX).used(), Some((0, 64)));
    assert_eq!(bench.device().counts(), Counts { received: 1, not_received: 1, ..Counts::default() });
}

#[test]
fn a_packet_longer_than_a_buffer_that_cannot_be_merged_is_dropped() {
    let (mut bench, wire) = bench(0);
    bench.queue(RX).add(&[], &[(FREE, 100)]);
    bench.queue(RX).add(&[], &[(FREE + 0x1000, 100)]);
    bench.notify(0);
    wire.put(packet(101));
    wire.put(packet(100));
    bench.run();
    assert_eq!((bench.queue(RX).used(), bench.queue(RX).used()), (Some((0, 100)), None));
    assert_eq!(bench.device().counts().not_received, 1);
}

#[test]
fn flags_that_the_driver_would_not_understand_are_not_shown_to_it() {
    let mut flagged = packet(60);
    flagged[0] = 2;
    for (features, flags) in [(0, 0), (feature::GUEST_CSUM, 2)] {
        let (mut bench, wire) = bench(features);
        bench.queue(RX).add(&[], &[(FREE, 1526)]);
        bench.notify(0);
        wire.put(flagged.clone());
        bench.run();
        assert_eq!(bench.read(FREE, 1), [flags]);
    }
}

#[test]
fn a_buffer_too_short_for_a_header_is_given_back() {
    for features in [0, feature::MRG_RXBUF] {
        let (mut bench, wire) = bench(features);
        bench.queue(RX).add(&[], &[(FREE, 11)]);
        bench.queue(RX).add(&[(FREE, 100)], &[]);
        bench.queue(RX).add(&[], &[(FREE, 100)]);
        bench.notify(0);
        wire.put(packet(50));
        bench.run();
        let used: Vec<_> = std::iter::from_fn(|| bench.queue(RX).used()).collect();
        assert_eq!(used, [(0, 0), (1, 0), (2, 50)]);
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

/// Sends a command; gives the answer.
fn command(bench: &mut NetBench, queue: usize, bytes: &[u8]) -> u8 {
    bench.write(FREE, bytes);
    bench.write(FREE + 0x1000, &[0xee]);
    bench.queue(queue).add(&[(FREE, bytes.len() as u32)], &[(FREE + 0x1000, 1)]);
    bench.notify(queue as u32);
    bench.run();
    assert_eq!(bench.queue(queue).used().map(|(_, written)| written), Some(1));
    bench.read(FREE + 0x1000, 1)[0]
}

#[test]
fn pairs_are_switched_by_command() {
    let (mut bench, wires) = bench_of(3, |_| {});
    bench.start(feature::MQ | feature::CTRL_VQ);
    let enabled = || [1, 2].map(|pair: usize| wires[pair].script().enabled);
    assert_eq!(enabled(), [Some(false), Some(false)]);
    for pair in 0..3 {
        bench.queue(2 * pair).add(&[], &[(FREE + 0x1_0000 * (pair as u64 + 1), 1526)]);
        bench.notify(2 * pair as u32);
    }
    wires[1].put(packet(60));
    bench.run();
    assert_eq!(bench.queue(2).used(), None, "not before it takes part");
    assert_eq!((command(&mut bench, 6, &[4, 0, 2, 0]), enabled()), (0, [Some(true), Some(false)]));
    assert_eq!(bench.queue(2).used(), Some((0, 60)));
    bench.queue(3).add(&[(FREE, 60)], &[]);
    bench.queue(5).add(&[(FREE, 60)], &[]);
    bench.notify(3);
    bench.notify(5);
    bench.run();
    assert_eq!((wires[1].sent().len(), wires[2].sent().len()), (1, 0));
    assert!(bench.queue(5).used().is_some(), "what is sent on one that is off is dropped");
    assert_eq!((command(&mut bench, 6, &[4, 0, 3, 0]), enabled()), (0, [Some(true), Some(true)]));
    wires[2].put(packet(60));
    bench.run();
    assert_eq!(bench.queue(4).used(), Some((0, 60)));
    assert_eq!((command(&mut bench, 6, &[4, 0, 1, 0]), enabled()), (0, [Some(false), Some(false)]));
}

#[test]
fn other_commands_are_errors() {
    let (mut bench, wires) = bench_of(2, |_| {});
    bench.start(feature::MQ | feature::CTRL_VQ);
    let bad: [&[u8]; 8] = [
        &[],
        &[4],
        &[4, 0, 1],
        &[4, 0, 0, 0],
        &[4, 0, 3, 0],
        &[4, 1, 2, 0],
        &[0, 0, 1, 0],
        &[1, 1, 2, 3, 4, 5, 6, 7],
    ];
    for bytes in bad {
        if bytes.is_empty() {
            bench.queue(4).add(&[], &[(FREE, 1)]);
            bench.notify(4);
            bench.run();
            assert_eq!((bench.queue(4).used(), bench.read(FREE, 1)), (Some((0, 1)), vec![1]));
        } else {
            assert_eq!(command(&mut bench, 4, bytes), 1, "{bytes:?}");
        }
    }
    assert_eq!(wires[1].script().enabled, Some(false));
    // Where there is no room for the answer nothing happens.
    bench.write(FREE, &[4, 0, 2, 0]);
    bench.queue(4).add(&[(FREE, 4)], &[]);
    bench.notify(4);
    bench.run();
    assert!(matches!(bench.queue(4).used(), Some((_, 0))));
    assert_eq!(wires[1].script().enabled, Some(false));
    // The answer is the last byte, however long the room for it.
    bench.queue(4).add(&[(FREE, 1), (FREE + 1, 3)], &[(FREE + 0x1000, 5), (FREE + 0x2000, 4)]);
    bench.notify(4);
    bench.run();
    assert_eq!((bench.queue(4).used().map(|used| used.1), bench.read(FREE + 0x2003, 1)), (Some(1), vec![0]));
}

#[test]
fn a_driver_that_does_not_take_several_pairs_finds_the_control_queue_at_2() {
    let (mut bench, wires) = bench_of(2, |_| {});
    bench.start(feature::CTRL_VQ);
    assert_eq!(command(&mut bench, 2, &[4, 0, 1, 0]), 0);
    assert_eq!(command(&mut bench, 2, &[4, 0, 2, 0]), 1);
    assert_eq!(wires[1].script().enabled, Some(false));
}

#[test]
fn pairs_may_be_left_out_by_the_driver() {
    let (mut bench, wires) = bench_of(2, |_| {});
    bench.start_with(feature::MQ | feature::CTRL_VQ, |queue| queue == 4);
    assert_eq!(command(&mut bench, 4, &[4, 0, 2, 0]), 0);
    for wire in &wires {
        wire.put(packet(60));
    }
    for queue in 0..5 {
        bench.notify(queue);
    }
    assert_eq!(bench.run(), 0);
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
fn a_guest_without_buffers_costs_no_calls() {
    let (mut bench, wire) = bench(0);
    for _ in 0..10 {
        wire.put(packet(60));
        bench.run();
    }
    assert_eq!(wire.script().calls, 0);
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
