//! A terminal that others open.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use strata_devices::event_manager::{EventOps, EventSet};
use strata_devices::virtio::console::{HostSide, Sources};

use super::{ready, watch};

const CONTROLLER: u32 = 0;
const OPENED: u32 = 1;

/// Why there is no pseudoterminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PtyError {
    /// The host gives none.
    #[error("no pseudoterminal can be had for the console: is /dev/pts mounted?")]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody would say when somebody opens it.
    #[error(
        "it cannot be watched who opens {}: raise fs.inotify.max_user_instances or fs.inotify.max_user_watches",
        path.display()
    )]
    Watch {
        /// The pseudoterminal.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A pseudoterminal: whoever opens its [path](Self::path) is at the guest's console. It may be opened and closed as often
/// as one likes, and by several at once, who share what comes.
///
/// It is raw from the beginning: what the guest prints is not echoed back to it. While nobody has it open the port is
/// closed; that somebody opens it is heard of by inotify(7), since the kernel tells the other side of a pseudoterminal
/// only of its being closed. What the last one has left unread is there for the next.
#[derive(Debug)]
pub struct Pty {
    controller: OwnedFd,
    path: PathBuf,
    opened: OwnedFd,
    is_open: bool,
}

impl Pty {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Each case of [`PtyError`].
    pub fn new() -> Result<Self, PtyError> {
        let make = || {
            let own = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            // For the other side; a pseudoterminal's controller takes no O_NONBLOCK when it is opened everywhere.
            let controller = openpt(own)?;
            rustix::io::ioctl_fionbio(&controller, true)?;
            grantpt(&controller)?;
            unlockpt(&controller)?;
            let mut settings = tcgetattr(&controller)?;
            settings.make_raw();
            tcsetattr(&controller, OptionalActions::Now, &settings)?;
            // Only one that has been open once can be seen not to be.
            drop(ioctl_tiocgptpeer(&controller, own)?);
            let path = ptsname(&controller, Vec::new())?;
            Ok((controller, PathBuf::from(OsStr::from_bytes(path.as_bytes()))))
        };
        let (controller, path) =
            make().map_err(|source: rustix::io::Errno| PtyError::Open { source: source.into() })?;
        let watch = || {
            let opened = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            inotify::add_watch(&opened, &path, WatchFlags::OPEN)?;
            Ok(opened)
        };
        let opened = watch().map_err(|source: rustix::io::Errno| PtyError::Watch {
            path: path.clone(),
            source: source.into(),
        })?;
        Ok(Self { controller, path, opened, is_open: false })
    }

    /// What has to be opened: `/dev/pts/` and a number.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl HostSide for Pty {
    fn init(&mut self, ops: &mut EventOps<'_>, sources: Sources) {
        watch(ops, sources, (&self.controller, CONTROLLER), EventSet::IN | EventSet::OUT);
        watch(ops, sources, (&self.opened, OPENED), EventSet::IN);
    }

    fn tend(&mut self, ready_source: Option<u32>, _: &mut EventOps<'_>, _: Sources) {
        if ready_source == Some(OPENED) {
            // What it says is that something has happened; and its queue must not fill up.
            let mut news = [0; 1024];
            while rustix::io::read(&self.opened, &mut news).is_ok_and(|len| len > 0) {}
        }
        if ready_source.is_some() {
            let state = ready(&self.controller, PollFlags::empty());
            self.is_open = state.is_ok_and(|state| !state.contains(PollFlags::HUP));
        }
    }

    fn is_open(&self) -> bool {
        self.is_open
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.controller, into) {
            // Nobody has it open, and all has been read.
            Err(rustix::io::Errno::IO) => Ok(0),
            read => Ok(read?),
        }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.controller, from)?)
    }
}

#[cfg(test)]
#[path = "pty_test.rs"]
mod tests;
