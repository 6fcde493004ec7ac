//! Standard input and output as the guest's console.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use rustix::fs::{FileType, fstat, major, minor};
use rustix::process::getpgrp;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// Standard output without a buffer: what a guest prints is seen at once.
#[derive(Debug)]
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(stdout(), data)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard input without a buffer.
#[derive(Debug)]
pub(crate) struct Stdin;

impl Read for Stdin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(stdin(), into)?)
    }
}

impl AsRawFd for Stdin {
    fn as_raw_fd(&self) -> RawFd {
        stdin().as_raw_fd()
    }
}

/// What standard input is to a guest's console.
#[derive(Debug)]
pub(crate) enum Input {
    /// Nothing will ever come: it is `/dev/null`, or a terminal whose foreground is somebody else's, where reading
    /// would stop the process.
    Nothing,
    /// A pipe, a file, a socket.
    Stream,
    /// A terminal, with its settings.
    Terminal(Termios),
}

impl Input {
    /// Looks at standard input.
    pub(crate) fn find() -> Self {
        match fstat(stdin()) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice => {
                // Linux, Documentation/admin-guide/devices.txt: 1, 3 is /dev/null.
                if (major(found.st_rdev), minor(found.st_rdev)) == (1, 3) {
                    return Self::Nothing;
                }
                match tcgetattr(stdin()) {
                    Ok(_) if !in_foreground() => Self::Nothing,
                    Ok(settings) => Self::Terminal(settings),
                    Err(_) => Self::Stream,
                }
            }
            // Closed input is found out by reading it.
            _ => Self::Stream,
        }
    }

    /// Whether anything may come.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// If it is a terminal, has it pass each key on as it is typed, until what is returned is dropped.
    pub(crate) fn key_by_key(self) -> Option<KeyByKey> {
        let Self::Terminal(before) = self else { return None };
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &now).ok()?;
        Some(KeyByKey { before })
    }
}

fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// A terminal that passes each key on as it is typed, and does not show it: the guest does. Ctrl-C still interrupts.
/// What was before comes back when this is dropped.
pub(crate) struct KeyByKey {
    before: Termios,
}

impl Drop for KeyByKey {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
