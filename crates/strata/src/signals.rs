//! Signals that end a run: Ctrl-C, termination, a terminal that has gone.

use std::io;
use std::os::fd::AsFd as _;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use strata_vmm::event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use strata_vmm::{Control, Stop};

/// Stops the machine when a signal arrives, on the event loop.
pub(crate) struct Signals {
    arrived: SignalFd,
    control: Control,
}

impl Signals {
    /// From here on these signals wait for the event loop, in this thread and in those that it starts. One that the
    /// process was started to ignore, as `nohup` does, stays ignored.
    pub(crate) fn new(control: Control) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let arrived = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { arrived, control })
    }
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        // Which signal it was, and how many, makes no difference.
        let _ = self.arrived.read_signal();
        self.control.stop(Stop::Interrupted);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if ops.add(Events::new(&self.arrived.as_fd(), EventSet::IN)).is_err() {
            // A run that could not be interrupted is worse than none.
            self.control.stop(Stop::Interrupted);
        }
    }
}
