//! Consoles and other streams of bytes (Virtio 1.2, 5.3).
//!
//! A [`Console`] has ports. The first is what a plain driver finds: input and output of a terminal with a size. With
//! more, or with one that has a name, the feature `MULTIPORT` is offered: ports are added, named, opened and closed by
//! messages (5.3.6.2). What a port leads to on the host is a [`HostSide`].
//!
//! # What becomes of output
//!
//! A request of the guest's is given back when the host's side has all of it. Until then it stays in the queue, so that
//! nothing is lost, and nobody waits but the guest. While nobody is at the host's side at all
//! ([`HostSide::is_open`]),
//!
//! - output of a console is thrown away, as on a serial line with nothing plugged in: a Linux guest waits for each piece
//!   with interrupts off, and would hang until somebody comes;
//! - output of a named port is kept until somebody does. The driver knows that nobody is there (`PORT_OPEN`), and has
//!   its programs wait.
//!
//! Input is read from the host's side when the guest has room for it, and from a port with a name only while a program
//! of the guest's has it open. So whoever sends too much is held up, as far back as it goes.

mod control;
mod host;
mod port;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use event_manager::MutEventSubscriber;
use vm_memory::GuestAddressSpace;

use super::device::read_bytes;
use super::{Activation, Doorbell, Post, VirtioDevice};

pub use host::{HostSide, Sources};
use port::PortState;
use worker::Switchboard;

/// Feature bits (5.3.3).
mod feature {
    pub(super) const SIZE: u64 = 1 << 0;
    pub(super) const MULTIPORT: u64 = 1 << 1;
}

/// How many ports there can be.
pub const MAX_PORTS: usize = 16;
/// How many bytes a port's name can have.
pub const MAX_NAME: usize = 64;

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// There are no ports, or more than [`MAX_PORTS`].
    #[error("a console has from 1 to {MAX_PORTS} ports, not {count}")]
    Ports {
        /// How many there are.
        count: usize,
    },
    /// A name is empty or longer than [`MAX_NAME`], or has characters that cannot be in a file's name.
    #[error(
        "{name:?} cannot be the name of a console's port: it has to have from 1 to {MAX_NAME} bytes, and neither \
         a slash nor control characters"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The host has no more file descriptors.
    #[error("the console's queues need an eventfd each, and the host gives no more of them")]
    EventFd {
        /// What `eventfd(2)` answered.
        source: io::Error,
    },
}

/// A port that is to be: what it is to the guest, and where it leads.
pub struct Port {
    host: Box<dyn HostSide>,
    name: Option<String>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Port {
    /// A console: a terminal for the guest, `/dev/hvc0` and so on in Linux.
    pub fn console(host: impl HostSide + 'static) -> Self {
        Self { host: Box::new(host), name: None }
    }

    /// A stream of bytes for programs, which find it by its name: in Linux `/dev/virtio-ports/NAME`, by udev.
    pub fn named(name: impl Into<String>, host: impl HostSide + 'static) -> Self {
        Self { host: Box::new(host), name: Some(name.into()) }
    }

    fn checked(self) -> Result<Self, ConsoleError> {
        match self.name {
            Some(name)
                if name.is_empty()
                    || name.len() > MAX_NAME
                    || name.contains(|c: char| c == '/' || c.is_control()) =>
            {
                Err(ConsoleError::Name { name })
            }
            _ => Ok(self),
        }
    }
}

/// What the device, its worker and those who resize it have in common: each port's size, columns in the low half, rows in
/// the high one. 0 is not known.
type Sizes = Arc<[AtomicU32]>;

/// A console device.
///
/// ```
/// use std::io;
/// use strata_devices::virtio::console::{Console, HostSide, Port};
/// use strata_devices::virtio::vm_memory::GuestMemoryMmap;
///
/// /// Prints what the guest prints, and says nothing.
/// struct Print;
///
/// impl HostSide for Print {
///     fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
///         Err(io::ErrorKind::WouldBlock.into())
///     }
///     fn write(&mut self, from: &[u8]) -> io::Result<usize> {
///         io::Write::write(&mut io::stdout(), from)
///     }
/// }
///
/// let console = Console::<std::sync::Arc<GuestMemoryMmap>>::new(vec![Port::console(Print)])?;
/// console.handle().resize(0, 80, 25);
/// # Ok::<(), strata_devices::virtio::console::ConsoleError>(())
/// ```
pub struct Console<M> {
    post: Post<Switchboard<M>>,
    doorbells: Vec<Doorbell>,
    sizes: Sizes,
    is_multiport: bool,
    /// Rung by those who resize it.
    bell: Doorbell,
}

impl<M> fmt::Debug for Console<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("ports", &self.sizes.len()).finish_non_exhaustive()
    }
}

impl<M: GuestAddressSpace + Send + 'static> Console<M> {
    /// A console with these ports, by number.
    ///
    /// # Errors
    ///
    /// Each case of [`ConsoleError`].
    pub fn new(ports: Vec<Port>) -> Result<Self, ConsoleError> {
        let count = ports.len();
        if !(1..=MAX_PORTS).contains(&count) {
            return Err(ConsoleError::Ports { count });
        }
        let is_multiport = count > 1 || ports.iter().any(|port| port.name.is_some());
        let ports = ports.into_iter().map(|port| Ok(PortState::new(port.checked()?)));
        let ports = ports.collect::<Result<Vec<_>, _>>()?;
        let sizes: Sizes = ports.iter().map(|_| AtomicU32::new(0)).collect();
        // Two for each port, and two for control messages (5.3.2).
        let queues = if is_multiport { 2 * count + 2 } else { 2 };
        let make = || {
            let doorbells = Doorbell::several(queues)?;
            let board = Switchboard::new(ports, Arc::clone(&sizes), doorbells.clone());
            Ok((Post::new(board)?, doorbells, Doorbell::new()?))
        };
        let (post, doorbells, bell) = make().map_err(|source| ConsoleError::EventFd { source })?;
        Ok(Self { post, doorbells, sizes, is_multiport, bell })
    }

    /// What tells the guest of its terminals' sizes.
    pub fn handle(&self) -> ConsoleHandle {
        ConsoleHandle { sizes: Arc::clone(&self.sizes), bell: self.bell.clone() }
    }

    /// What does its work, for an event loop.
    pub fn worker(&self) -> Box<dyn MutEventSubscriber + Send> {
        let mut bells = self.doorbells.clone();
        bells.push(self.bell.clone());
        self.post.subscriber(&bells)
    }
}

impl<M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for Console<M> {
    fn id(&self) -> u32 {
        3
    }

    fn features(&self) -> u64 {
        feature::SIZE | if self.is_multiport { feature::MULTIPORT } else { 0 }
    }

    fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    /// Columns and rows of the first port, and how many ports there can be (5.3.4).
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let size = self.sizes.first().map_or(0, |size| size.load(Ordering::Relaxed));
        let ports = u32::try_from(self.sizes.len()).unwrap_or(0);
        let mut space = [0; 8];
        for (bytes, field) in space.chunks_exact_mut(4).zip([size, ports]) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        read_bytes(&space, offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) {
        self.post.lock().activate(activation);
        self.post.call();
    }

    fn reset(&mut self) {
        self.post.lock().deactivate();
    }
}

/// Sets the sizes of a console's terminals, from any thread. Clones are for the same console.
#[derive(Debug, Clone)]
pub struct ConsoleHandle {
    sizes: Sizes,
    bell: Doorbell,
}

impl ConsoleHandle {
    /// Tells the guest that the terminal at a port has this size now, in characters. A port that there is not has none;
    /// 0 is an unknown size.
    pub fn resize(&self, port: usize, columns: u16, rows: u16) {
        if let Some(size) = self.sizes.get(port) {
            size.store(u32::from(rows) << 16 | u32::from(columns), Ordering::Relaxed);
            self.bell.ring();
        }
    }
}

#[cfg(test)]
#[path = "multiport_test.rs"]
mod multiport_tests;
#[cfg(test)]
#[path = "console_test.rs"]
mod tests;
