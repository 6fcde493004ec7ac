use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::super::rate::Limit;
use super::super::testing::{Bench, FREE, Memory};
use super::*;

fn bench<R: Read + Send + 'static>(source: R, limits: RateLimits) -> Bench<Rng<R, Memory>> {
    let device = Rng::limited(source, limits).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(0);
    bench
}

/// A source that answers from a list, and keeps how much it was asked for.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    left: VecDeque<io::Result<usize>>,
    asked: Vec<usize>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = io::Result<usize>>) -> Self {
        let script = Self::default();
        script.0.lock().unwrap().left.extend(answers);
        script
    }

    fn asked(&self) -> Vec<usize> {
        self.0.lock().unwrap().asked.clone()
    }
}

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut script = self.0.lock().unwrap();
        script.asked.push(into.len());
        let len = script.left.pop_front().unwrap_or(Ok(into.len()))?;
        into[..len].fill(7);
        Ok(len)
    }
}

fn operations(per_second: u64, burst: u64) -> RateLimits {
    RateLimits { operations: Some(Limit { per_second, burst }), ..RateLimits::default() }
}

#[test]
fn a_request_is_filled() {
    let mut bench = bench(io::repeat(4), RateLimits::default());
    bench.queue(0).add(&[], &[(FREE, 3), (FREE + 100, 2)]);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(0).used(), Some((0, 5)));
    assert_eq!((bench.read(FREE, 4), bench.read(FREE + 100, 3)), (vec![4, 4, 4, 0], vec![4, 4, 0]));
}

#[test]
fn a_source_that_gives_less_is_asked_once() {
    let script = Script::of([Ok(3), Err(io::ErrorKind::Interrupted.into()), Ok(5)]);
    let mut bench = bench(script.clone(), RateLimits::default());
    bench.queue(0).add(&[], &[(FREE, 8)]);
    bench.queue(0).add(&[], &[(FREE + 8, 8)]);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    assert_eq!((bench.queue(0).used(), bench.queue(0).used()), (Some((0, 3)), Some((1, 5))));
    assert_eq!(bench.read(FREE, 16), [[7, 7, 7, 0, 0, 0, 0, 0], [7, 7, 7, 7, 7, 0, 0, 0]].concat());
    assert_eq!(script.asked(), [8, 8, 8]);
}

#[test]
fn a_source_that_fails_or_ends_gives_nothing_and_the_device_goes_on() {
    let failure = || Err(io::ErrorKind::PermissionDenied.into());
    let mut bench = bench(Script::of([failure(), Ok(0), failure()]), RateLimits::default());
    for expected in [0, 0, 0, 4] {
        bench.queue(0).add(&[], &[(FREE, 4)]);
        bench.notify(0);
        assert_eq!(bench.run(), 1);
        assert_eq!(bench.queue(0).used().map(|(_, len)| len), Some(expected));
    }
    assert!(!bench.needs_reset());
}

#[test]
fn a_request_for_nothing_or_for_too_much() {
    let script = Script::default();
    let mut bench = bench(script.clone(), RateLimits::default());
    bench.queue(0).add(&[(FREE, 4)], &[]);
    bench.queue(0).add(&[(FREE, 4)], &[(FREE, 1 << 20), (FREE, 1 << 20)]);
    bench.notify(0);
    bench.run();
    assert_eq!((bench.queue(0).used(), bench.queue(0).used()), (Some((0, 0)), Some((1, 4096))));
    assert_eq!(script.asked(), [4096]);
}

#[test]
fn what_exceeds_the_rate_waits_in_the_queue() {
    let script = Script::default();
    let bandwidth = Some(Limit { per_second: 0, burst: 8 });
    let mut bench = bench(script.clone(), RateLimits { bandwidth, ..RateLimits::default() });
    for _ in 0..3 {
        bench.queue(0).add(&[], &[(FREE, 4)]);
    }
    bench.notify(0);
    bench.run();
    assert_eq!(script.asked(), [4, 4]);
    assert_eq!(
        [bench.queue(0).used(), bench.queue(0).used(), bench.queue(0).used()],
        [Some((0, 4)), Some((1, 4)), None]
    );
    // However often it rings.
    bench.notify(0);
    assert_eq!(bench.run(), 0);
    assert_eq!(script.asked(), [4, 4]);
}

#[test]
fn what_has_waited_is_served_without_another_notification() {
    let mut bench = bench(Script::default(), operations(500, 1));
    for _ in 0..4 {
        bench.queue(0).add(&[], &[(FREE, 4)]);
    }
    bench.notify(0);
    let mut served = 0;
    bench.run_until(|bench| {
        served += usize::from(bench.queue(0).used().is_some());
        served == 4
    });
}

#[test]
fn a_reset_while_throttled_forgets_the_request() {
    let script = Script::default();
    let mut bench = bench(script.clone(), operations(1, 1));
    for _ in 0..2 {
        bench.queue(0).add(&[], &[(FREE, 4)]);
    }
    bench.notify(0);
    bench.run();
    bench.reset();
    let used = bench.queue(0).used();
    assert_eq!((used, bench.queue(0).used()), (Some((0, 4)), None));
    bench.notify(0);
    assert_eq!((bench.run(), script.asked().len()), (0, 1));
    // The rate outlives the reset, and so does the timer.
    bench.start(0);
    bench.queue(0).add(&[], &[(FREE, 4)]);
    bench.notify(0);
    bench.run_until(|bench| bench.queue(0).used() == Some((0, 4)));
}
