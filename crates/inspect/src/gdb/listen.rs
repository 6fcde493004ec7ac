//! Where a debugger connects to.

use std::fmt;
use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::Mode;

/// `PORT`, `ADDRESS:PORT` or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port of the loopback interface, or of the one named.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a text is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// Neither of the three.
    #[error("write a port as in 1234, an address and a port as in 192.0.2.1:1234, or the path of a socket")]
    Malformed,
    /// No such host.
    #[error("there is no host {host}")]
    Host {
        /// Its name.
        host: String,
    },
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let port = text.parse().map_err(|_| ParseAddressError::Malformed)?;
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !text.contains('/') => {
                let port: u16 = port.parse().map_err(|_| ParseAddressError::Malformed)?;
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                if let Ok(address) = bare.parse::<IpAddr>() {
                    return Ok(Self::Tcp((address, port).into()));
                }
                let found = (host, port).to_socket_addrs().ok().and_then(|mut found| found.next());
                found.map(Self::Tcp).ok_or_else(|| ParseAddressError::Host { host: host.to_owned() })
            }
            _ if text.is_empty() => Err(ParseAddressError::Malformed),
            _ => Ok(Self::Unix(text.into())),
        }
    }
}

impl Address {
    /// Whether others than this computer's users can connect.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

/// As gdb's `target remote` takes it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The kernel says no.
    #[error("cannot listen for a debugger at {address}")]
    Listen {
        /// Where.
        address: Address,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Somebody listens at this socket.
    #[error("somebody listens at {} already: stop that program, or choose another path", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is a file that is no socket.
    #[error("{} is there already and is no socket: choose another path for the debugger's", path.display())]
    NoSocket {
        /// What is there.
        path: PathBuf,
    },
}

/// Waits for debuggers. A Unix socket's file goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    /// Device and inode of a Unix socket, by which it is known to be its own when it goes.
    id: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens. A Unix socket is for its owner alone; one that nobody listens at any more is replaced, any other file never.
    ///
    /// # Errors
    ///
    /// Each case of [`ListenError`].
    pub fn bind(address: &Address) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Listen { address: address.clone(), source };
        match address {
            Address::Tcp(at) => {
                let socket = TcpListener::bind(at).map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                // Port 0 is any that is free.
                let address = Address::Tcp(socket.local_addr().map_err(failed)?);
                Ok(Self { socket: Socket::Tcp(socket), address, id: None })
            }
            Address::Unix(path) => {
                let socket = match bind_private(path) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        make_way(path)?;
                        bind_private(path)
                    }
                    bound => bound,
                };
                let socket = socket.map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                let id = fs::symlink_metadata(path).ok().as_ref().map(id_of);
                Ok(Self { socket: Socket::Unix(socket), address: address.clone(), id })
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whoever has connected; `None` if nobody has.
    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        let accepted = match &self.socket {
            Socket::Tcp(socket) => socket.accept().and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }),
            Socket::Unix(socket) => socket.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        match accepted.and_then(Stream::prepare) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Address::Unix(path) = &self.address else { return };
        let there = fs::symlink_metadata(path).ok();
        if self.id.is_some() && there.as_ref().map(id_of) == self.id {
            let _ = fs::remove_file(path);
        }
    }
}

fn id_of(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// A socket that nobody but its owner ever could connect to.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let others = Mode::from_raw_mode(0o177);
    let before = rustix::process::umask(others);
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound
}

/// Removes a socket that nobody listens at.
fn make_way(path: &Path) -> Result<(), ListenError> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return Err(ListenError::NoSocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let failed = |source| ListenError::Listen { address: Address::Unix(path.to_owned()), source };
            fs::remove_file(path).map_err(failed)
        }
        _ => Err(ListenError::InUse { path: path.to_owned() }),
    }
}

/// A connection. Reading never waits; writing does, but not for ever.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How long a client may take nothing before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);

impl Stream {
    fn prepare(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(PATIENCE))?;
            }
            Self::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(PATIENCE))?;
            }
        }
        Ok(self)
    }

    /// Reads what there is, after poll has said that there is something; 0 at the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What gdbstub writes to: each packet goes out as one piece.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    unsent: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, unsent: Vec::new() }
    }

    /// Sends this, and what was written before it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unsent.extend_from_slice(bytes);
        gdbstub::conn::Connection::flush(self)
    }
}

impl gdbstub::conn::Connection for Connection {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.unsent.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        self.stream.send(&unsent)
    }
}

#[cfg(test)]
#[path = "listen_test.rs"]
mod tests;
