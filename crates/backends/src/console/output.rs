//! Writing without waiting, to descriptors that others use too.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::net::{SendFlags, send};
use rustix::termios::isatty;

use super::ready;

/// What a terminal that says that it is ready takes at least (Linux: `WAKEUP_CHARS` in drivers/tty).
const TERMINAL: usize = 256;
/// The same for a pipe: `PIPE_BUF`, pipe(7).
const PIPE: usize = 4096;

/// A descriptor for writing. The mode that it blocks in belongs to the open file, which a shell and its other children
/// may hold too, so it is left as it is.
#[derive(Debug)]
pub(super) struct Output {
    fd: OwnedFd,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It is a file, or something like it: it takes everything at once.
    AtOnce,
    /// A pipe or a terminal, opened anew, so that its mode is our own.
    OwnMode,
    /// A socket: each call says that it does not wait.
    Socket,
    /// Neither works (nothing of a pipe's name is left, or it is another user's): it is asked whether it is ready, and
    /// given no more than that promises.
    Asked { most: usize },
}

impl Output {
    pub(super) fn new(fd: OwnedFd) -> Self {
        let Ok(stat) = fstat(&fd) else { return Self { fd, how: How::Asked { most: PIPE } } };
        let most = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => return Self { fd, how: How::Socket },
            FileType::Fifo => PIPE,
            FileType::CharacterDevice if isatty(&fd) => TERMINAL,
            _ => return Self { fd, how: How::AtOnce },
        };
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match open(path, flags, Mode::empty()) {
            Ok(fd) => Self { fd, how: How::OwnMode },
            Err(_) => Self { fd, how: How::Asked { most } },
        }
    }

    #[cfg(test)]
    pub(super) fn asked(fd: OwnedFd) -> Self {
        Self { fd, how: How::Asked { most: PIPE } }
    }

    /// Whether an error is of this request alone: a disk that is full may have room again.
    pub(super) fn may_recover(&self) -> bool {
        self.how == How::AtOnce
    }

    pub(super) fn write(&self, from: &[u8]) -> io::Result<usize> {
        let written = match self.how {
            How::AtOnce | How::OwnMode => rustix::io::write(&self.fd, from),
            How::Socket => send(&self.fd, from, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            How::Asked { most } => {
                if ready(&self.fd, PollFlags::OUT)?.is_empty() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                rustix::io::write(&self.fd, from.get(..most).unwrap_or(from))
            }
        };
        Ok(written?)
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Output {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
