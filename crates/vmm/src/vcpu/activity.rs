//! Whether a vCPU has anything left to do.

use super::{Control, Exit, Synced, Tracer};

/// What a vCPU does while it is out of the guest for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It executes instructions.
    Running,
    /// It waits in `hlt`, and an interrupt may wake it.
    Waiting,
    /// Only another vCPU could wake it: it waits in `hlt` with interrupts disabled (RFLAGS.IF is 0), or for INIT and SIPI,
    /// which its machine has not sent.
    Off,
}

/// Tells the machine's event loop of exits, if it has asked to be told of the next one.
#[derive(Debug)]
pub(crate) struct Exits(Control);

impl Exits {
    pub(crate) fn of(control: &Control) -> Self {
        Self(control.clone())
    }
}

impl Tracer for Exits {
    #[inline]
    fn exit(&mut self, _: &Exit<'_>, _: Synced<'_>) {
        self.0.notice();
    }
}
