//! Standard input and output as the guest's console.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// Standard output without a buffer: what a guest prints is seen at once.
pub(crate) fn output() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Standard input without a buffer; `None` where reading it would stop the process, as a background job.
pub(crate) fn input() -> io::Result<Option<File>> {
    let stdin = io::stdin();
    if stdin.is_terminal() && !in_foreground(&stdin) {
        return Ok(None);
    }
    Ok(Some(stdin.as_fd().try_clone_to_owned()?.into()))
}

fn in_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}

/// A terminal that passes each key on as it is typed, and does not show it: the guest does. Ctrl-C still interrupts.
/// What was before comes back when this is dropped.
pub(crate) struct KeyByKey {
    terminal: OwnedFd,
    before: Termios,
}

impl KeyByKey {
    /// Switches standard input over; `None` where it is no terminal, or not ours to change.
    pub(crate) fn on_stdin() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !in_foreground(&stdin) {
            return None;
        }
        let terminal = stdin.as_fd().try_clone_to_owned().ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &now).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for KeyByKey {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
