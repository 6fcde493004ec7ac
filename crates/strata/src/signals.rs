//! Signals that end a run: Ctrl-C, termination, a terminal that has gone.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use strata_vmm::event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use strata_vmm::{Control, Stop};

/// Stops the machine when a signal arrives. The handler only writes a byte, so the rest happens on the event loop.
pub(crate) struct Signals {
    arrived: UnixStream,
    control: Control,
}

impl Signals {
    pub(crate) fn new(control: Control) -> io::Result<Self> {
        let (arrived, handler) = UnixStream::pair()?;
        arrived.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        Ok(Self { arrived, control })
    }
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        // Which signal it was, and how many, makes no difference.
        let _ = self.arrived.read(&mut [0; 16]);
        self.control.stop(Stop::Interrupted);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if ops.add(Events::new(&self.arrived, EventSet::IN)).is_err() {
            // A run that could not be interrupted is worse than none.
            self.control.stop(Stop::Interrupted);
        }
    }
}
