//! Rate limits: how much of a host a guest may use.
//!
//! [`RateLimiter`] is arithmetic without a clock: time is passed in. [`Throttle`] is what a worker uses: the same
//! with the host's monotonic clock and a timer, which is armed only while a request has to wait.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet};
use vmm_sys_util::timerfd::TimerFd;

use super::watch;

const NANOS: i128 = 1_000_000_000;

/// So many units (bytes, operations) a second, on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many a second; 0 lets nothing pass once the burst is used up.
    pub per_second: u64,
    /// How many may come at once after a pause; 0 is taken for 1.
    pub burst: u64,
}

impl Limit {
    /// With a burst of one second's worth.
    pub fn per_second(per_second: u64) -> Self {
        Self { per_second, burst: per_second }
    }
}

/// What is limited. By default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// In bytes.
    pub bandwidth: Option<Limit>,
    /// In requests or packets.
    pub operations: Option<Limit>,
}

impl RateLimits {
    /// Whether anything is limited.
    pub fn is_some(&self) -> bool {
        self.bandwidth.is_some() || self.operations.is_some()
    }
}

/// A token bucket, exact: tokens are counted in parts of 10^-9, so that a nanosecond adds a whole number of parts.
#[derive(Debug)]
struct Bucket {
    limit: Limit,
    /// Below 0 after an operation that costs more than the burst.
    parts: i128,
    /// When the parts were counted.
    at: Duration,
}

impl Bucket {
    /// A full one.
    fn new(limit: Limit, now: Duration) -> Self {
        let limit = Limit { burst: limit.burst.max(1), ..limit };
        Self { limit, parts: i128::from(limit.burst) * NANOS, at: now }
    }

    /// How long it takes until an operation of this cost may go on; zero for now.
    fn wait(&mut self, now: Duration, cost: u64) -> Duration {
        // A clock that goes backwards adds nothing.
        let elapsed = now.saturating_sub(self.at).as_nanos();
        let news = i128::try_from(elapsed).unwrap_or(i128::MAX).saturating_mul(self.limit.per_second.into());
        let full = i128::from(self.limit.burst) * NANOS;
        self.parts = self.parts.saturating_add(news).min(full);
        self.at = self.at.max(now);
        // What costs more than the bucket holds waits for a full one, and leaves a debt.
        let missing = i128::from(cost.min(self.limit.burst)) * NANOS - self.parts;
        if missing <= 0 {
            return Duration::ZERO;
        }
        let nanos = match self.limit.per_second {
            0 => i128::MAX,
            per_second => (missing - 1) / i128::from(per_second) + 1,
        };
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn take(&mut self, cost: u64) {
        self.parts = self.parts.saturating_sub(i128::from(cost) * NANOS);
    }
}

/// Token buckets for bytes and for operations.
///
/// In any time `t` no more than `burst + per_second * t` passes, and what the last operation may exceed the burst by.
/// An operation that is larger than the burst waits for a full bucket and is paid for afterwards, so that none waits
/// for ever.
///
/// ```
/// use std::time::Duration;
/// use strata_devices::virtio::rate::{Limit, RateLimiter, RateLimits};
///
/// let operations = Some(Limit { per_second: 10, burst: 2 });
/// let start = Duration::ZERO;
/// let mut limiter = RateLimiter::new(RateLimits { operations, ..RateLimits::default() }, start);
/// assert_eq!(limiter.take(start, 4096), Ok(()));
/// assert_eq!(limiter.take(start, 4096), Ok(()));
/// let wait = limiter.take(start, 4096).unwrap_err();
/// assert_eq!(wait, Duration::from_millis(100));
/// assert_eq!(limiter.take(start + wait, 4096), Ok(()));
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    bandwidth: Option<Bucket>,
    operations: Option<Bucket>,
}

impl RateLimiter {
    /// With full buckets. `now` is the time since any fixed moment, here and in [`take`](Self::take).
    pub fn new(limits: RateLimits, now: Duration) -> Self {
        let bucket = |limit: Option<Limit>| limit.map(|limit| Bucket::new(limit, now));
        Self { bandwidth: bucket(limits.bandwidth), operations: bucket(limits.operations) }
    }

    /// Takes what an operation of so many bytes costs.
    ///
    /// # Errors
    ///
    /// It has to wait so long, if nothing else is taken meanwhile; nothing was taken.
    pub fn take(&mut self, now: Duration, bytes: u64) -> Result<(), Duration> {
        let costs = [(&mut self.bandwidth, bytes), (&mut self.operations, 1)];
        let mut wait = Duration::ZERO;
        let mut buckets = costs.map(|(bucket, cost)| (bucket.as_mut(), cost));
        for (bucket, cost) in &mut buckets {
            if let Some(bucket) = bucket {
                wait = wait.max(bucket.wait(now, *cost));
            }
        }
        if wait > Duration::ZERO {
            return Err(wait);
        }
        for (bucket, cost) in buckets {
            if let Some(bucket) = bucket {
                bucket.take(cost);
            }
        }
        Ok(())
    }
}

/// A worker's rate limit. Several workers of a device can share one, each with a timer of its own.
#[derive(Debug)]
pub struct Throttle(Option<Throttled>);

#[derive(Debug)]
struct Throttled {
    limiter: Arc<Mutex<RateLimiter>>,
    epoch: Instant,
    timer: TimerFd,
}

impl Throttle {
    /// With full buckets. Without a limit it costs nothing: there is no timer and no look at the clock.
    ///
    /// # Errors
    ///
    /// What `timerfd_create(2)` answered.
    pub fn new(limits: RateLimits) -> io::Result<Self> {
        if !limits.is_some() {
            return Ok(Self(None));
        }
        let limiter = Arc::new(Mutex::new(RateLimiter::new(limits, Duration::ZERO)));
        Ok(Self(Some(Throttled { limiter, epoch: Instant::now(), timer: TimerFd::new()? })))
    }

    /// One more of the same buckets.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn share(&self) -> io::Result<Self> {
        let Some(Throttled { limiter, epoch, .. }) = &self.0 else { return Ok(Self(None)) };
        Ok(Self(Some(Throttled { limiter: Arc::clone(limiter), epoch: *epoch, timer: TimerFd::new()? })))
    }

    /// Has the worker woken with [`Wakeup::Source`](super::Wakeup::Source) of this number when it may go on; for
    /// [`Worker::init`](super::Worker::init).
    pub fn watch(&self, ops: &mut EventOps<'_>, number: u32) {
        if let Some(throttled) = &self.0 {
            watch(ops, throttled, number, EventSet::IN);
        }
    }

    /// Whether an operation of so many bytes may go on. If not, the worker will be woken when it may.
    #[must_use]
    pub fn take(&mut self, bytes: u64) -> bool {
        let Some(Throttled { limiter, epoch, timer }) = &mut self.0 else { return true };
        let taken = limiter.lock().unwrap_or_else(PoisonError::into_inner).take(epoch.elapsed(), bytes);
        let Err(wait) = taken else { return true };
        // An hour is as good as for ever: the worker asks again then. Setting a timer has another edge come of it even
        // though nobody has read it.
        let armed = timer.reset(wait.min(Duration::from_secs(3600)), None);
        if let Err(error) = &armed {
            log::error!("a rate limit is not kept, for its timer cannot be set: {error}");
        }
        armed.is_err()
    }
}

impl AsRawFd for Throttled {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}

#[cfg(test)]
#[path = "rate_test.rs"]
mod tests;
