#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are short here")]

use super::super::super::testing::FREE;
use super::super::tests::*;
use super::super::*;

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
