use proptest::prelude::*;

use super::*;

const fn limit(per_second: u64, burst: u64) -> Limit {
    Limit { per_second, burst }
}

fn limiter(bandwidth: impl Into<Option<Limit>>, operations: impl Into<Option<Limit>>) -> RateLimiter {
    let limits = RateLimits { bandwidth: bandwidth.into(), operations: operations.into() };
    RateLimiter::new(limits, Duration::ZERO)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn without_limits_everything_passes() {
    let mut limiter = limiter(None, None);
    for _ in 0..1000 {
        assert_eq!(limiter.take(Duration::ZERO, u64::MAX), Ok(()));
    }
}

#[test]
fn a_burst_passes_at_once_and_then_the_rate_holds() {
    let mut limiter = limiter(limit(1000, 500), None);
    assert_eq!(limiter.take(ms(0), 400), Ok(()));
    assert_eq!(limiter.take(ms(0), 101), Err(ms(1)));
    assert_eq!(limiter.take(ms(0), 100), Ok(()), "nothing was taken by what had to wait");
    assert_eq!(limiter.take(ms(100), 101), Err(ms(1)));
    assert_eq!(limiter.take(ms(101), 101), Ok(()));
    assert_eq!(limiter.take(ms(1_000_000), 500), Ok(()));
    assert_eq!(limiter.take(ms(1_000_000), 1), Err(ms(1)), "a pause fills it to the burst only");
}

#[test]
fn what_is_larger_than_the_burst_is_paid_afterwards() {
    let mut limiter = limiter(limit(1000, 100), None);
    assert_eq!(limiter.take(ms(0), 1), Ok(()));
    assert_eq!(limiter.take(ms(0), 5000), Err(ms(1)), "it waits for a full bucket");
    assert_eq!(limiter.take(ms(1), 5000), Ok(()));
    assert_eq!(limiter.take(ms(1), 1), Err(ms(4901)));
    assert_eq!(limiter.take(ms(4902), 1), Ok(()));
}

#[test]
fn both_limits_hold_and_neither_is_charged_alone() {
    let mut limiter = limiter(limit(1000, 1000), limit(10, 1));
    assert_eq!(limiter.take(ms(0), 600), Ok(()));
    assert_eq!(limiter.take(ms(0), 600), Err(ms(200)), "the longer of both");
    assert_eq!(limiter.take(ms(0), 400), Err(ms(100)));
    assert_eq!(limiter.take(ms(100), 500), Ok(()), "600 bytes were taken, not 1600");
}

#[test]
fn odd_limits_and_clocks_do_no_harm() {
    let mut never = limiter(limit(0, 0), None);
    assert_eq!(never.take(ms(0), 1), Ok(()));
    assert_eq!(never.take(Duration::MAX, 1), Err(Duration::from_nanos(u64::MAX)));
    let mut huge = limiter(limit(u64::MAX, u64::MAX), limit(u64::MAX, u64::MAX));
    assert_eq!(huge.take(Duration::MAX, u64::MAX), Ok(()));
    assert!(huge.take(ms(0), u64::MAX).is_err(), "the clock went back: nothing is added");
}

#[test]
fn a_throttle_that_limits_nothing_has_no_timer() {
    let mut throttle = Throttle::new(RateLimits::default()).unwrap();
    assert!(throttle.0.is_none() && throttle.share().unwrap().0.is_none());
    assert!(throttle.take(u64::MAX));
}

#[test]
fn throttles_that_share_take_from_the_same_buckets() {
    let operations = Some(limit(1, 2));
    let mut one = Throttle::new(RateLimits { operations, ..RateLimits::default() }).unwrap();
    let mut other = one.share().unwrap();
    assert!(one.take(0) && other.take(0));
    // A second's worth would have to pass between these lines.
    assert!(!one.take(0) && !other.take(0));
    assert!(one.0.as_mut().unwrap().timer.is_armed().unwrap());
}

proptest! {
    /// Whoever waits as long as it is told may go on then and not a nanosecond before; and in no time does more pass
    /// than is allowed.
    #[test]
    fn never_more_than_allowed_and_never_longer_than_needed(
        per_second in 1_u64..10_000_000_000,
        burst in 1_u64..1_000_000,
        costs in prop::collection::vec((1_u64..1_000_000, 0_u64..1_000_000), 1..50),
    ) {
        let mut limiter = limiter(limit(per_second, burst), None);
        let (mut now, mut passed) = (Duration::ZERO, 0_u128);
        for (cost, pause) in costs {
            now += Duration::from_nanos(pause);
            if let Err(wait) = limiter.take(now, cost) {
                prop_assert!(limiter.take(now + wait.saturating_sub(Duration::from_nanos(1)), cost).is_err());
                now += wait;
                prop_assert_eq!(limiter.take(now, cost), Ok(()));
            }
            // Before this one, no more than the burst and what time has brought.
            let brought = now.as_nanos() * u128::from(per_second) / 1_000_000_000;
            prop_assert!(passed <= u128::from(burst) + brought);
            passed += u128::from(cost);
            prop_assert!(passed <= u128::from(burst.max(cost)) + brought);
        }
    }
}
