//! TAP: an Ethernet interface of the host's whose other side is the guest's.

mod ioctls;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;

use strata_devices::virtio::net::{HEADER, LinkError, NetBackend, feature};
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use crate::iovecs::Iovecs;

/// Which interface to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapOptions<'a> {
    /// Its name, up to 15 bytes. One that does not exist is made, for which `CAP_NET_ADMIN` is needed; with `%d` in it
    /// the kernel puts a number there.
    pub name: &'a str,
    /// How many queues are opened. One that exists must have been made for several (`multi_queue`) or not, as this
    /// says.
    pub queues: usize,
    /// One that is made here stays after it has been closed.
    pub persistent: bool,
}

impl<'a> TapOptions<'a> {
    /// The interface of this name, with one queue; gone when it is closed, unless it was there before.
    pub fn new(name: &'a str) -> Self {
        Self { name, queues: 1, persistent: false }
    }
}

/// Why a TAP cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// No interface can have such a name.
    #[error("a TAP's name is 1 to 15 bytes without `/`, `:` and spaces: {0:?} is not")]
    Name(Box<str>),
    /// There are none or too many.
    #[error("a TAP has 1 to 64 queues here, not {0}")]
    Queues(usize),
    /// The host's kernel has no TAP.
    #[error(
        "there is no /dev/net/tun: load the kernel module tun (`modprobe tun`), or give this container the device"
    )]
    NoTun,
    /// The device file may not be opened.
    #[error(
        "/dev/net/tun may not be opened: have an administrator allow it (`chmod 0666 /dev/net/tun` is the usual mode)"
    )]
    TunForbidden,
    /// It does not exist and may not be made.
    #[error(
        "there is no TAP {0}, and making one needs CAP_NET_ADMIN: \
        have an administrator run `ip tuntap add {0} mode tap user USER`, or use passt"
    )]
    Missing(Box<str>),
    /// It is another user's.
    #[error(
        "TAP {0} is not yours: have an administrator run `ip tuntap del {0} mode tap` and \
        `ip tuntap add {0} mode tap user USER`"
    )]
    Forbidden(Box<str>),
    /// Somebody else has it open.
    #[error("TAP {0} is in use: another program, perhaps another guest, has it open")]
    Busy(Box<str>),
    /// An interface of that name is something else.
    #[error(
        "{name} is not a TAP with {}: make one with `ip tuntap add {name} mode tap{}`",
        if *.several { "several queues" } else { "one queue" },
        if *.several { " multi_queue" } else { "" }
    )]
    Kind {
        /// The interface.
        name: Box<str>,
        /// Several queues were asked for.
        several: bool,
    },
    /// A descriptor is not one of a TAP.
    #[error("descriptor {0} is not a TAP's: open /dev/net/tun, and attach it with TUNSETIFF")]
    NotTap(RawFd),
    /// A descriptor is one of a TAP with other packets.
    #[error(
        "descriptor {fd} is a TAP's with flags {flags:#x}: attach it with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR, and with \
        IFF_MULTI_QUEUE if there are several"
    )]
    Flags {
        /// The descriptor.
        fd: RawFd,
        /// What it was attached with.
        flags: i32,
    },
    /// The host answers otherwise.
    #[error("the host cannot {doing} a TAP: {error}")]
    Host {
        /// What was tried.
        doing: &'static str,
        /// What it answered.
        error: io::Error,
    },
}

/// A queue of a TAP. Packets go from and to guest memory with one system call each and without being copied here.
///
/// ```no_run
/// use std::sync::Arc;
/// use strata_backends::tap::{Tap, TapOptions};
/// use strata_devices::virtio::net::{Net, NetConfig};
/// use vm_memory::GuestMemoryMmap;
///
/// let queues = Tap::open(&TapOptions { queues: 2, ..TapOptions::new("tap0") })?;
/// let net = Net::<_, Arc<GuestMemoryMmap>>::new(&NetConfig::new("52:54:00:12:34:56".parse()?), queues)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: Box<str>,
    iovecs: Iovecs,
    offloads: u64,
    mtu: Option<u16>,
    is_enabled: bool,
}

/// What each offload of the driver's is to the kernel.
const OFFLOADS: [(u64, u32); 5] = [
    (feature::GUEST_CSUM, libc::TUN_F_CSUM),
    (feature::GUEST_TSO4, libc::TUN_F_TSO4),
    (feature::GUEST_TSO6, libc::TUN_F_TSO6),
    (feature::GUEST_ECN, libc::TUN_F_TSO_ECN),
    (feature::GUEST_UFO, libc::TUN_F_UFO),
];

/// Packets without a word of the kernel's before them, with the header of virtio.
const FLAGS: i32 = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

impl Tap {
    /// Opens an interface by its name: as many queues as the options say.
    ///
    /// # Errors
    ///
    /// See [`TapError`]; none of them leaves anything open.
    pub fn open(options: &TapOptions<'_>) -> Result<Vec<Self>, TapError> {
        let name = options.name;
        let is_name = !name.bytes().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | b'/' | b':'));
        if !is_name || !(1..=ioctls::LONGEST_NAME).contains(&name.len()) || matches!(name, "." | "..") {
            return Err(TapError::Name(name.into()));
        }
        check_count(options.queues)?;
        let existed = ioctls::exists(name);
        let flags = FLAGS | if options.queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let mut name: Box<str> = name.into();
        let mut taps = Vec::with_capacity(options.queues);
        for _ in 0..options.queues {
            let file = open_tun()?;
            // Of the first it is what the kernel has made of it.
            name = ioctls::attach(&file, &name, flags)
                .map_err(|error| refused(error, &name, existed, options.queues > 1))?
                .into();
            taps.push(Self::of(file, name.clone())?);
        }
        let mtu = mtu(&name);
        for tap in &mut taps {
            tap.mtu = mtu;
        }
        if let Some(first) = taps.first().filter(|_| options.persistent && !existed) {
            ioctls::set_persistent(&first.file, true)
                .map_err(|error| TapError::Host { doing: "keep", error })?;
        }
        Ok(taps)
    }

    /// Takes queues that somebody else has opened, all of one interface; it may be in another network namespace. They are
    /// non-blocking from now on.
    ///
    /// # Errors
    ///
    /// [`NotTap`](TapError::NotTap), [`Flags`](TapError::Flags) and others.
    pub fn from_fds(fds: Vec<OwnedFd>) -> Result<Vec<Self>, TapError> {
        check_count(fds.len())?;
        let needed = FLAGS | if fds.len() > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let take = |fd: OwnedFd| {
            let number = fd.as_raw_fd();
            let (name, flags) = ioctls::attached(&fd).map_err(|_| TapError::NotTap(number))?;
            if flags & needed != needed {
                return Err(TapError::Flags { fd: number, flags });
            }
            rustix::io::ioctl_fionbio(&fd, true)
                .map_err(|error| TapError::Host { doing: "use", error: error.into() })?;
            Self::of(File::from(fd), name.into())
        };
        fds.into_iter().map(take).collect()
    }

    fn of(file: File, name: Box<str>) -> Result<Self, TapError> {
        let failed = |error| TapError::Host { doing: "set up", error };
        ioctls::set_header_size(&file, HEADER).map_err(failed)?;
        let flags = OFFLOADS.iter().fold(0, |all, (_, flag)| all | flag);
        let offloads = [flags, flags & !libc::TUN_F_UFO, libc::TUN_F_CSUM]
            .into_iter()
            .find(|flags| ioctls::set_offloads(&file, *flags).is_ok());
        let guest = features(offloads.unwrap_or(0));
        // What comes from the guest the kernel cuts and sums up itself where the way out cannot.
        let offloads = guest | feature::HOST_OFFLOADS;
        ioctls::set_offloads(&file, 0).map_err(failed)?;
        Ok(Self { file, name, iovecs: Iovecs::default(), offloads, mtu: None, is_enabled: true })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_count(queues: usize) -> Result<(), TapError> {
    if (1..=64).contains(&queues) { Ok(()) } else { Err(TapError::Queues(queues)) }
}

fn features(flags: u32) -> u64 {
    OFFLOADS.iter().filter(|(_, flag)| flags & flag != 0).fold(0, |all, (feature, _)| all | feature)
}

fn open_tun() -> Result<File, TapError> {
    let opened =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoTun,
        Some(libc::EACCES | libc::EPERM) => TapError::TunForbidden,
        _ => TapError::Host { doing: "open /dev/net/tun for", error },
    })
}

/// What it means that a queue is not attached.
fn refused(error: io::Error, name: &str, existed: bool, several: bool) -> TapError {
    let name = name.into();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if existed => TapError::Forbidden(name),
        Some(libc::EPERM | libc::EACCES) => TapError::Missing(name),
        Some(libc::EBUSY) => TapError::Busy(name),
        Some(libc::EINVAL) if existed => TapError::Kind { name, several },
        _ => TapError::Host { doing: "attach to", error },
    }
}

/// The interface's MTU, if it can be told.
fn mtu(name: &str) -> Option<u16> {
    let socket = UnixDatagram::unbound().ok()?;
    u16::try_from(ioctls::mtu(&socket, name).ok()?).ok()
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl NetBackend for Tap {
    fn offloads(&self) -> u64 {
        self.offloads
    }

    fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    fn set_offloads(&mut self, wanted: u64) -> io::Result<()> {
        let flags = OFFLOADS.iter().filter(|(feature, _)| wanted & feature != 0);
        ioctls::set_offloads(&self.file, flags.fold(0, |all, (_, flag)| all | flag))
    }

    fn set_enabled(&mut self, enabled: bool) -> io::Result<()> {
        if enabled != self.is_enabled {
            ioctls::set_queue(&self.file, enabled)?;
            self.is_enabled = enabled;
        }
        Ok(())
    }

    fn send<'m, B: BitmapSlice>(
        &mut self,
        packet: impl Iterator<Item = VolatileSlice<'m, B>>,
    ) -> Result<(), LinkError> {
        let mut sources = self.iovecs.sources();
        packet.for_each(|slice| sources.slice(&slice));
        match sources.write(&self.file) {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::EAGAIN) => LinkError::NotReady,
                // The interface has been deleted. EIO says only that it is not up.
                Some(libc::EBADFD) => LinkError::Lost(error),
                _ => LinkError::Packet(error),
            }),
        }
    }

    fn receive<'m, B: BitmapSlice>(
        &mut self,
        into: impl Iterator<Item = VolatileSlice<'m, B>>,
        spill: &mut [u8],
    ) -> Result<usize, LinkError> {
        let mut targets = self.iovecs.targets();
        into.for_each(|slice| targets.slice(&slice));
        targets.bytes(spill);
        targets.read(&self.file).map_err(|error| match error.raw_os_error() {
            Some(libc::EAGAIN) => LinkError::NotReady,
            Some(libc::EBADFD | libc::EIO) => LinkError::Lost(error),
            _ => LinkError::Packet(error),
        })
    }
}
