//! Descriptors that the VMM was given: standard input and output, a file.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use strata_devices::event_manager::{EventOps, EventSet};
use strata_devices::virtio::console::{HostSide, Sources};

use super::output::Output;
use super::{ready, watch};

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;

/// Why a console has no file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be made, or cannot be written.
    #[error("{} cannot be opened for the console's output", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One descriptor to read from, perhaps, and one to write to: a terminal, pipes, sockets, files.
///
/// When input ends, or fails, nothing more is sent to the guest; output goes on. When output fails for good (its reader is
/// gone, the terminal has been closed), nobody is there any more. A file that cannot take something (its disk is full)
/// loses that, and is tried again with the next.
///
/// A write to a pipe without a reader raises SIGPIPE: have the process ignore it, as every Rust program does.
pub struct Stream {
    input: Option<OwnedFd>,
    has_input_ended: bool,
    output: Output,
    is_open: bool,
    when_closed: Option<Box<dyn FnOnce(io::Error) + Send>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, output, is_open, .. } = self;
        f.debug_struct("Stream")
            .field("input", input)
            .field("output", output)
            .field("is_open", is_open)
            .finish()
    }
}

impl Stream {
    /// Of these descriptors. How they block does not matter and is not changed.
    pub fn new(input: Option<OwnedFd>, output: OwnedFd) -> Self {
        let output = Output::new(output);
        Self { input, has_input_ended: false, output, is_open: true, when_closed: None }
    }

    /// Output to the end of a file, which is made if it is not there. It may be a FIFO that somebody has open for
    /// reading; without a reader that is an error at once.
    ///
    /// # Errors
    ///
    /// [`FileError::Open`].
    pub fn to_file(path: &Path) -> Result<Self, FileError> {
        // With O_NONBLOCK a FIFO does not wait for its reader (fifo(7)); to a file it means nothing.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().append(true).create(true).custom_flags(flags).open(path);
        let file = file.map_err(|source| FileError::Open { path: path.to_owned(), source })?;
        Ok(Self::new(None, file.into()))
    }

    /// Calls `then` with the error when output has failed for good; once, on the console's event loop. A VMM may want to
    /// stop then, as a program does whose output is closed.
    #[must_use]
    pub fn when_closed(self, then: impl FnOnce(io::Error) + Send + 'static) -> Self {
        Self { when_closed: Some(Box::new(then)), ..self }
    }
}

impl HostSide for Stream {
    fn init(&mut self, ops: &mut EventOps<'_>, sources: Sources) {
        if let Some(input) = &self.input {
            watch(ops, sources, (input, INPUT), EventSet::IN);
        }
        watch(ops, sources, (&self.output, OUTPUT), EventSet::OUT);
    }

    fn is_open(&self) -> bool {
        self.is_open
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(input) = self.input.as_ref().filter(|_| !self.has_input_ended) else { return Ok(0) };
        // It may be one that blocks, and what was there may have been taken by somebody else.
        if ready(input, PollFlags::IN)?.is_empty() {
            return Ok(0);
        }
        match rustix::io::read(input, into).map_err(io::Error::from) {
            Err(error) if is_passing(&error) => Err(error),
            // EIO: the terminal is gone, or its foreground is somebody else's.
            ended @ (Ok(0) | Err(_)) => {
                self.has_input_ended = true;
                ended
            }
            read => read,
        }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self.output.write(from) {
            Err(error) if !is_passing(&error) && !self.output.may_recover() => {
                self.is_open = false;
                if let Some(then) = self.when_closed.take() {
                    then(error);
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
            written => written,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
#[path = "stream_test.rs"]
mod tests;
