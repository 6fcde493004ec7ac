//! Ctrl-C: every machine ends, nothing is left behind, and what has been found out is still said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use nix::sys::signal::{SigSet, Signal};
use strata_vmm::{Control, Stop};

/// The machines that run now, and whether they may. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    happened: bool,
    next: u64,
    running: BTreeMap<u64, Control>,
}

/// A machine's place among those that run, until it is dropped.
#[derive(Debug)]
pub struct Running {
    interrupt: Interrupt,
    key: u64,
}

impl Interrupt {
    /// One that nothing brings about but [`now`](Self::now).
    pub fn new() -> Self {
        Self::default()
    }

    /// Has SIGINT and SIGTERM bring it about. To be called before the process has other threads: they inherit that these
    /// signals wait.
    ///
    /// # Errors
    ///
    /// The system gave no thread, or did not let the signals wait.
    pub fn by_signals() -> io::Result<Self> {
        let interrupt = Self::new();
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let watcher = interrupt.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            while signals.wait().is_ok() {
                watcher.now();
            }
        })?;
        Ok(interrupt)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every machine that runs, and every one that would.
    pub fn now(&self) {
        let mut state = self.state();
        state.happened = true;
        for control in state.running.values() {
            control.stop(Stop::Interrupted);
        }
    }

    /// Whether it has come about.
    pub fn happened(&self) -> bool {
        self.state().happened
    }

    /// A machine is about to run.
    pub fn enter(&self, control: Control) -> Running {
        let mut state = self.state();
        if state.happened {
            control.stop(Stop::Interrupted);
        }
        let key = state.next;
        state.next += 1;
        state.running.insert(key, control);
        Running { interrupt: self.clone(), key }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.interrupt.state().running.remove(&self.key);
    }
}

#[cfg(test)]
#[path = "interrupt_test.rs"]
mod tests;
