//! Devices that a process of its own works for, by the vhost-user protocol
//! (QEMU, docs/interop/vhost-user.rst): this side, called the front end there.
//!
//! The other process, the *server*, has the guest's memory mapped and moves the data by itself. The guest's doorbells are
//! its own eventfds, so that a notification goes from the hypervisor straight to it; this process only answers for the
//! registers and passes interrupts on.
//!
//! The one such device is a directory of the host, shared by virtio-fs: [`VhostUserFs`], with [`Virtiofsd`] to start the
//! server for it.
//!
//! # What a server can do to us
//!
//! It can read and write all of the guest's RAM, which is the point of it, and nothing of this process besides. What it
//! answers is checked, and waited for only so long: a server that ends, hangs or talks nonsense leaves a device that needs
//! a reset and does not come back, one line in the log, and a VMM that goes on.

mod fs;
#[cfg(test)]
mod live_test;
mod memory;
mod server;
mod talk;
#[cfg(test)]
mod testing;
mod virtiofsd;

pub use fs::{FsError, VhostUserFs};
pub use memory::{MemoryError, can_share};
pub use server::{ConnectError, Server};
pub use talk::{Request, TalkError};
pub use virtiofsd::{FindError, Sandbox, Share, ShareError, Virtiofsd};
