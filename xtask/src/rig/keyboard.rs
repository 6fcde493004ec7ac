//! Our standard input, passed on to a command in the emulated host.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// End of transmission, as Ctrl-D types it: what reads lines from a terminal takes it for the end of its input.
const END: u8 = 4;

/// Keeps what is typed until the command is ready for it.
///
/// A serial port forgets what it has received when a system first opens it. A person sees that and types again; for a
/// script, input has to wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        let (is_open, changed) = &*self.0;
        *is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let (is_open, changed) = &*self.0;
        let mut guard = is_open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*guard {
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Standard input on its way to a command. By default there is none.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    to: Option<(UnixStream, Gate)>,
    /// The terminal's settings from before, if standard input is one.
    before: Option<Termios>,
}

impl Keyboard {
    /// What is not typed at a terminal waits for the gate to open.
    pub(super) fn new(to: UnixStream, gate: Gate) -> Self {
        Self { to: Some((to, gate)), before: None }
    }

    /// From now on every key goes to the command, also those that would otherwise interrupt us: only now is it there to
    /// act on them.
    pub(super) fn connect(&mut self) {
        let Some((to, gate)) = self.to.take() else { return };
        if let Ok(settings) = tcgetattr(stdin()) {
            gate.open();
            let mut raw = settings.clone();
            raw.make_raw();
            // Line ends of what is printed are still made into those of a terminal.
            raw.output_modes = settings.output_modes;
            if tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok() {
                self.before = Some(settings);
            }
        }
        feed(to, gate);
    }

    /// Gives the terminal back as it was.
    pub(super) fn disconnect(&mut self) {
        if let Some(before) = self.before.take() {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.disconnect();
    }
}

/// Copies our standard input once the gate is open, and types the end of it.
///
/// Nobody waits for the thread that does it: only a key ends the reading of a terminal. It goes with the process.
pub(crate) fn feed(mut to: impl Write + Send + 'static, gate: Gate) {
    thread::spawn(move || {
        gate.wait();
        // A command that has ended reads no more, which is no failure.
        let _ = pass_on(&mut io::stdin().lock(), &mut to).and_then(|()| to.write_all(&[END]));
        // Closed only when the command has ended: QEMU takes the end of one direction for that of both.
        let _kept = to;
        thread::park();
    });
}

/// Copies to the end, every piece at once.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
        }
    }
}
