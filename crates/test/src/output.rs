//! Where a guest's output goes: kept for the report of a failure, shown as it comes, searched for what is expected.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strata_vmm::{Control, Stop};

use crate::expect::{Expect, Search};

/// How much is kept: the last part, where a panic is.
pub const LIMIT: usize = 1 << 20;

/// What a machine's console writes to. Clones are the same.
#[derive(Debug, Clone)]
pub struct Output(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<u8>,
    dropped: u64,
    show: bool,
    search: Option<(Search, Option<Control>)>,
    found: bool,
}

/// What a guest has written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Its last [`LIMIT`] bytes.
    pub bytes: Vec<u8>,
    /// How many there were before these.
    pub dropped: u64,
    /// Whether the expected was found.
    pub found: bool,
}

impl Output {
    /// Output that is kept, shown on standard output if `show`, and searched.
    pub fn new(show: bool, expect: Option<&Expect>) -> Self {
        let search = expect.map(|expect| (Search::new(expect.clone()), None));
        Self(Arc::new(Mutex::new(State { show, search, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the machine end as soon as the expected is found.
    pub fn ends(&self, control: Control) {
        if let Some((_, place)) = &mut self.state().search {
            *place = Some(control);
        }
    }

    /// What was written; nothing more may come.
    pub fn take(&self) -> Written {
        let mut state = self.state();
        let found = state.search.take().is_some_and(|(mut search, _)| search.end()) || state.found;
        Written { bytes: std::mem::take(&mut state.kept).into(), dropped: state.dropped, found }
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.show {
            let mut out = io::stdout();
            out.write_all(data).and_then(|()| out.flush())?;
        }
        state.kept.extend(data);
        let excess = state.kept.len().saturating_sub(LIMIT);
        state.kept.drain(..excess);
        state.dropped += excess as u64;
        if !state.found
            && let Some((search, control)) = &mut state.search
            && search.push(data)
        {
            if let Some(control) = control {
                control.stop(Stop::Interrupted);
            }
            state.found = true;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "output_test.rs"]
mod tests;
