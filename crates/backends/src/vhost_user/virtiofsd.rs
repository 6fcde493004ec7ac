//! The servers for virtio-fs that there are: virtiofsd in Rust, and the one in C that QEMU had up to 7.2.

#![allow(unsafe_code, reason = "what a child does between fork and exec is the caller's word")]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use thiserror::Error;

use super::Server;
use super::server::Process;

/// What is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The directory of the host.
    pub dir: PathBuf,
    /// Whether the guest may only read: the server sees to it, whatever the guest does.
    pub read_only: bool,
}

/// How the server shuts itself in before it listens to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sandbox {
    /// In namespaces of its own, where the shared directory is the root of all. Without privileges this takes a host that
    /// lets everybody make user namespaces.
    #[default]
    Namespace,
    /// By `chroot(2)`: for containers that may not make namespaces. Takes `CAP_SYS_CHROOT`.
    Chroot,
    /// Not at all, which only the one in Rust can. Then what keeps a guest that has taken the server over from the host's
    /// files is the server's user ID.
    None,
}

/// Why there is no virtiofsd.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// It is nowhere.
    #[error(
        "virtiofsd is not installed, neither in PATH nor in {}: install the package virtiofsd (in Debian 12: \
         qemu-system-common)",
        PLACES.join(", ")
    )]
    NotInstalled,
    /// The program cannot be run.
    #[error("{} cannot be run", .program.display())]
    CannotRun {
        /// The program.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program is something else.
    #[error("{} is no virtiofsd: its --help names neither --shared-dir nor -o source", .program.display())]
    Unknown {
        /// The program.
        program: PathBuf,
    },
}

/// Why a directory is not shared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShareError {
    /// There is no such directory, or none that may be looked at.
    #[error("{} cannot be shared with the guest", .dir.display())]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} cannot be shared with the guest: it is not a directory", .dir.display())]
    NotADirectory {
        /// The path.
        dir: PathBuf,
    },
    /// This virtiofsd shares for reading and writing only.
    #[error(
        "{} cannot share read-only: install virtiofsd 1.8 or later, mount the directory read-only on the host and share \
         that, or share it for writing",
        .program.display()
    )]
    ReadOnly {
        /// The program.
        program: PathBuf,
    },
    /// This virtiofsd cannot do without.
    #[error("{} cannot run without a sandbox: choose another", .program.display())]
    Sandbox {
        /// The program.
        program: PathBuf,
    },
    /// There is no socket to give to it.
    #[error("no socket can be had for virtiofsd")]
    Socket {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("{} cannot be run", .program.display())]
    CannotRun {
        /// The program.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Where it lies besides in PATH: it is no command for people. QEMU's, in C, comes last.
const PLACES: [&str; 4] = ["/usr/libexec", "/usr/lib", "/usr/lib/virtiofsd", "/usr/lib/qemu"];

/// How a virtiofsd is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Options are words: <https://gitlab.com/virtio-fs/virtiofsd>.
    Rust { has_readonly: bool },
    /// Most options are parts of `-o`: QEMU, docs/tools/virtiofsd.rst, up to 7.2.
    C,
}

/// An installed virtiofsd.
#[derive(Debug, Clone)]
pub struct Virtiofsd {
    program: PathBuf,
    dialect: Dialect,
    sandbox: Sandbox,
}

impl Virtiofsd {
    /// The first one in PATH, or where distributions put it.
    ///
    /// # Errors
    ///
    /// Each case of [`FindError`].
    pub fn find() -> Result<Self, FindError> {
        let path = env::var_os("PATH").unwrap_or_default();
        Self::find_in(env::split_paths(&path).chain(PLACES.map(PathBuf::from)))
    }

    fn find_in(places: impl Iterator<Item = PathBuf>) -> Result<Self, FindError> {
        Self::at(programs(places).next().ok_or(FindError::NotInstalled)?)
    }

    /// This one. It is asked which it is (`--help`).
    ///
    /// # Errors
    ///
    /// [`FindError::CannotRun`] and [`FindError::Unknown`].
    pub fn at(program: PathBuf) -> Result<Self, FindError> {
        let help = match Command::new(&program).arg("--help").stdin(Stdio::null()).output() {
            Ok(output) => [output.stdout, output.stderr].concat(),
            Err(source) => return Err(FindError::CannotRun { program, source }),
        };
        let names = |option: &str| help.windows(option.len()).any(|text| text == option.as_bytes());
        let dialect = if names("--shared-dir") {
            Dialect::Rust { has_readonly: names("--readonly") }
        } else if names("-o source=") {
            Dialect::C
        } else {
            return Err(FindError::Unknown { program });
        };
        Ok(Self { program, dialect, sandbox: Sandbox::default() })
    }

    /// The same with another sandbox than [`Sandbox::Namespace`].
    #[must_use]
    pub fn sandbox(self, sandbox: Sandbox) -> Self {
        Self { sandbox, ..self }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts one for a directory.
    ///
    /// It ends with the [`Server`], with this process however that ends, and **with the thread that calls this**: Linux
    /// takes a child's parent to be a thread (`PR_SET_PDEATHSIG`). Call it on one that lives as long as the guest.
    ///
    /// # Errors
    ///
    /// Each case of [`ShareError`]. What the server itself finds wrong is heard of by
    /// [`VhostUserFs::new`](super::VhostUserFs::new).
    pub fn start(&self, share: &Share) -> Result<Server, ShareError> {
        // Its full path: virtiofsd takes a relative one for something else once it is shut in.
        let dir = match fs::canonicalize(&share.dir).and_then(|dir| Ok((fs::metadata(&dir)?.is_dir(), dir))) {
            Ok((true, dir)) => dir,
            Ok((false, _)) => return Err(ShareError::NotADirectory { dir: share.dir.clone() }),
            Err(source) => return Err(ShareError::NoDirectory { dir: share.dir.clone(), source }),
        };
        let arguments = self.arguments(&dir, share.read_only)?;
        let (listener, stream) = socket().map_err(|source| ShareError::Socket { source })?;
        let parent = getpid();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .stdin(listener)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Not in the terminal's: it gets no Ctrl-C, and all of its processes can be ended at once.
            .process_group(0);
        let dies_with_us = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // Too late for a parent that has just died.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        };
        // SAFETY: between fork and exec only calls are allowed that another thread's locks cannot hold up. These are two
        // system calls, made directly, and an error that needs no memory.
        unsafe { command.pre_exec(dies_with_us) };
        match command.spawn() {
            Ok(child) => Ok(Server { process: Some(Process::new(child)), ..Server::from_stream(stream) }),
            Err(source) => Err(ShareError::CannotRun { program: self.program.clone(), source }),
        }
    }

    fn arguments(&self, dir: &Path, read_only: bool) -> Result<Vec<OsString>, ShareError> {
        let program = || self.program.clone();
        let sandbox = match (self.sandbox, self.dialect) {
            (Sandbox::Namespace, _) => "namespace",
            (Sandbox::Chroot, _) => "chroot",
            (Sandbox::None, Dialect::Rust { .. }) => "none",
            (Sandbox::None, Dialect::C) => return Err(ShareError::Sandbox { program: program() }),
        };
        // The listening socket is its standard input.
        let mut arguments: Vec<OsString> = vec!["--fd=0".into()];
        match self.dialect {
            Dialect::Rust { has_readonly: false } | Dialect::C if read_only => {
                return Err(ShareError::ReadOnly { program: program() });
            }
            Dialect::Rust { .. } => {
                arguments.extend(["--shared-dir".into(), dir.into()]);
                arguments.extend(["--sandbox", sandbox, "--log-level", "warn"].map(OsString::from));
                arguments.extend(read_only.then(|| "--readonly".into()));
            }
            Dialect::C => {
                // At every reset it warns of what its authors have not written yet.
                let options = format!("sandbox={sandbox},log_level=err,source=");
                let mut options = options.into_bytes();
                options.extend(escaped(dir.as_os_str()));
                arguments.extend(["-o".into(), OsString::from_vec(options)]);
            }
        }
        Ok(arguments)
    }
}

/// Those in these places, without the ones that depend on where we happen to be.
fn programs(places: impl Iterator<Item = PathBuf>) -> impl Iterator<Item = PathBuf> {
    places.map(|place| place.join("virtiofsd")).filter(|program| program.is_absolute() && program.is_file())
}

/// All that are on this host, one a place.
#[cfg(test)]
pub(super) fn installed() -> Vec<Virtiofsd> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    programs(places).filter_map(|program| Virtiofsd::at(program).ok()).collect()
}

/// As a part of `-o`, where a comma would end it.
fn escaped(dir: &OsStr) -> Vec<u8> {
    let escape = |byte: &u8| if matches!(byte, b',' | b'\\') { vec![b'\\', *byte] } else { vec![*byte] };
    dir.as_bytes().iter().flat_map(escape).collect()
}

/// A listening socket and a connection to it, which waits there to be accepted.
///
/// The servers want the former. It has a name that the kernel chooses, in no file system, by which anybody on the host
/// could connect too; but there is room for one connection, and that is ours, or there is none.
fn socket() -> io::Result<(OwnedFd, UnixStream)> {
    let new = |flags| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let listener = new(SocketFlags::CLOEXEC)?;
    bind(&listener, &SocketAddrUnix::new_unnamed())?;
    listen(&listener, 0)?;
    let name = SocketAddrUnix::try_from(getsockname(&listener)?)?;
    // Where somebody else was first, this does not wait.
    let stream = new(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    connect(&stream, &name)?;
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok((listener, stream))
}

#[cfg(test)]
#[path = "virtiofsd_test.rs"]
mod tests;
