//! The two loops of a vCPU: [`run`] is the tight one, from exit to device and back; [`Control`] is the state machine
//! around it, where a machine is paused and stopped.

mod activity;
mod control;
mod exit;
mod flight;
pub(crate) mod pin;
mod record;
mod run;
mod stop;
mod synced;
mod thread;
mod trace;

pub use activity::Activity;
pub(crate) use activity::Exits;
pub use control::{Control, Debugger, Held};
pub use exit::{DebugEvent, Exit};
pub use flight::{FlightRecorder, Recorded};
pub use pin::{HostCpus, PinError};
pub use record::ExitRecord;
pub use run::{Buses, ExitBudget, Limits, Pause, run};
pub use stop::{Budget, Stop};
pub use synced::{Sync, Synced};
pub use thread::{Finished, Plan, run_here, spawn};
pub use trace::{ExitLog, NoTrace, Tracer};

use strata_cpu::X86State;

use crate::kvm::{CallError, VcpuKicker};

/// What the loops need of a virtual processor: KVM's, or one that a test scripts.
pub trait Vcpu: Send {
    /// Runs the guest until it needs the VMM.
    ///
    /// # Errors
    ///
    /// The call that failed. A kick and a signal are no errors but exits.
    fn run(&mut self) -> Result<Exit<'_>, CallError>;

    /// As [`run`](Self::run), with the registers that [`sync`](Self::sync) has asked for. A vCPU that cannot give them, which is the
    /// default, gives none.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    #[inline]
    fn run_synced(&mut self) -> Result<(Exit<'_>, Synced<'_>), CallError> {
        Ok((self.run()?, Synced::NONE))
    }

    /// Says which registers [`run_synced`](Self::run_synced) is to give from now on.
    fn sync(&mut self, _which: Sync) {}

    /// The architectural state, with the I/O of the last exit completed.
    ///
    /// # Errors
    ///
    /// The call that failed.
    fn state(&mut self) -> Result<X86State, CallError>;

    /// Replaces the architectural state; what [`X86State`] does not own stays as it is.
    ///
    /// # Errors
    ///
    /// The call that failed, with `EINVAL` for a state that the processor cannot be in.
    fn set_state(&mut self, state: &X86State) -> Result<(), CallError>;

    /// What the vCPU is doing, asked after a kick. A vCPU whose `hlt` is an exit, which is the default, has no reason to
    /// say anything but `Running`.
    ///
    /// # Errors
    ///
    /// The call that failed.
    fn activity(&mut self) -> Result<Activity, CallError> {
        Ok(Activity::Running)
    }

    /// A handle that ends [`run`](Self::run) from any thread.
    fn kicker(&self) -> VcpuKicker;
}
