//! What a port leads to.

use std::io;
use std::os::fd::AsRawFd;

use event_manager::{Error, EventOps, EventSet, Events};

/// The host's side of a port: a terminal, a file, a socket. All calls come on the console's event loop, and none of them
/// waits.
pub trait HostSide: Send {
    /// The console is on an event loop: watches what there is to watch.
    fn init(&mut self, ops: &mut EventOps<'_>, sources: Sources) {
        let _ = (ops, sources);
    }

    /// Looks after its connection: when one of its descriptors is ready, which is given by its number, and each time
    /// after data was moved.
    fn tend(&mut self, ready: Option<u32>, ops: &mut EventOps<'_>, sources: Sources) {
        let _ = (ready, ops, sources);
    }

    /// Whether somebody is there to take the guest's output. What a guest does while nobody is: see
    /// [the module](super).
    fn is_open(&self) -> bool {
        true
    }

    /// Reads what was sent to the guest; gives how many bytes. Nothing is asked for that the guest has no room for.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): nothing is there (0 says the same), and one of the
    /// [sources](Sources) will be ready when something may be. Others are logged once, and treated like it.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Takes some of what the guest sends, which is not empty; gives how many bytes.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): none can be taken now, and one of the [sources](Sources) will be ready
    /// when some may be; if there is nobody any more, [`is_open`](Self::is_open) says so. With any other the rest of the guest's request is lost, and the log tells of it once.
    fn write(&mut self, from: &[u8]) -> io::Result<usize>;
}

/// The numbers that a host's side watches its descriptors under.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    first: u32,
}

impl Sources {
    /// How many descriptors each can watch: their numbers are below this.
    pub const COUNT: u32 = 4;

    /// Those of a port.
    pub(super) fn of_port(port: usize) -> Self {
        Self { first: u32::try_from(port).unwrap_or(0) * Self::COUNT }
    }

    /// The port, and the number among its own, of an event loop's number.
    pub(super) fn port_of(number: u32) -> (usize, u32) {
        ((number / Self::COUNT) as usize, number % Self::COUNT)
    }

    /// Watches a descriptor for edges. It has to be removed from `ops` before it is closed.
    ///
    /// # Errors
    ///
    /// What `epoll_ctl(2)` answered: EPERM for what is always ready, such as a regular file.
    pub fn watch(
        self,
        ops: &mut EventOps<'_>,
        source: &impl AsRawFd,
        number: u32,
        set: EventSet,
    ) -> Result<(), Error> {
        let number = self.first + number.min(Self::COUNT - 1);
        ops.add(Events::with_data(source, number, set | EventSet::EDGE_TRIGGERED))
    }
}
