//! The guest's sockets as Unix sockets of the host, as Firecracker has it, so that its tools work here too.
//!
//! - **The guest connects** to port P of the host (CID 2): that reaches whoever listens on the Unix socket `PATH_P`. If
//!   nobody does, the guest's connection is reset.
//! - **A program of the host connects** to the Unix socket `PATH` and writes `CONNECT P` and a newline. When the guest has
//!   accepted that on its port P, it reads `OK` and a port of the host's, and a newline; then the two are connected. If
//!   the guest does not accept it, the connection is closed.

#![allow(unsafe_code, reason = "send(2) from guest memory without a signal")]

use std::fs;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use strata_devices::virtio::vsock::{Host, Stream};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};

/// How long `PATH` may be in bytes: `sun_path` has 108 of them (unix(7)), one ends it, and `_4294967295` may follow.
const LONGEST_PATH: usize = 107 - 11;
/// The longest line that a client may begin with: `CONNECT 4294967295`, and some more white space.
const LONGEST_LINE: usize = 32;

/// Why the guest cannot be reached by a Unix socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixVsockError {
    /// The name is too long for a socket.
    #[error(
        "{path} is too long for the name of a vsock's socket: choose one of at most {LONGEST_PATH} bytes, \
        to which the port can be added"
    )]
    TooLong {
        /// The name.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error(
        "{path} is in use by another process, perhaps another guest's vsock: stop that, or choose another path"
    )]
    InUse {
        /// The name.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{path} is there already and is no socket: remove it, or choose another path for the vsock")]
    NoSocket {
        /// The name.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot listen on {path} for the guest's vsock")]
    Listen {
        /// The name.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The host's side of a [`Vsock`](strata_devices::virtio::vsock::Vsock). The socket's file is removed when this is dropped.
///
/// ```no_run
/// use std::sync::Arc;
/// use strata_backends::vsock::UnixVsock;
/// use strata_devices::virtio::vsock::Vsock;
/// use vm_memory::GuestMemoryMmap;
///
/// let host = UnixVsock::new("/run/guest.vsock")?;
/// let vsock = Vsock::<Arc<GuestMemoryMmap>, _>::new(3, host)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixVsock {
    path: PathBuf,
    listener: UnixListener,
    /// The socket's file: while it is open, no other one has its number, by which it is known when it is to be removed.
    file: Option<fs::File>,
}

impl UnixVsock {
    /// Listens on `path`. A socket there that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// See [`UnixVsockError`].
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, UnixVsockError> {
        let path = path.into();
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(UnixVsockError::TooLong { path });
        }
        let bound = match UnixListener::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => replace(&path)?,
            bound => bound,
        };
        let ready = bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        match ready {
            Ok(listener) => Ok(Self { file: open(&path), path, listener }),
            Err(source) => Err(UnixVsockError::Listen { path, source }),
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixVsock {
    fn drop(&mut self) {
        let own = self.file.as_ref().and_then(|file| file.metadata().ok());
        let there = fs::symlink_metadata(&self.path).ok();
        if own.zip(there).is_some_and(|(own, there)| (own.dev(), own.ino()) == (there.dev(), there.ino())) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens where there is a file already, if that is a socket whose process is gone.
fn replace(path: &Path) -> Result<io::Result<UnixListener>, UnixVsockError> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Err(UnixVsockError::NoSocket { path: path.to_owned() });
    }
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path).and_then(|()| UnixListener::bind(path)))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Err(error)),
        // Connected, or it cannot take more just now.
        _ => Err(UnixVsockError::InUse { path: path.to_owned() }),
    }
}

/// The file itself, not what it stands for.
fn open(path: &Path) -> Option<fs::File> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path).ok()
}

/// Connects without ever waiting, which the standard library would if the other's backlog were full.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

impl Host for UnixVsock {
    type Stream = UnixVsockStream;

    fn connect(&mut self, port: u32) -> io::Result<UnixVsockStream> {
        let mut path = self.path.clone().into_os_string();
        path.push(format!("_{port}"));
        connect(Path::new(&path)).map(UnixVsockStream::new)
    }

    fn listener(&self) -> Option<BorrowedFd<'_>> {
        Some(self.listener.as_fd())
    }

    fn accept(&mut self) -> io::Result<UnixVsockStream> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    return Ok(UnixVsockStream::new(stream));
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// One connection of a [`UnixVsock`]'s.
#[derive(Debug)]
pub struct UnixVsockStream {
    stream: UnixStream,
    /// What a client has begun to say.
    line: [u8; LONGEST_LINE],
    len: usize,
}

impl UnixVsockStream {
    /// Of a stream that does not wait.
    fn new(stream: UnixStream) -> Self {
        Self { stream, line: [0; LONGEST_LINE], len: 0 }
    }
}

impl AsFd for UnixVsockStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Stream for UnixVsockStream {
    fn wanted_port(&mut self) -> io::Result<u32> {
        // Byte by byte: what follows the line is the guest's.
        loop {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if byte == *b"\n" {
                return port(self.line.get(..self.len).unwrap_or_default())
                    .ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
            let Some(place) = self.line.get_mut(self.len) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            [*place] = byte;
            self.len += 1;
        }
    }

    fn welcome(&mut self, host_port: u32) -> io::Result<()> {
        let line = format!("OK {host_port}\n");
        // Nothing has been written before: there is room for all of it.
        rustix::net::send(&self.stream, line.as_bytes(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }
}

impl ReadVolatile for UnixVsockStream {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        into: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        self.stream.read_volatile(into)
    }
}

impl WriteVolatile for UnixVsockStream {
    /// As for any stream, but that a peer that is gone is an error only: `write(2)` would send `SIGPIPE` too, which ends
    /// a process that does not ignore it.
    fn write_volatile<B: BitmapSlice>(
        &mut self,
        from: &VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        let bytes = from.ptr_guard();
        let flags = libc::MSG_NOSIGNAL;
        // SAFETY: as many bytes can be read from there while the guard lives; the kernel only reads them, and the guest
        // may change them meanwhile.
        let sent = unsafe { libc::send(self.stream.as_raw_fd(), bytes.as_ptr().cast(), from.len(), flags) };
        usize::try_from(sent).map_err(|_| VolatileMemoryError::IOError(io::Error::last_os_error()))
    }
}

/// What `CONNECT P` asks for.
fn port(line: &[u8]) -> Option<u32> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let is_connect = words.next()?.eq_ignore_ascii_case("connect");
    let digits = words.next()?;
    // A sign would be taken for part of a number.
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_connect && is_number && words.next().is_none() { digits.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "vsock_test.rs"]
mod tests;
