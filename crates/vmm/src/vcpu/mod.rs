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
pub use control::{Control, DebugFilter, Debugger, Held};
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
use strata_cpu::fpu::Fxsave;

use crate::kvm::{CallError, GuestDebug, VcpuKicker};

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

    /// Has the guest stop at what `debug` says, and nowhere else.
    ///
    /// # Errors
    ///
    /// The call that failed: `EINVAL` for more than four breakpoints and watchpoints, `ENOTSUP`, which is the default's, from
    /// a vCPU that cannot.
    fn set_guest_debug(&mut self, _debug: &GuestDebug) -> Result<(), CallError> {
        Err(unsupported())
    }

    /// As [`set_guest_debug`](Self::set_guest_debug), and raises #BP: what came back as a software breakpoint was an `int3` of
    /// the guest's own.
    ///
    /// # Errors
    ///
    /// As for [`set_guest_debug`](Self::set_guest_debug).
    fn inject_breakpoint(&mut self, _debug: &GuestDebug) -> Result<(), CallError> {
        Err(unsupported())
    }

    /// The registers of FPU and SSE.
    ///
    /// # Errors
    ///
    /// The call that failed; `ENOTSUP`, which is the default's, from a vCPU that has none.
    fn fpu(&mut self) -> Result<Fxsave, CallError> {
        Err(unsupported())
    }

    /// Replaces the registers of FPU and SSE; what AVX and its successors have beyond them stays as it is.
    ///
    /// # Errors
    ///
    /// The call that failed, with `EINVAL` for reserved bits of MXCSR.
    fn set_fpu(&mut self, _fpu: &Fxsave) -> Result<(), CallError> {
        Err(unsupported())
    }

    /// What a debugger wants to see beside [`state`](Self::state).
    ///
    /// # Errors
    ///
    /// As for [`fpu`](Self::fpu).
    fn hidden(&mut self) -> Result<Hidden, CallError> {
        Err(unsupported())
    }

    /// Replaces that.
    ///
    /// # Errors
    ///
    /// The call that failed, with `EINVAL` for values that the processor does not take.
    fn set_hidden(&mut self, _hidden: &Hidden) -> Result<(), CallError> {
        Err(unsupported())
    }
}

/// Registers that no boot sets and no report shows, but a debugger does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hidden {
    /// `IA32_KERNEL_GS_BASE`: what SWAPGS exchanges with the base of GS. SDM vol. 2, "SWAPGS".
    pub kernel_gs_base: u64,
    /// The task priority: interrupts of this class and below wait. SDM vol. 3A, "Task Priority in IA-32e Mode".
    pub cr8: u64,
}

fn unsupported() -> CallError {
    CallError { call: "debugging", source: std::io::Error::from_raw_os_error(libc::ENOTSUP) }
}
