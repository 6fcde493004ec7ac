#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are short here")]

use super::super::super::feature as ring;
use super::super::super::testing::FREE;
use super::super::tests::*;
use super::super::*;

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
    let add = |bench: &mut NetBench, count| {
        for _ in 0..count {
            let head = bench.queue(RX).add(&[], &[(0, 0)]);
            let at = FREE + 0x2000 * u64::from(head);
            bench.queue(RX).descriptor(head, (at, 0x1800), 2, 0);
        }
        bench.notify(0);
        bench.run();
    };
    add(&mut bench, 16);
    // The first is a surprise; then room is offered until 64 packets have been small.
    for (len, spilled) in [(LONGEST, true), (LONGEST, false), (30_000, false), (50, false)] {
        wire.script().spilled = 0;
        wire.put(packet(len));
        assert_eq!(bench.run(), 1, "{len}");
        let used: Vec<_> = std::iter::from_fn(|| bench.queue(RX).used()).collect();
        assert_eq!(used.len(), len.div_ceil(0x1800));
        let found: Vec<u8> = used
            .iter()
            .flat_map(|(head, len)| bench.read(FREE + 0x2000 * u64::from(*head), *len as usize))
            .collect();
        assert!(found == with_buffers(packet(len), used.len() as u16), "{len}");
        assert_eq!(wire.script().spilled > 0, spilled, "{len}");
        add(&mut bench, used.len());
    }
    let mut rooms = Vec::new();
    for _ in 0..70 {
        wire.put(packet(50));
        bench.run();
        assert!(bench.queue(RX).used().is_some());
        rooms.push(wire.script().offered.0 >= LONGEST);
        add(&mut bench, 1);
    }
    // What has been gathered once stays there, until it is used up.
    assert!(rooms[..63].iter().all(|large| *large) && !rooms[69], "{rooms:?}");
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
fn a_guest_without_buffers_costs_no_calls() {
    let (mut bench, wire) = bench(0);
    for _ in 0..10 {
        wire.put(packet(60));
        bench.run();
    }
    assert_eq!(wire.script().calls, 0);
}

/// Gives the guest its buffers back.
fn refill(bench: &mut NetBench) {
    while bench.queue(RX).used().is_some() {
        bench.queue(RX).add(&[], &[(FREE, 1526)]);
    }
}

#[test]
fn packets_that_come_alone_are_asked_for_once() {
    let (mut bench, wire) = bench(0);
    for place in 0..16 {
        bench.queue(RX).add(&[], &[(FREE + 0x1000 * place, 1526)]);
    }
    bench.notify(0);
    bench.run();
    let before = wire.script().calls;
    for _ in 0..1000 {
        wire.put(packet(60));
        bench.run();
        refill(&mut bench);
    }
    let calls = wire.script().calls - before;
    assert!(calls < 1010, "{calls}");
}

#[test]
fn packets_that_come_together_are_taken_together() {
    let (mut bench, wire) = bench(0);
    for place in 0..16 {
        bench.queue(RX).add(&[], &[(FREE + 0x1000 * place, 1526)]);
    }
    bench.notify(0);
    bench.run();
    let mut interrupts = 0;
    for _ in 0..100 {
        for _ in 0..8 {
            wire.put(packet(60));
        }
        interrupts += bench.run();
        assert!(wire.script().incoming.is_empty());
        refill(&mut bench);
    }
    assert!(interrupts < 130, "{interrupts}");
}

#[test]
fn a_link_that_is_ready_wakes_nobody_while_there_are_no_buffers() {
    let (mut bench, wire) = bench(0);
    bench.run();
    (0..3).for_each(|_| wire.put(packet(60)));
    bench.run();
    let before = wire.script().calls;
    assert_eq!(bench.run(), 0);
    assert_eq!(wire.script().calls, before);
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.notify(0);
    assert!(bench.run() > 0);
    assert_eq!(wire.script().incoming.len(), 1);
}
