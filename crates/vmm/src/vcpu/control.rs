//! Starting, pausing and stopping all vCPUs of a machine together, from any thread.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vmm_sys_util::eventfd::EventFd;

use super::stop::Stop;
use crate::kvm::VcpuKicker;

/// How long a paused or stopped vCPU may take before it is kicked again.
const KICK_AGAIN: Duration = Duration::from_millis(5);

/// The handle on a machine's vCPUs: `Clone + Send + Sync`, good before, during and after the run.
///
/// One mutex guards the phase; nothing is called while it is held but kicks, whose own lock is a leaf. A request sets
/// the phase first and kicks then, and a vCPU looks at the phase after every kick, so none is missed.
///
/// | phase | a vCPU that was kicked | leads to |
/// | --- | --- | --- |
/// | running | goes on | paused, ending |
/// | paused | waits for the phase to change | running, ending |
/// | ending | returns | nothing: it is final |
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Somebody besides the machine has a handle.
    handed_out: AtomicBool,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    stop: Option<Stop>,
    /// Readable once the phase is `Ending`: what an event loop waits for, where there is one.
    ended: Option<Arc<EventFd>>,
    kickers: Vec<VcpuKicker>,
    /// vCPU threads that are in their loops, and how many of them wait in `Paused`.
    running: usize,
    parked: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Paused,
    Ending,
}

impl Control {
    /// A handle for vCPUs that are still to come, in the phase `running`.
    #[allow(
        clippy::new_without_default,
        reason = "two defaults would be two machines: it is to be seen that one begins"
    )]
    pub fn new() -> Self {
        let state = State {
            phase: Phase::Running,
            stop: None,
            ended: None,
            kickers: Vec::new(),
            running: 0,
            parked: 0,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            handed_out: AtomicBool::new(false),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the machine with `stop`. Only the first call counts; returns whether this was it.
    pub fn stop(&self, stop: Stop) -> bool {
        let mut state = self.state();
        if state.phase == Phase::Ending {
            return false;
        }
        state.phase = Phase::Ending;
        state.stop = Some(stop);
        state.kickers.iter().for_each(VcpuKicker::kick);
        if let Some(ended) = &state.ended {
            // Fails only on a full counter, and then it is readable already.
            let _ = ended.write(1);
        }
        drop(state);
        self.0.changed.notify_all();
        true
    }

    /// Pauses every vCPU and returns when all of them wait; `false` if the machine has ended instead, or somebody has
    /// resumed it meanwhile.
    ///
    /// A vCPU whose device blocks (a console that nobody reads) holds this up. Not to be called by a device on a vCPU's
    /// thread: that vCPU would wait for itself.
    pub fn pause(&self) -> bool {
        let mut state = self.state();
        if state.phase == Phase::Running {
            state.phase = Phase::Paused;
            state.kickers.iter().for_each(VcpuKicker::kick);
        }
        while state.phase == Phase::Paused && state.parked < state.running {
            state = self.wait_and_kick(state);
        }
        state.phase == Phase::Paused
    }

    /// Waits for a change. If none comes soon, kicks again: unlike `KVM_RUN`, other system calls do not know that they
    /// were to be interrupted, and a device may have been about to block when the first kick came.
    fn wait_and_kick<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.0.changed.wait_timeout(state, KICK_AGAIN);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            state.kickers.iter().for_each(VcpuKicker::kick);
        }
        state
    }

    /// Lets paused vCPUs go on. Without a pause before, nothing happens.
    pub fn resume(&self) {
        let mut state = self.state();
        if state.phase == Phase::Paused {
            state.phase = Phase::Running;
            drop(state);
            self.0.changed.notify_all();
        }
    }

    /// Why the machine ended, once it has.
    pub fn stopped(&self) -> Option<Stop> {
        self.state().stop.clone()
    }

    /// Waits, after a stop, until every vCPU has left its loop.
    pub(crate) fn wait_for_all(&self) {
        let mut state = self.state();
        while state.running > 0 {
            state = self.wait_and_kick(state);
        }
    }

    /// What is readable once the machine has ended.
    ///
    /// # Errors
    ///
    /// The process has no file descriptor left.
    pub(crate) fn ended(&self) -> std::io::Result<Arc<EventFd>> {
        let mut state = self.state();
        if let Some(ended) = &state.ended {
            return Ok(Arc::clone(ended));
        }
        let ended = Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?);
        if state.phase == Phase::Ending {
            ended.write(1)?;
        }
        state.ended = Some(Arc::clone(&ended));
        Ok(ended)
    }

    /// A handle for somebody besides the machine.
    pub(crate) fn share(&self) -> Self {
        self.0.handed_out.store(true, Relaxed);
        self.clone()
    }

    /// Whether somebody besides the machine has ever had a handle, and so may pause or stop it.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.handed_out.load(Relaxed)
    }

    /// A vCPU joins. From here until [`leave`](Self::leave) a pause waits for it.
    pub(super) fn join(&self, kicker: VcpuKicker) {
        let mut state = self.state();
        state.running += 1;
        if state.phase != Phase::Running {
            kicker.kick();
        }
        state.kickers.push(kicker);
    }

    pub(super) fn leave(&self) {
        self.state().running -= 1;
        self.0.changed.notify_all();
    }

    /// Called by a vCPU that was kicked: waits while the phase is `paused`. `false` means: return.
    pub(super) fn go_on(&self) -> bool {
        let mut state = self.state();
        if state.phase == Phase::Paused {
            state.parked += 1;
            self.0.changed.notify_all();
            while state.phase == Phase::Paused {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.parked -= 1;
        }
        state.phase == Phase::Running
    }
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
