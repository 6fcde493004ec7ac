//! Sockets between the guest and the host, without a network (Virtio 1.2, 5.10).
//!
//! A [`Vsock`] carries stream sockets between the guest and the programs of its host. What these programs are
//! reached by is a [`Host`]'s business: `strata-backends` has one of Unix sockets.
//!
//! # What a guest can make grow
//!
//! | what | at most | then |
//! | --- | --- | --- |
//! | connections, in all stages | [`MOST_CONNECTIONS`] | a request is answered with `RST`, a client of the host's is closed |
//! | clients that have not said what they want | [`MOST_GREETING`] | the oldest is closed |
//! | bytes that the host has not taken yet | what was promised to the connection: 256 KiB, or 32 KiB from when 16 MiB have been promised in all | the connection is reset: the guest has sent more than it may |
//! | answers to packets that belong to nothing | 256, and one for each connection that broke | no packets are taken until the driver has given buffers for some of them |
//!
//! So what the guest sends and the host does not take costs at most 32 MiB, and none of it before it is sent.
//! Nothing is kept of what the host sends: that stays in its socket until the guest has room.

mod backlog;
mod connection;
mod credit;
mod packet;
mod switch;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod worker;

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

use event_manager::MutEventSubscriber;
use vm_memory::{GuestAddressSpace, ReadVolatile, WriteVolatile};

use super::device::read_bytes;
use super::{Activation, Doorbell, Post, VirtioDevice};
use worker::{Active, Carrier};

/// How many connections there are at most, those that begin and those that end among them.
pub const MOST_CONNECTIONS: usize = 512;
/// How many clients there may be that have not said which port they want.
pub const MOST_GREETING: usize = 128;
/// How many bytes there are in one packet to the guest, as in Linux's own.
const MOST_IN_A_PACKET: u32 = 64 << 10;

/// `VIRTIO_VSOCK_F_STREAM` (5.10.3): stream sockets.
const F_STREAM: u64 = 1;
/// The number of queues (5.10.2): for the guest, from the guest, events.
const QUEUES: usize = 3;
const RX: usize = 0;
const TX: usize = 1;

/// Where the guest's sockets lead to on the host.
pub trait Host: Send + 'static {
    /// One end of a connection.
    type Stream: Stream;

    /// The guest connects to this port. It must not wait.
    ///
    /// # Errors
    ///
    /// Whatever it is that there is no connection: the guest is told that it was reset.
    fn connect(&mut self, port: u32) -> io::Result<Self::Stream>;

    /// What becomes readable when somebody wants to reach the guest; `None` if nobody can.
    fn listener(&self) -> Option<BorrowedFd<'_>>;

    /// The next one who wants to reach the guest. It must not wait.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; another one if there may be one that cannot be had
    /// now.
    fn accept(&mut self) -> io::Result<Self::Stream>;
}

/// A connection's end on the host: what can be read from it goes to the guest, what the guest sends is written to it.
///
/// Nothing of it may wait; where it would have to, the error is [`WouldBlock`](io::ErrorKind::WouldBlock) in
/// [`VolatileMemoryError::IOError`](vm_memory::VolatileMemoryError::IOError). Its descriptor is watched for edges. A
/// write to a stream that nobody reads must be an error and not `SIGPIPE`.
pub trait Stream: ReadVolatile + WriteVolatile + AsFd + Send + 'static {
    /// Which of the guest's ports whoever is at the other end wants; called for what [`Host::accept`] gave, until it
    /// succeeds, whenever there is something to read.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if that has not been said yet. Any other one closes the stream.
    fn wanted_port(&mut self) -> io::Result<u32>;

    /// The guest has accepted the connection, which comes from this port for it. From now on bytes go to and fro.
    ///
    /// # Errors
    ///
    /// Any closes the stream.
    fn welcome(&mut self, host_port: u32) -> io::Result<()>;

    /// Ends one direction or both.
    ///
    /// # Errors
    ///
    /// Any is taken to mean that it has ended already.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

/// Why there is no [`Vsock`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VsockError {
    /// It would not be the guest's address.
    #[error("{0} is no guest's context ID: choose one from 3 to 4294967294 that no other guest has")]
    Cid(u64),
    /// There is no eventfd.
    #[error(transparent)]
    Event(#[from] io::Error),
}

/// A socket device: streams between the guest and the host, which has CID 2.
///
/// ```no_run
/// # fn on_this<H: strata_devices::virtio::vsock::Host>(host: H) -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use strata_devices::virtio::vm_memory::GuestMemoryMmap;
/// use strata_devices::virtio::vsock::Vsock;
///
/// let vsock = Vsock::<Arc<GuestMemoryMmap>, _>::new(3, host)?;
/// let worker = vsock.worker(); // for an event loop
/// # Ok(())
/// # }
/// ```
pub struct Vsock<M, H: Host> {
    cid: u64,
    post: Post<Carrier<M, H>>,
    doorbells: Vec<Doorbell>,
}

impl<M, H: Host> fmt::Debug for Vsock<M, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vsock").field("cid", &self.cid).finish_non_exhaustive()
    }
}

impl<M: GuestAddressSpace + Send + 'static, H: Host> Vsock<M, H> {
    /// A device whose guest has this CID: 3 to 2^32 - 2.
    ///
    /// # Errors
    ///
    /// The CID is another one, or the process has no more descriptors.
    pub fn new(cid: u64, host: H) -> Result<Self, VsockError> {
        if !(3..u64::from(u32::MAX)).contains(&cid) {
            return Err(VsockError::Cid(cid));
        }
        let doorbells = Doorbell::several(QUEUES)?;
        let post = Post::new(Carrier::new(cid, host, &doorbells))?;
        Ok(Self { cid, post, doorbells })
    }

    /// What does its work, for an event loop.
    pub fn worker(&self) -> Box<dyn MutEventSubscriber + Send> {
        self.post.subscriber(&self.doorbells)
    }
}

impl<M: GuestAddressSpace + Send + 'static, H: Host> VirtioDevice<M> for Vsock<M, H> {
    fn id(&self) -> u32 {
        19
    }

    fn features(&self) -> u64 {
        F_STREAM
    }

    fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_bytes(&self.cid.to_le_bytes(), offset, data);
    }

    /// Nothing is ever put into the queue of events: a guest keeps its CID.
    fn activate(&mut self, activation: Activation<M>) {
        let mut queues = activation.queues.into_iter().map(Option::into_iter);
        let (rx, tx) =
            (queues.next().into_iter().flatten().next(), queues.next().into_iter().flatten().next());
        let active = rx.zip(tx).map(|(rx, tx)| Active { memory: activation.memory, rx, tx });
        self.post.lock().activate(active);
        self.post.call();
    }

    /// Whoever is connected on the host sees the end of it.
    fn reset(&mut self) {
        self.post.lock().reset();
        // For the descriptors, which only the worker's event loop can forget.
        self.post.call();
    }
}

#[cfg(test)]
#[path = "vsock_test.rs"]
mod tests;

#[cfg(test)]
#[path = "flow_test.rs"]
mod flow_tests;

#[cfg(test)]
#[path = "limits_test.rs"]
mod limits_tests;

#[cfg(test)]
#[path = "model_test.rs"]
mod model_tests;
