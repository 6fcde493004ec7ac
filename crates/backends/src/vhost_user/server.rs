//! A server, and the process that it may be.

use std::fmt;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

/// Why there is no server at a path.
#[derive(Debug, Error)]
#[error("no vhost-user server listens at {}: start one first", .path.display())]
pub struct ConnectError {
    /// The socket's path.
    pub path: PathBuf,
    /// What the kernel answered.
    pub source: io::Error,
}

/// How long a server may take to answer while the guest waits for it. It has to finish what it has begun, which may mean a
/// disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to answer at all. It may have to be loaded first; that it ended is noticed at once.
const PATIENCE_AT_START: Duration = Duration::from_secs(30);

/// A connection to a vhost-user server that nothing has been said on yet.
///
/// If the process was started by us ([`Virtiofsd`](super::Virtiofsd)), it ends when this, or the device that it is given
/// to, is dropped.
pub struct Server {
    pub(super) stream: Arc<UnixStream>,
    pub(super) process: Option<Process>,
    pub(super) patience: Duration,
    pub(super) patience_at_start: Duration,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.process.as_ref().map(|process| process.child.id());
        f.debug_struct("Server").field("pid", &pid).finish_non_exhaustive()
    }
}

impl Server {
    /// Connects to a server that somebody else has started and that listens at this path.
    ///
    /// # Errors
    ///
    /// That there is no listener, with what `connect(2)` said.
    pub fn connect(path: &Path) -> Result<Self, ConnectError> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Self::from_stream(stream)),
            Err(source) => Err(ConnectError { path: path.into(), source }),
        }
    }

    /// A server at the other end of a connection.
    pub fn from_stream(stream: UnixStream) -> Self {
        Self {
            stream: Arc::new(stream),
            process: None,
            patience: PATIENCE,
            patience_at_start: PATIENCE_AT_START,
        }
    }
}

/// A process that was started by us, with those that it has started: all are in a process group of their own.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// What it says; given away once.
    pub(super) stderr: Option<ChildStderr>,
}

/// How much of what a server says is shown.
const MOST_SAID: u64 = 2048;

impl Process {
    /// Takes a child that is the leader of a process group, and has its standard error on a pipe.
    pub(super) fn new(mut child: Child) -> Self {
        let stderr = child.stderr.take();
        Self { child, stderr }
    }

    /// The number of the process group.
    pub(super) fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends all of it, whatever it is doing.
    pub(super) fn kill(&self) {
        // The number is still its own, as long as nobody has waited for it.
        let _ = kill_process_group(self.group(), Signal::KILL);
    }

    /// Ends it, and gives what it has said before.
    pub(super) fn last_words(&mut self) -> String {
        self.kill();
        let mut said = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            // This ends: nobody is left who could write.
            let _ = stderr.take(MOST_SAID).read_to_end(&mut said);
        }
        printable(&said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// One line of what somebody else has written: what would move a terminal's cursor is not among it.
pub(super) fn printable(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join("; ");
    line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// The connection to a server that is not to be heard any more is cut. Gives whether it is certain that the server touches
/// no guest memory from now on.
pub(super) fn cut_off(stream: &UnixStream, process: Option<&Process>, limit: Duration) -> bool {
    let is_gone = match process {
        Some(process) => {
            process.kill();
            // Its end of the socket is closed when the last of its threads has ended, and with them its mappings.
            is_hung_up(stream, limit)
        }
        None => is_hung_up(stream, Duration::ZERO),
    };
    let _ = stream.shutdown(Shutdown::Both);
    is_gone
}

/// Whether nobody has the other end open any more, or will not before the limit.
fn is_hung_up(stream: &UnixStream, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).ok();
    loop {
        // Hanging up is told without being asked for.
        let mut fds = [PollFd::new(stream, PollFlags::empty())];
        match poll(&mut fds, limit.as_ref()) {
            Err(Errno::INTR) => {}
            answer => return answer.is_ok_and(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
#[path = "server_test.rs"]
mod tests;
