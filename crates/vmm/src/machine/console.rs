//! Where the guest's output goes.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::vcpu::{Control, Stop};

/// The one output that the serial port and printing stubs share. A clone is the same output.
///
/// A guest whose output nobody takes any more is stopped, as a program that writes to a closed pipe is.
#[derive(Clone)]
pub(super) struct Console(Arc<Mutex<Box<dyn Write + Send>>>, Control);

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}

/// Stops the machine for an output that has failed.
fn gone(control: &Control, error: &io::Error) -> io::Error {
    control.stop(match error.raw_os_error() {
        // A terminal that has been closed answers EIO.
        Some(errno) if errno != libc::EPIPE && errno != libc::EIO => Stop::OutputFailed { errno },
        _ => Stop::OutputClosed,
    });
    // Not the error itself: `write_all` would try again after an interruption.
    io::ErrorKind::BrokenPipe.into()
}

/// Whether writing again may help.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

impl Console {
    pub(super) fn new(control: Control) -> Self {
        Self(Arc::new(Mutex::new(Box::new(io::sink()))), control)
    }

    pub(super) fn set(&self, out: Box<dyn Write + Send>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = out;
    }
}

/// How long to wait for an output that is in non-blocking mode (another process may have set that) and full.
const RETRY: Duration = Duration::from_millis(1);

impl Write for Console {
    /// Writes all of `data`, so that the bytes of one device are not torn by another's. While nobody reads, the guest
    /// waits here; the kick that stops the machine ends that too.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Self(out, control) = self;
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = data;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(written @ 1..) => rest = rest.get(written..).unwrap_or_default(),
                Ok(0) => return Err(gone(control, &io::ErrorKind::WriteZero.into())),
                Err(error) if is_passing(&error) && control.stopped().is_none() => {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        thread::sleep(RETRY);
                    }
                }
                Err(error) => return Err(gone(control, &error)),
            }
        }
        out.flush().map_err(|error| gone(control, &error))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
