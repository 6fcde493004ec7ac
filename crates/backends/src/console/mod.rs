//! Host sides of a console's ports: where what the guest prints goes, and where what is sent to it comes from.
//!
//! | what | input | output to nobody |
//! | --- | --- | --- |
//! | [`Stream`] | a descriptor, if there is one | its reader is gone: see [`Stream::when_closed`] |
//! | [`Stream::to_file`] | none | |
//! | [`Pty`] | whoever opens its path | until somebody does |
//! | [`UnixSocket`] | one client at a time | until one connects |
//!
//! None of them ever waits, and none makes a descriptor non-blocking that others use too: the shell's terminal stays as
//! it is.
//!
//! ```
//! use strata_backends::console::{Pty, Stream};
//! use strata_devices::virtio::console::{Console, Port};
//! # type Memory = std::sync::Arc<strata_devices::virtio::vm_memory::GuestMemoryMmap>;
//! # use std::os::fd::AsFd as _;
//!
//! let output = std::io::stdout().as_fd().try_clone_to_owned()?;
//! let agent = Pty::new()?;
//! println!("the guest's agent is at {}", agent.path().display());
//! let console = Console::<Memory>::new(vec![
//!     Port::console(Stream::new(None, output)),
//!     Port::named("agent", agent),
//! ])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod output;
mod pty;
mod socket;
mod stream;
#[cfg(test)]
mod testing;

pub use pty::{Pty, PtyError};
pub use socket::{SocketError, UnixSocket};
pub use stream::{FileError, Stream};

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strata_devices::event_manager::{Error, EventOps, EventSet};
use strata_devices::virtio::console::Sources;

/// What a descriptor is ready for at this moment, of these and of `ERR` and `HUP`.
fn ready(fd: &impl AsFd, flags: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(fd, flags)];
    poll(&mut fds, Some(&Timespec::default()))?;
    let [fd] = fds;
    Ok(fd.revents())
}

/// Watches a descriptor, unless it is one that is always ready (`epoll_ctl(2)`: EPERM).
fn watch(ops: &mut EventOps<'_>, sources: Sources, (source, number): (&impl AsRawFd, u32), set: EventSet) {
    match sources.watch(ops, source, number, set) {
        Err(Error::Epoll(error))
            if io::Error::from_raw_os_error(error.errno()).kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => log::error!("cannot watch a console's descriptor: {error}"),
        Ok(()) => {}
    }
}
