//! Standard input and output as the guest's console.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FileType, fstat, major, minor};
use rustix::process::getpgrp;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr,
};
use strata_vmm::devices::virtio::console::ConsoleHandle;

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

/// The terminal's size, for a guest whose virtio console is there.
#[derive(Debug)]
pub(crate) struct Window {
    guest: ConsoleHandle,
    port: usize,
}

impl Window {
    /// For this port of the guest's consoles, which hears of the size at once.
    pub(crate) fn new(guest: ConsoleHandle, port: usize) -> Self {
        let window = Self { guest, port };
        window.tell();
        window
    }

    /// Tells the guest how large the terminal is now.
    pub(crate) fn tell(&self) {
        if let Ok(size) = tcgetwinsize(stdout()) {
            self.guest.resize(self.port, size.ws_col, size.ws_row);
        }
    }
}

/// What standard input is to a guest's console.
#[derive(Debug)]
pub(crate) enum Input {
    /// Nothing will ever come: it is `/dev/null`, or a terminal whose foreground is somebody else's, where reading
    /// would stop the process.
    Nothing,
    /// A pipe, a file, a socket: every byte is the guest's.
    Stream,
    /// A terminal.
    Terminal(Terminal),
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
                    Ok(_) => Self::Terminal(Terminal::default()),
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

    /// The terminal, if it is one.
    pub(crate) fn terminal(&self) -> Option<&Terminal> {
        match self {
            Self::Terminal(terminal) => Some(terminal),
            Self::Nothing | Self::Stream => None,
        }
    }
}

fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// The terminal at standard input. Clones are the same one.
///
/// In the background its settings are left alone: they are the foreground's, and changing them would stop the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terminal(Arc<Mutex<Option<Termios>>>);

impl Terminal {
    /// How it was found, while it is raw.
    fn before(&self) -> MutexGuard<'_, Option<Termios>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it pass every key on as it is typed until [`restore`](Self::restore).
    pub(crate) fn make_raw(&self) {
        let mut before = self.before();
        if !in_foreground() {
            return;
        }
        // If it is raw already, a SIGSTOP and a shell's own settings may have come between: raw again, for the same end.
        let Some(found) = before.take().or_else(|| tcgetattr(stdin()).ok()) else { return };
        if tcsetattr(stdin(), OptionalActions::Now, &raw(&found)).is_ok() {
            *before = Some(found);
        }
    }

    /// Puts it back as it was found.
    pub(crate) fn restore(&self) {
        if let Some(found) = self.before().take()
            && in_foreground()
        {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &found);
        }
    }
}

/// The settings with which every key is the guest's, as cfmakeraw(3) makes them but for two things. Output is still
/// processed: strata's own messages, and those of other programs on this terminal, end their lines with a newline alone,
/// and a guest's carriage returns do not mind. And the size of a character and its parity are the line's affair.
fn raw(found: &Termios) -> Termios {
    let mut raw = found.clone();
    raw.input_modes.remove(
        InputModes::IGNBRK
            | InputModes::BRKINT
            | InputModes::PARMRK
            | InputModes::ISTRIP
            | InputModes::INLCR
            | InputModes::IGNCR
            | InputModes::ICRNL
            | InputModes::IXON,
    );
    raw.local_modes.remove(
        LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN,
    );
    // A read returns with the first byte, and waits for it as long as it takes.
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    raw
}

/// A run with the terminal raw: restores it when dropped, however that comes about.
pub(crate) struct Raw(Terminal);

impl Raw {
    /// Makes it raw.
    pub(crate) fn new(terminal: &Terminal) -> Self {
        terminal.make_raw();
        Self(terminal.clone())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.0.restore();
    }
}
