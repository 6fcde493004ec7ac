//! Starting passt.

#![allow(unsafe_code, reason = "a child keeps a descriptor")]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::FdFlags;

/// How to start passt.
#[derive(Debug, Clone, Copy)]
pub struct PasstOptions<'a> {
    /// The program: a path, or a name that is looked for as a shell does.
    pub program: &'a Path,
    /// Further arguments, such as `--tcp-ports 2222:22`, which leads the host's port 2222 to the guest's 22.
    pub arguments: &'a [&'a OsStr],
    /// What the guest is told to use as the largest packet, in bytes. Packets that are not split cost the least.
    pub mtu: u16,
}

impl Default for PasstOptions<'_> {
    fn default() -> Self {
        Self { program: Path::new("passt"), arguments: &[], mtu: 65_520 }
    }
}

/// Why there is no passt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasstError {
    /// The program is not there.
    #[error("{} is not installed: install the package passt, or use a TAP", .0.display())]
    NotInstalled(PathBuf),
    /// It cannot be started.
    #[error("{} cannot be started: {error}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the host answered.
        error: io::Error,
    },
    /// It has started and ended.
    #[error("passt gives up: {0}")]
    Refused(Said),
    /// There is no socket.
    #[error("there is no socket for passt: {0}")]
    Socket(io::Error),
    /// Nobody listens at a path.
    #[error("passt cannot be reached at {}: {error}: start it with `passt --socket PATH`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the host answered.
        error: io::Error,
    },
}

/// What passt said before it gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said(Box<str>);

impl Said {
    /// Without what it says of itself each time.
    fn new(output: &[u8]) -> Self {
        let noise = ["Failed to send ", "Don't run as root"];
        let text = String::from_utf8_lossy(output);
        let lines = text.lines().map(str::trim);
        let lines =
            lines.filter(|line| !line.is_empty() && !noise.iter().any(|noise| line.starts_with(noise)));
        let said = lines.take(10).collect::<Vec<_>>().join("; ");
        Self(if said.is_empty() { "it does not say why".into() } else { said.into() })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)?;
        if self.0.contains("routable interface") {
            f.write_str(" (it needs an interface with a default route: see `ip route`)")?;
        }
        Ok(())
    }
}

/// Starts it with one end of a pair of sockets, and gives the other.
///
/// It goes to the background by itself once it works: then the process that was started here ends well. It ends when
/// our end of the socket is closed, which it is when this process ends in whatever way: that end is given to nobody
/// (`CLOEXEC`). A signal at our death would not do, since as root it changes its user, which unsets that.
pub(super) fn spawn(options: &PasstOptions<'_>) -> Result<UnixStream, PasstError> {
    let (ours, theirs) = UnixStream::pair().map_err(PasstError::Socket)?;
    let fd = theirs.as_raw_fd();
    let mut command = Command::new(options.program);
    command.args(["--quiet", "--fd", &fd.to_string(), "--mtu", &options.mtu.to_string()]);
    // Of a group of its own: what is typed at our terminal is not meant for it.
    command.args(options.arguments).stdin(Stdio::null()).process_group(0);
    let keep = move || {
        // SAFETY: the child has it open, for it was open when it was forked.
        let theirs = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(theirs, FdFlags::empty()).map_err(io::Error::from)
    };
    // SAFETY: it calls nothing but `fcntl(2)`, which may be called between fork and exec.
    unsafe { command.pre_exec(keep) };
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PasstError::NotInstalled(options.program.into()),
        _ => PasstError::Start { program: options.program.into(), error },
    })?;
    if output.status.success() { Ok(ours) } else { Err(PasstError::Refused(Said::new(&output.stderr))) }
}
