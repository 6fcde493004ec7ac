//! A socket that others connect to.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::net::{SendFlags, send};
use strata_devices::event_manager::{EventOps, EventSet, Events};
use strata_devices::virtio::console::{HostSide, Sources};

use super::{ready, watch};

const LISTENER: u32 = 0;
const CLIENT: u32 = 1;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody listens there already.
    #[error("somebody listens at {} already: stop that program, or choose another path for the console", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("the console's socket {} cannot be made", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A listening Unix socket: whoever connects is at the guest's port, one after another. Others wait in the backlog until
/// the one before has gone.
///
/// One who has closed its side for writing still gets the guest's output. One who has gone altogether makes way for the
/// next; what it had sent and the guest not read by then is lost.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, by which it is known to be its own when it goes.
    id: Option<(u64, u64)>,
    /// Whether somebody may wait in the backlog.
    is_called: bool,
    client: Option<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// There is nothing more to be read.
    has_ended: bool,
    /// It takes nothing any more.
    is_deaf: bool,
}

impl UnixSocket {
    /// Makes one, which goes with this value. A socket that somebody has left behind there is replaced.
    ///
    /// # Errors
    ///
    /// Each case of [`SocketError`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
                Ok(_) => return Err(SocketError::InUse { path: path.to_owned() }),
                // It is a socket, and nobody listens.
                Err(refused) if refused.raw_os_error() == Some(libc::ECONNREFUSED) && is_socket(path) => {
                    fs::remove_file(path).and_then(|()| UnixListener::bind(path))
                }
                Err(_) => Err(error),
            },
            bound => bound,
        };
        let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let listener = listener.map_err(|source| SocketError::Bind { path: path.to_owned(), source })?;
        let id = id_of(path);
        Ok(Self { listener, path: path.to_owned(), id, is_called: true, client: None })
    }

    /// Accepts who waits, unless somebody is there.
    fn accept(&mut self, ops: &mut EventOps<'_>, sources: Sources) {
        let may_come = self.client.as_ref().is_none_or(|client| client.is_deaf);
        while self.is_called && may_come {
            match self.listener.accept().and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream))
            {
                Ok(stream) => {
                    self.leave(ops);
                    watch(
                        ops,
                        sources,
                        (&stream, CLIENT),
                        EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP,
                    );
                    self.client = Some(Client { stream, has_ended: false, is_deaf: false });
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_called = false;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        log::warn!("nobody can connect to {}: {error}", self.path.display());
                    }
                }
            }
        }
    }

    /// Lets the client go.
    fn leave(&mut self, ops: &mut EventOps<'_>) {
        if let Some(client) = self.client.take() {
            let _ = ops.remove(Events::empty(&client.stream));
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Somebody else's may have taken its place.
        if self.id.is_some() && id_of(&self.path) == self.id {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

impl HostSide for UnixSocket {
    fn init(&mut self, ops: &mut EventOps<'_>, sources: Sources) {
        watch(ops, sources, (&self.listener, LISTENER), EventSet::IN);
    }

    fn tend(&mut self, ready_source: Option<u32>, ops: &mut EventOps<'_>, sources: Sources) {
        match ready_source {
            Some(LISTENER) => self.is_called = true,
            Some(_) => {
                if let Some(client) = &mut self.client {
                    client.look();
                }
            }
            None => {}
        }
        if self.client.as_ref().is_some_and(|client| client.has_ended && client.is_deaf) {
            self.leave(ops);
        }
        self.accept(ops, sources);
    }

    fn is_open(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.is_deaf)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(client) = self.client.as_mut().filter(|client| !client.has_ended) else { return Ok(0) };
        match client.stream.read(into) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Err(error)
            }
            // Gone, in one way or another.
            Ok(0) | Err(_) => {
                client.has_ended = true;
                client.look();
                Ok(0)
            }
            read => read,
        }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let Some(client) = self.client.as_mut() else { return Err(io::ErrorKind::WouldBlock.into()) };
        match send(&client.stream, from, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(io::Error::from) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                client.is_deaf = true;
                Err(io::ErrorKind::WouldBlock.into())
            }
            written => written,
        }
    }
}

impl Client {
    /// Looks whether it is gone: unix(7) has a hang-up when neither side will send any more.
    fn look(&mut self) {
        let state = ready(&self.stream, PollFlags::empty());
        self.is_deaf |= state.is_ok_and(|state| state.intersects(PollFlags::HUP | PollFlags::ERR));
    }
}

#[cfg(test)]
#[path = "socket_test.rs"]
mod tests;
