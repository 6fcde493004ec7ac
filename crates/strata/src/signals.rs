//! Signals: those that end a run, those that stop and continue the process, and what asks for a core dump.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use strata_vmm::event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use strata_vmm::machine::PowerButton;
use strata_vmm::{Control, Stop};

use crate::dump::OnDemand;
use crate::message::mention;
use crate::terminal::{Terminal, Window};

/// These end the run.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// These come before the process stops and after it has gone on. A terminal has to be as it was in between.
const STOPPING: [Signal; 2] = [Signal::SIGTSTP, Signal::SIGCONT];

/// Asks for a core dump.
const DUMPING: Signal = Signal::SIGUSR1;

/// So long after the button was pressed SIGTERM means the same press: timeout(1) sends it to the process and at once
/// again to its group.
const SAME_PRESS: Duration = Duration::from_secs(1);

/// Does on the event loop what signals ask for.
pub(crate) struct Signals {
    arrived: SignalFd,
    control: Control,
    /// What the first SIGTERM presses.
    button: Option<PowerButton>,
    /// When it was.
    pressed: Option<Instant>,
    terminal: Option<Terminal>,
    /// What hears of the terminal's size.
    window: Option<Window>,
    quiet: bool,
    /// What SIGUSR1 asks for.
    dumps: Option<OnDemand>,
}

impl Signals {
    /// From here on these signals wait for the event loop, in this thread and in those that it starts. One that the
    /// process was started to ignore, as `nohup` does, stays ignored. What is returned beside lets them through again.
    pub(crate) fn new(
        control: Control,
        button: Option<PowerButton>,
        (terminal, window): (Option<Terminal>, Option<Window>),
        (dumps, quiet): (Option<OnDemand>, bool),
    ) -> io::Result<(Self, Blocked)> {
        let mut signals = SigSet::empty();
        let stopping = STOPPING.into_iter().filter(|_| terminal.is_some());
        let sizing = window.iter().map(|_| Signal::SIGWINCH);
        let dumping = dumps.iter().map(|_| DUMPING);
        // While it is blocked, a signal is kept even if it is ignored (sigaction(2)).
        let all = ENDING.into_iter().chain(stopping).chain(sizing).chain(dumping);
        for signal in all.filter(is_heeded(&fs::read_to_string(STATUS)?)) {
            signals.add(signal);
        }
        let mut before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        if dumps.is_some() {
            // One that comes late is no reason to die of it.
            before.add(DUMPING);
        }
        let arrived = waiting(&signals)?;
        let signals_read = Self { arrived, control, button, pressed: None, terminal, window, quiet, dumps };
        Ok((signals_read, Blocked { signals, before }))
    }

    fn obey(&mut self, signal: Signal) {
        match signal {
            Signal::SIGTERM if self.button.take().is_some_and(|button| button.press()) => {
                self.pressed = Some(Instant::now());
                if !self.quiet {
                    mention(
                        "asked the guest to power off; a second SIGTERM, more than a second later, ends it",
                    );
                }
            }
            Signal::SIGTERM if is_same_press(self.pressed, Instant::now()) => {}
            Signal::SIGTSTP => {
                self.terminal.iter().for_each(Terminal::restore);
                // As the kernel would have done it. SIGCONT arrives here as well, once the process runs again.
                let _ = raise(Signal::SIGSTOP);
            }
            DUMPING => self.dumps.iter().for_each(OnDemand::begin),
            Signal::SIGWINCH => self.window.iter().for_each(Window::tell),
            Signal::SIGCONT => self.terminal.iter().for_each(Terminal::make_raw),
            _ => drop(self.control.stop(Stop::Interrupted)),
        }
    }
}

fn is_same_press(pressed: Option<Instant>, now: Instant) -> bool {
    pressed.is_some_and(|pressed| now.saturating_duration_since(pressed) <= SAME_PRESS)
}

/// Where those of `signals` are read that arrive while they are blocked.
fn waiting(signals: &SigSet) -> io::Result<SignalFd> {
    Ok(SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// While this lives, the thread that made it leaves signals to the event loop. When it is dropped they do to the process
/// what they always do: a report or a message that waits for its reader can be interrupted.
#[must_use]
pub(crate) struct Blocked {
    signals: SigSet,
    before: SigSet,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Those that came too late for the loop meant the run, which is over: timeout(1) sends each signal twice.
        if let Ok(late) = waiting(&self.signals) {
            while let Ok(Some(_)) = late.read_signal() {}
        }
        let _ = self.before.thread_set_mask();
    }
}

/// Where the kernel says which signals this process ignores (proc(5)): std has no call for it.
const STATUS: &str = "/proc/self/status";

/// Whether a signal is not ignored, according to that file's text. Bit 0 is signal 1.
fn is_heeded(status: &str) -> impl Fn(&Signal) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    move |&signal| ignored >> (signal as i32 - 1) & 1 == 0
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        while let Ok(Some(arrived)) = self.arrived.read_signal() {
            let number = i32::try_from(arrived.ssi_signo).ok();
            if let Some(signal) = number.and_then(|number| Signal::try_from(number).ok()) {
                self.obey(signal);
            }
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if ops.add(Events::new(&self.arrived.as_fd(), EventSet::IN)).is_err() {
            // A run that could not be interrupted is worse than none.
            self.control.stop(Stop::Interrupted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigterm_within_a_second_of_the_press_is_part_of_it() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!is_same_press(None, start));
        assert!(is_same_press(Some(start), start) && is_same_press(Some(start), after(1000)));
        assert!(!is_same_press(Some(start), after(1001)));
    }

    #[test]
    fn what_is_ignored_is_read_bit_by_bit() {
        let heeded = is_heeded("Name:\tstrata\nSigIgn:\t0000000000001001\nSigCgt:\tffffffffffffffff\n");
        assert!(!heeded(&Signal::SIGHUP) && !heeded(&Signal::SIGPIPE));
        assert!(heeded(&Signal::SIGINT) && heeded(&Signal::SIGTERM));
        assert!(is_heeded("")(&Signal::SIGHUP));
    }
}
