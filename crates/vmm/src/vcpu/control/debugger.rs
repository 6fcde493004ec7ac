//! A debugger's hold on the vCPUs of a machine.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustix::event::{EventfdFlags, eventfd};

use super::{Control, Phase, State};
use crate::vcpu::{DebugEvent, Stop, Vcpu};

/// Something to be done with a vCPU, on its own thread.
type Job = Box<dyn FnOnce(&mut dyn Vcpu) + Send>;

/// Jobs, and for which vCPUs they are.
pub(super) type Jobs = Vec<(u8, Job)>;

/// Asked on a vCPU's thread whether a debug event is to be passed over: the vCPU then goes on as if there had been none, and
/// no other is disturbed. Takes the vCPU's number.
pub type DebugFilter = Arc<dyn Fn(u8, &DebugEvent, &mut dyn Vcpu) -> bool + Send + Sync>;

/// A debugger that is attached to a machine: while there is one, what would end the machine pauses it instead, and is
/// told here.
///
/// Dropping it detaches: the machine goes on, or ends if that is what it was held back from.
#[derive(Debug)]
pub struct Debugger {
    control: Control,
    event: Arc<OwnedFd>,
}

/// A vCPU that came to a stop with a debugger attached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Which.
    pub vcpu: u8,
    /// Why. After a [`Stop::Debug`] it can go on; after any other, going on ends the machine.
    pub stop: Stop,
}

/// The debugger's part of [`State`].
#[derive(Default)]
pub(super) struct Hold {
    event: Option<Arc<OwnedFd>>,
    filter: Option<DebugFilter>,
    held: VecDeque<Held>,
    jobs: Jobs,
    /// vCPUs that stay where they are while the others run.
    frozen: Vec<u8>,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { event, filter: _, held, jobs, frozen } = self;
        f.debug_struct("Hold")
            .field("is_attached", &event.is_some())
            .field("held", held)
            .field("jobs", &jobs.len())
            .field("frozen", frozen)
            .finish_non_exhaustive()
    }
}

impl Hold {
    /// The machine ends: whoever waits for a job's answer gets none.
    pub(super) fn end(&mut self) {
        self.jobs.clear();
        self.wake();
    }

    pub(super) fn take_jobs(&mut self) -> Jobs {
        std::mem::take(&mut self.jobs)
    }

    pub(super) fn is_frozen(&self, vcpu: u8) -> bool {
        self.frozen.contains(&vcpu)
    }

    /// The next job for a vCPU, in the order they were given.
    pub(super) fn job(&mut self, vcpu: u8) -> Option<Job> {
        let next = self.jobs.iter().position(|(whose, _)| *whose == vcpu)?;
        Some(self.jobs.remove(next).1)
    }

    fn wake(&self) {
        if let Some(event) = &self.event {
            // Fails only on a full counter, and then it is readable already.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }
}

/// Whether a debugger wants to see this before the machine ends. Not what the guest does on purpose, nor what the host
/// asks for.
fn is_held(stop: &Stop) -> bool {
    !matches!(
        stop,
        Stop::PowerOff
            | Stop::Reset
            | Stop::DebugExit { .. }
            | Stop::Interrupted
            | Stop::OutputClosed
            | Stop::OutputFailed { .. }
            | Stop::VcpuDied { .. }
    )
}

impl Control {
    /// Attaches a debugger to the machine. `None` if it has one already.
    ///
    /// # Errors
    ///
    /// The process has no file descriptor left.
    pub fn attach(&self) -> io::Result<Option<Debugger>> {
        let event = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let mut state = self.state();
        if state.hold.event.is_some() {
            return Ok(None);
        }
        state.hold.event = Some(Arc::clone(&event));
        if state.phase == Phase::Ending {
            state.hold.wake();
        }
        drop(state);
        Ok(Some(Debugger { control: self.share(), event }))
    }

    /// Whether the debugger, if there is one, lets a vCPU pass over this.
    pub(in crate::vcpu) fn passes_over(&self, index: u8, stop: &Stop, vcpu: &mut dyn Vcpu) -> bool {
        let Stop::Debug(event) = stop else { return false };
        // Asked without the lock: it may take its time.
        let filter = self.state().hold.filter.clone();
        filter.is_some_and(|filter| filter(index, event, vcpu))
    }

    /// A vCPU has come to a stop: whether a debugger holds the machine because of it. Then the vCPU goes to
    /// [`go_on`](Self::go_on), and only afterwards ends the machine.
    pub(in crate::vcpu) fn hold(&self, vcpu: u8, stop: &Stop) -> bool {
        let mut state = self.state();
        if state.hold.event.is_none() || state.phase == Phase::Ending || !is_held(stop) {
            return false;
        }
        state.hold.held.push_back(Held { vcpu, stop: stop.clone() });
        state.hold.wake();
        self.begin_pause(&mut state);
        true
    }
}

impl Debugger {
    /// The next vCPU that came to a stop; the machine is paused then, or about to be: see [`pause`](Self::pause).
    pub fn next(&self) -> Option<Held> {
        self.control.state().hold.held.pop_front()
    }

    /// Whether a vCPU has come to a stop that [`next`](Self::next) has not told yet.
    pub fn has_next(&self) -> bool {
        !self.control.state().hold.held.is_empty()
    }

    /// Resets what [`AsRawFd`] gives, which is readable when there is something to see: a vCPU that came to a stop, or the
    /// machine's end.
    pub fn seen(&self) {
        // Fails when it was not readable.
        let _ = rustix::io::read(&*self.event, &mut [0; 8]);
    }

    /// Pauses every vCPU and returns when all wait; `false` if the machine has ended.
    pub fn pause(&self) -> bool {
        self.control.pause()
    }

    /// Lets the vCPUs go on for which `who` is true; the others stay where they are, if the machine is paused.
    pub fn resume(&self, who: impl Fn(u8) -> bool) {
        let mut state = self.control.state();
        state.hold.frozen = (0..state.vcpus()).filter(|&vcpu| !who(vcpu)).collect();
        let unanswered = state.resume();
        drop(state);
        drop(unanswered);
        // Also without a pause: one that was frozen may not be any more.
        self.control.0.changed.notify_all();
    }

    /// Says which debug events to pass over from now on; `None`: none of them. Without it a debugger that single-steps in
    /// search of something would have to pause and resume the machine at every instruction.
    pub fn filter(&self, filter: Option<DebugFilter>) {
        self.control.state().hold.filter = filter;
    }

    /// How many vCPUs have begun to run.
    pub fn vcpus(&self) -> u8 {
        self.control.state().vcpus()
    }

    /// Why the machine has ended, if it has.
    pub fn ended(&self) -> Option<Stop> {
        self.control.stopped()
    }

    /// Ends the machine.
    pub fn kill(&self) {
        self.control.stop(Stop::Interrupted);
    }

    /// Does something with a vCPU, on its own thread. `None` if there is no such vCPU, the machine is not paused, or it
    /// ends or is resumed meanwhile.
    pub fn with_vcpu<R: Send + 'static>(
        &self,
        vcpu: u8,
        work: impl FnOnce(&mut dyn Vcpu) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = sync_channel(1);
        let mut state = self.control.state();
        if state.phase != Phase::Paused || vcpu >= state.vcpus() {
            return None;
        }
        let job = Box::new(move |vcpu: &mut dyn Vcpu| {
            // Nobody waits for it any more: then it is not needed.
            let _ = answer.send(work(vcpu));
        });
        state.hold.jobs.push((vcpu, job));
        drop(state);
        self.control.0.changed.notify_all();
        answered.recv().ok()
    }
}

impl State {
    fn vcpus(&self) -> u8 {
        u8::try_from(self.kickers.len()).unwrap_or(u8::MAX)
    }
}

impl AsRawFd for Debugger {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

impl AsFd for Debugger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        let mut state = self.control.state();
        let hold = std::mem::take(&mut state.hold);
        // Under the same lock: the next debugger's pause is not to be ended by this one.
        let unanswered = state.resume();
        drop(state);
        // What filter and jobs have with them may be anything.
        drop((hold, unanswered));
        // Those that were frozen do not wait for the phase alone.
        self.control.0.changed.notify_all();
    }
}

#[cfg(test)]
#[path = "debugger_test.rs"]
mod tests;
