//! What of a vCPU's time is the guest's and what the VMM's.

use std::cell::Cell;
use std::time::Instant;

/// Two clock readings an exit. Times are nanoseconds since the clock was made.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    start: Instant,
    /// When the guest was entered. A cell, because a tracer is asked what it wants just before the first time.
    entered: Cell<u64>,
    back: u64,
}

/// One exit's times, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// When the guest came back.
    pub(crate) back: u64,
    /// How long it had run.
    pub(crate) guest: u64,
    /// How long the VMM took.
    pub(crate) host: u64,
}

impl Clock {
    /// Times are since `start`.
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, entered: Cell::new(0), back: 0 }
    }

    /// 584 years fit.
    #[inline]
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The guest is about to be entered.
    #[inline]
    pub(crate) fn enter(&self) {
        self.entered.set(self.now());
    }

    /// The guest has come back.
    #[inline]
    pub(crate) fn back(&mut self) {
        self.back = self.now();
    }

    /// Its exit has been handled.
    #[inline]
    pub(crate) fn handled(&self) -> Times {
        Times {
            back: self.back,
            guest: self.back.saturating_sub(self.entered.get()),
            host: self.now().saturating_sub(self.back),
        }
    }
}
