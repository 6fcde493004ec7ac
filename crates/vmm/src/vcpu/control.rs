//! Starting, pausing and stopping all vCPUs of a machine together, from any thread.

mod debugger;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vmm_sys_util::eventfd::EventFd;

use super::stop::Stop;
use super::{Activity, Vcpu};
use crate::kvm::{CallError, VcpuKicker};

pub use debugger::{DebugFilter, Debugger, Held};
use debugger::{Hold, Jobs};

/// How long a paused or stopped vCPU may take before it is kicked again.
const KICK_AGAIN: Duration = Duration::from_millis(5);

/// The handle on a machine's vCPUs: `Clone + Send + Sync`, good before, during and after the run.
///
/// One mutex guards the phase; nothing is called while it is held but kicks, whose own lock is a leaf. A request sets
/// the phase first and kicks then, and a vCPU looks at the phase after every kick, so none is missed.
///
/// | phase | a vCPU that was kicked | leads to |
/// | --- | --- | --- |
/// | running | answers the census, if there is one, and goes on | paused, ending |
/// | paused | waits for the phase to change | running, ending |
/// | ending | returns | nothing: it is final |
///
/// # The census
///
/// With KVM's interrupt controller a `hlt` is no exit, and a guest that halts for good (`cli; hlt` on every vCPU) would be
/// waited for in vain. `take_census` asks: every vCPU is kicked, and says once what it is doing. The
/// first that is [`Activity::Running`] ends the census, and with it the calm: another one is due. One that is `Waiting` goes
/// on at once, and only the others are still asked, since one of them may be running. One that is `Off` waits for them,
/// until one is not. Once all are `Off`, they are asked again, now that none of them runs: one that ran until it was asked
/// may have sent another an NMI or a SIPI after that had answered. `Off` from all a second time is [`Stop::Halted`].
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Somebody besides the machine has a handle.
    handed_out: AtomicBool,
    /// The event loop waits to be told of the next exit.
    calm: AtomicBool,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    stop: Option<Stop>,
    /// The vCPU whose exit that was.
    stopped_by: Option<u8>,
    /// Written when the phase becomes `Ending`, and at the first exit after a calm: what an event loop waits for, where
    /// there is one.
    wake: Option<Arc<EventFd>>,
    census: Option<Census>,
    /// Counts the questions of all censuses, so that a vCPU knows which it has answered.
    question: u64,
    kickers: Vec<VcpuKicker>,
    /// vCPU threads that are in their loops, and how many of them wait in `Paused`.
    running: usize,
    parked: usize,
    hold: Hold,
}

/// A census that is being taken.
#[derive(Debug, Default)]
struct Census {
    /// Everybody was `Off`, and is asked again.
    again: bool,
    /// How many have answered `Off`.
    off: usize,
    /// How many have answered `Waiting`. One is enough for the machine not to halt.
    waiting: usize,
}

/// What a vCPU has last answered, from one [`Control::go_on`] to the next: it may be kicked again before the others have
/// answered, and is not to be counted twice.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// Whose it is.
    vcpu: u8,
    /// Which question that was; 0 for none.
    question: u64,
    /// Whether the answer was `Off`.
    off: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Paused,
    Ending,
}

impl Answered {
    /// Nothing yet, for this vCPU.
    pub(super) fn of(vcpu: u8) -> Self {
        Self { vcpu, ..Self::default() }
    }
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
            stopped_by: None,
            wake: None,
            census: None,
            question: 0,
            kickers: Vec::new(),
            running: 0,
            parked: 0,
            hold: Hold::default(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            handed_out: AtomicBool::new(false),
            calm: AtomicBool::new(false),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the machine with `stop`. Only the first call counts; returns whether this was it.
    pub fn stop(&self, stop: Stop) -> bool {
        self.end(&mut self.state(), stop)
    }

    fn end(&self, state: &mut State, stop: Stop) -> bool {
        if state.phase == Phase::Ending {
            return false;
        }
        state.phase = Phase::Ending;
        state.stop = Some(stop);
        state.kickers.iter().for_each(VcpuKicker::kick);
        state.wake();
        state.hold.end();
        self.0.changed.notify_all();
        true
    }

    /// As [`stop`](Self::stop), by an exit of `vcpu`.
    pub(super) fn stop_by(&self, vcpu: u8, stop: Stop) -> bool {
        let mut state = self.state();
        let first = self.end(&mut state, stop);
        if first {
            state.stopped_by = Some(vcpu);
        }
        first
    }

    /// The vCPU whose exit ended the machine; `None` before that, and if something else did.
    pub fn stopped_by(&self) -> Option<u8> {
        self.state().stopped_by
    }

    /// Pauses every vCPU and returns when all of them wait; `false` if the machine has ended instead, or somebody has
    /// resumed it meanwhile.
    ///
    /// A vCPU whose device blocks (a console that nobody reads) holds this up. Not to be called by a device on a vCPU's
    /// thread: that vCPU would wait for itself.
    pub fn pause(&self) -> bool {
        let mut state = self.state();
        self.begin_pause(&mut state);
        while state.phase == Phase::Paused && state.parked < state.running {
            state = self.wait_and_kick(state);
        }
        state.phase == Phase::Paused
    }

    fn begin_pause(&self, state: &mut State) {
        if state.phase == Phase::Running {
            state.phase = Phase::Paused;
            state.kickers.iter().for_each(VcpuKicker::kick);
            // One that waits in a census is in no call that a kick would end.
            self.0.changed.notify_all();
        }
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
        let unanswered = state.resume();
        drop(state);
        // What a job has with it may be anything, and is not dropped under the lock.
        drop(unanswered);
        self.0.changed.notify_all();
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

    /// What is readable when an event loop should look at [`stopped`](Self::stopped) and [`is_calm`](Self::is_calm). The
    /// loop resets it.
    ///
    /// # Errors
    ///
    /// The process has no file descriptor left.
    pub(crate) fn waker(&self) -> std::io::Result<Arc<EventFd>> {
        let mut state = self.state();
        if let Some(wake) = &state.wake {
            return Ok(Arc::clone(wake));
        }
        let wake = Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?);
        state.wake = Some(Arc::clone(&wake));
        if state.phase == Phase::Ending {
            state.wake();
        }
        Ok(wake)
    }

    /// Whether no vCPU has made an exit, or was found running, since the last census.
    pub(crate) fn is_calm(&self) -> bool {
        self.0.calm.load(Relaxed)
    }

    /// Asks every vCPU whether anything can still wake it, and returns at once. From here on the machine is calm, until
    /// the next exit; if all vCPUs are off, it halts.
    pub(crate) fn take_census(&self) {
        let mut state = self.state();
        // Seen by every vCPU that this kicks: it takes the lock before it enters the guest again.
        self.0.calm.store(true, Relaxed);
        state.census = Some(Census::default());
        state.question += 1;
        state.kickers.iter().for_each(VcpuKicker::kick);
        self.0.changed.notify_all();
    }

    /// A vCPU does something. On the way of every exit, so it is no more than a look while that is nothing new.
    #[inline]
    pub(crate) fn notice(&self) {
        if self.0.calm.load(Relaxed) {
            self.end_calm();
        }
    }

    #[cold]
    fn end_calm(&self) {
        let state = self.state();
        if self.0.calm.swap(false, Relaxed) {
            state.wake();
        }
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
        if state.phase != Phase::Running || state.census.is_some() {
            kicker.kick();
        }
        state.kickers.push(kicker);
    }

    pub(super) fn leave(&self) {
        self.state().running -= 1;
        self.0.changed.notify_all();
    }

    /// Called by a vCPU that was kicked: waits while the phase is `paused`, doing what a debugger asks of it, and answers
    /// the census by its activity, unless `last` says that it has. `false` means: return.
    ///
    /// # Errors
    ///
    /// That of [`Vcpu::activity`].
    pub(super) fn go_on(&self, last: &mut Answered, vcpu: &mut dyn Vcpu) -> Result<bool, CallError> {
        let mut state = self.state();
        loop {
            match state.phase {
                Phase::Ending => return Ok(false),
                Phase::Paused | Phase::Running if state.is_parked(last.vcpu) => {
                    state = self.park(state, last.vcpu, vcpu);
                }
                Phase::Paused | Phase::Running => {
                    let Some(census) = &state.census else { return Ok(true) };
                    if last.question != state.question {
                        last.question = state.question;
                        drop(state);
                        let found = vcpu.activity()?;
                        if found == Activity::Running {
                            self.notice();
                        }
                        last.off = found == Activity::Off;
                        state = self.state();
                        self.count(&mut state, last.question, found);
                    } else if last.off && census.waiting == 0 {
                        // The others have not all answered: it may not run, or their answers would be void.
                        state = self.wait(state);
                    } else {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Waits until the vCPU may go on, and does what a debugger asks of it meanwhile.
    fn park<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        index: u8,
        vcpu: &mut dyn Vcpu,
    ) -> MutexGuard<'a, State> {
        state.parked += 1;
        self.0.changed.notify_all();
        while state.is_parked(index) {
            state = match state.hold.job(index) {
                Some(job) => {
                    drop(state);
                    job(vcpu);
                    self.state()
                }
                None => self.wait(state),
            };
        }
        state.parked -= 1;
        state
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an answer into the census, if that is still the one it belongs to.
    fn count(&self, state: &mut State, question: u64, found: Activity) {
        let all = state.running;
        let Some(census) = state.census.as_mut().filter(|_| state.question == question) else { return };
        match found {
            Activity::Off => census.off += 1,
            Activity::Waiting => census.waiting += 1,
            Activity::Running => {}
        }
        let (off, waiting, again) = (census.off, census.waiting, census.again);
        if found == Activity::Running || off + waiting == all && waiting > 0 {
            state.census = None;
            self.0.changed.notify_all();
        } else if waiting > 0 {
            // Those that are off need not wait any longer.
            self.0.changed.notify_all();
        } else if off == all && again {
            self.end(state, Stop::Halted);
        } else if off == all {
            state.census = Some(Census { again: true, ..Census::default() });
            state.question += 1;
            self.0.changed.notify_all();
        }
    }
}

impl State {
    /// Whether a vCPU is to stay where it is.
    fn is_parked(&self, vcpu: u8) -> bool {
        match self.phase {
            Phase::Paused => true,
            Phase::Running => self.hold.is_frozen(vcpu),
            Phase::Ending => false,
        }
    }

    /// Ends a pause, if there is one. What a debugger has still asked of a vCPU is asked of none that runs: it is handed
    /// out, and whoever waits for an answer gets none.
    fn resume(&mut self) -> Jobs {
        if self.phase != Phase::Paused {
            return Jobs::new();
        }
        self.phase = Phase::Running;
        self.hold.take_jobs()
    }

    /// Wakes the event loop, where there is one.
    fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Fails only on a full counter, and then it is readable already.
            let _ = wake.write(1);
        }
    }
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;

#[cfg(test)]
#[path = "census_test.rs"]
mod census_tests;
