#![allow(clippy::cast_possible_truncation, reason = "numbers here are small")]

use super::super::super::rate::{Limit, RateLimits};
use super::super::BlockOptions;
use super::super::support::*;
use super::super::testing::{DEPTH, TestDisk};
use super::*;

#[test]
fn a_batch_is_one_commit_and_one_interrupt() {
    let (mut bench, control) = bench();
    bench.queue(0).size = 64;
    bench.start(0);
    for slot in 0..DEPTH.into() {
        add(&mut bench, slot, (IN, slot), &[(DATA + 512 * slot, 512)]);
    }
    bench.notify(0);
    assert_eq!((bench.run(), control.commits()), (1, 1));
}

#[test]
fn requests_beyond_the_depth_wait_in_the_ring() {
    let (mut bench, control) = bench();
    bench.queue(0).size = 128;
    bench.start(feature::DISCARD);
    control.hold(true);
    for slot in 0..40 {
        add(&mut bench, slot, (IN, slot), &[(DATA + 512 * slot, 512)]);
    }
    bench.notify(0);
    assert_eq!((bench.run(), control.held()), (0, usize::from(DEPTH)));
    // Each that ends makes room for one, and is answered.
    for done in 1..=40_u64 {
        control.release(usize::from(done % 3 == 0));
        assert_eq!(bench.run(), 1);
        let (head, written) = bench.queue(0).used().unwrap();
        assert_eq!(written, 513);
        assert_eq!(bench.read(STATUSES + u64::from(head) / 3, 1), [OK]);
        assert!(bench.queue(0).used().is_none());
        assert_eq!(control.held() as u64, (40 - done).min(DEPTH.into()));
    }
    for slot in 0..40 {
        assert_eq!(bench.read(DATA + 512 * slot, 512), [slot as u8; 512]);
    }
    // A request of several operations waits until there is room for all.
    add(&mut bench, 0, (IN, 0), &[(DATA, 512)]);
    let list = ranges(&bench, &[(0, 1, 0); 16]);
    bench.write(DATA + 0x8000, &bench.read(DATA, 256));
    add(&mut bench, 1, (DISCARD, 0), &[(DATA + 0x8000, list.1)]);
    bench.notify(0);
    bench.run();
    assert_eq!(control.held(), 1);
    control.release(0);
    assert_eq!((bench.run(), control.held()), (1, 16));
    for _ in 0..16 {
        assert!(bench.queue(0).used().is_none_or(|used| used.1 == 513));
        control.release(0);
        bench.run();
    }
    assert_eq!(bench.queue(0).used().unwrap().1, 1);
}

#[test]
fn a_reset_waits_for_what_is_in_flight() {
    let (mut bench, control) = bench();
    control.hold(true);
    add(&mut bench, 0, (IN, 1), &[(DATA, 512)]);
    add(&mut bench, 1, (OUT, 2), &[(DATA + 512, 512)]);
    bench.notify(0);
    bench.run();
    assert_eq!(control.held(), 2);
    bench.reset();
    assert_eq!(control.held(), 0);
    bench.write(DATA, &[0x55; 1024]);
    assert_eq!(bench.run(), 0, "nobody hears of what was before the reset");
    assert_eq!(bench.read(DATA, 1024), [0x55; 1024]);
    // All of its room is there again.
    control.hold(false);
    bench.start(0);
    for slot in 0..5 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    bench.run();
    assert_eq!((0..5).filter(|_| bench.queue(0).used().is_some()).count(), 5);
}

#[test]
fn a_reset_with_requests_behind() {
    let (mut bench, control) = bench();
    bench.queue(0).size = 128;
    bench.start(0);
    control.hold(true);
    for slot in 0..30 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    bench.run();
    bench.start(0);
    assert_eq!((bench.run(), control.held()), (0, 0));
    bench.notify(0);
    assert_eq!((bench.run(), control.held()), (0, 0), "the new ring is empty");
}

#[test]
fn a_broken_ring_asks_for_a_reset_and_what_is_in_flight_ends() {
    let (mut bench, control) = bench();
    control.hold(true);
    add(&mut bench, 0, (IN, 1), &[(DATA, 512)]);
    bench.notify(0);
    bench.run();
    bench.queue(0).set_available(1000);
    bench.notify(0);
    bench.run();
    assert!(bench.needs_reset());
    control.release(0);
    assert_eq!(bench.run(), 0);
    bench.start(0);
    control.hold(false);
    assert_eq!(one(&mut bench, (IN, 1), &[(DATA, 512)]), (OK, 513));
}

#[test]
fn each_queue_has_its_own_worker() {
    let disk = TestDisk::new(vec![1; LEN]);
    let (mut bench, control) = bench_of(vec![disk.clone(), disk], BlockOptions::default());
    assert_eq!(bench.device().workers().len(), 2);
    bench.start(feature::MQ);
    control.hold(true);
    bench.write(HEADERS, &[0; 16]);
    for queue in 0..2 {
        bench.queue(queue).add(&[(HEADERS, 16)], &[(DATA, 512), (STATUSES, 1)]);
        bench.notify(queue as u32);
    }
    assert_eq!((bench.run(), control.held()), (0, 2));
    control.release(1);
    bench.run();
    assert_eq!((bench.queue(0).used(), bench.queue(1).used()), (None, Some((0, 513))));
    control.release(0);
    bench.run();
    assert_eq!(bench.queue(0).used(), Some((0, 513)));
    // A driver may leave some alone.
    bench.start_with(feature::MQ, |queue| queue == 1);
    bench.queue(1).add(&[(HEADERS, 16)], &[(DATA, 512), (STATUSES, 1)]);
    bench.notify(0);
    bench.notify(1);
    bench.run();
    assert_eq!(control.held(), 1);
}

#[test]
fn a_limit_holds_requests_back_until_time_has_passed() {
    let operations = Some(Limit { per_second: 1000, burst: 1 });
    let limits = RateLimits { operations, ..RateLimits::default() };
    let (mut bench, control) =
        bench_of(vec![TestDisk::new(vec![1; LEN])], BlockOptions { limits, ..BlockOptions::default() });
    bench.start(0);
    for slot in 0..5 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    let mut done = 0;
    let start = std::time::Instant::now();
    bench.run_until(|bench| {
        done += usize::from(bench.queue(0).used().is_some());
        done == 5
    });
    assert!(start.elapsed().as_millis() >= 4, "four had to wait");
    assert_eq!(control.asked().len(), 5);
}

#[test]
fn a_limit_does_not_hold_up_a_reset_or_errors() {
    let bandwidth = Some(Limit { per_second: 0, burst: 512 });
    let limits = RateLimits { bandwidth, ..RateLimits::default() };
    let (mut bench, control) =
        bench_of(vec![TestDisk::new(vec![1; LEN])], BlockOptions { limits, ..BlockOptions::default() });
    bench.start(0);
    for slot in 0..2 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    bench.run();
    assert_eq!(control.asked().len(), 1);
    bench.start(0);
    assert_eq!(one(&mut bench, (FLUSH, 0), &[]), (OK, 1), "no bytes are left, but this needs none");
}

#[test]
fn a_ring_that_is_never_empty_lets_others_have_their_turn() {
    let (mut bench, _) = bench();
    // 16 descriptors: at most 5 requests at once, so that many rounds are needed.
    for round in 0..100_u64 {
        for slot in 0..5 {
            add(&mut bench, slot, (IN, (round + slot) % 64), &[(DATA, 512)]);
        }
        bench.notify(0);
        assert_eq!(bench.run(), 1);
        assert_eq!((0..6).filter(|_| bench.queue(0).used().is_some()).count(), 5);
    }
}
