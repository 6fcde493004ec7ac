//! Noticing that a guest has halted for good, where `hlt` is no exit.
//!
//! With KVM's interrupt controller a vCPU that executes `hlt` waits inside `KVM_RUN`. Nobody is told, and a guest that has
//! switched itself off by `cli; hlt` on every vCPU, as Linux' `halt` does, looks like one that is idle. So it is asked
//! ([`Control::take_census`]), but only while it does something: a period after the first exit of a while, and again
//! after each further period in which a vCPU made an exit or was found running. What an idle guest answers ends the
//! asking until its next exit: it is not woken, and neither is the event loop. A busy one is interrupted once a period.
//!
//! What escapes: a guest that wakes from idleness by a timer inside KVM, and halts without any exit between.

use std::time::{Duration, Instant};

use crate::vcpu::Control;

/// Nobody waits for a guest to be seen halted; a busy guest pays one kick of each vCPU for it.
const PERIOD: Duration = Duration::from_secs(1);

/// When to ask next.
#[derive(Debug)]
pub(super) struct HaltWatch {
    control: Control,
    due: Option<Instant>,
}

impl HaltWatch {
    pub(super) fn new(control: &Control) -> Self {
        Self { control: control.clone(), due: None }
    }

    /// Asks, if it is time; then how long until the next time. `None` while the guest is calm: the control wakes the event
    /// loop when that ends.
    pub(super) fn ask_when_due(&mut self, now: Instant) -> Option<Duration> {
        if self.control.is_calm() {
            return None;
        }
        let due = *self.due.get_or_insert(now + PERIOD);
        let left = due.saturating_duration_since(now);
        if !left.is_zero() {
            return Some(left);
        }
        self.due = None;
        self.control.take_census();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_a_period_after_the_first_exit_and_never_while_all_is_calm() {
        let control = Control::new();
        let mut watch = HaltWatch::new(&control);
        let start = Instant::now();
        let at = |tenths| start + PERIOD * tenths / 10;
        assert_eq!(watch.ask_when_due(at(0)), Some(PERIOD));
        assert_eq!(watch.ask_when_due(at(4)), Some(PERIOD * 6 / 10), "another event does not put it off");
        assert!(!control.is_calm());
        assert_eq!(watch.ask_when_due(at(10)), None);
        assert!(control.is_calm(), "it has asked");
        assert_eq!(watch.ask_when_due(at(1000)), None);
        control.notice();
        assert_eq!(watch.ask_when_due(at(2000)), Some(PERIOD), "an exit: from here on a period");
    }
}
