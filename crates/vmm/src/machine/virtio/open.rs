//! From the configuration to devices: their back ends are opened here.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use strata_backends::console::{FileError, Pty, PtyError, SocketError, Stream, UnixSocket};
use strata_backends::disk::{self, Image, ImageOptions};
use strata_backends::passt::{Passt, PasstError, PasstOptions};
use strata_backends::tap::{Tap, TapError, TapOptions};
use strata_backends::vhost_user::{
    self, FindError, FsError, MemoryError, ShareError, VhostUserFs, Virtiofsd, can_share,
};
use strata_backends::vsock::{UnixVsock, UnixVsockError};
use strata_devices::virtio::balloon::{Balloon, BalloonControl};
use strata_devices::virtio::block::{Block, BlockOptions, SerialError};
use strata_devices::virtio::console::{Console, ConsoleError, ConsoleHandle, HostSide, Port};
use strata_devices::virtio::net::{Mac, Net, NetBackend, NetConfig, NetError};
use strata_devices::virtio::rate::{Limit, RateLimits};
use strata_devices::virtio::rng::Rng;
use strata_devices::virtio::vsock::{Vsock, VsockError};
use strata_memory::Ram;
use strata_memory::vm_memory::GuestAddress;

use super::{DeviceMemory, VirtioPart};
use crate::config::{self, Cache, Config, ConsoleTo, NetTo, Rate};

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There are not so many interrupts.
    #[error("{count} virtio devices: there are interrupts for {most}; consoles are one device together")]
    TooMany {
        /// How many devices there should be.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// A disk has no queues, or too many.
    #[error("a disk has 1 to 64 queues, not {0}")]
    DiskQueues(u16),
    /// A disk's serial number is no such thing.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// A disk's file cannot be used.
    #[error(transparent)]
    Disk(#[from] disk::OpenError),
    /// A TAP cannot be had.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// No file is open under a number.
    #[error("no descriptor {0} was given to this process to be a network: the first of one's own is 3")]
    NoDescriptor(RawFd),
    /// User-mode networking cannot be had.
    #[error(transparent)]
    Passt(#[from] PasstError),
    /// passt has one pair of queues.
    #[error("a network of `user` has one pair of queues, not {0}: give it no `queues`, or use a TAP")]
    UserQueues(u16),
    /// A network device cannot be had.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The host's side of the guest's sockets cannot be had.
    #[error(transparent)]
    UnixVsock(#[from] UnixVsockError),
    /// Nor can the guest's.
    #[error(transparent)]
    Vsock(#[from] VsockError),
    /// There is nothing that serves directories.
    #[error(transparent)]
    NoVirtiofsd(#[from] FindError),
    /// A directory cannot be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The guest's RAM cannot be shared with a server.
    #[error(transparent)]
    Unshared(#[from] MemoryError),
    /// Its server and the device do not come together.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A console has nothing to lead to.
    #[error("a console leads to stdio, and nobody has given the machine any")]
    NoStdio,
    /// A console's file cannot be had.
    #[error(transparent)]
    ConsoleFile(#[from] FileError),
    /// A pseudoterminal cannot be had.
    #[error(transparent)]
    Pty(#[from] PtyError),
    /// A console's socket cannot be had.
    #[error(transparent)]
    ConsoleSocket(#[from] SocketError),
    /// Consoles cannot be had.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The source of entropy cannot be opened.
    #[error("cannot open {} for the guest's entropy", path.display())]
    Entropy {
        /// The source.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Descriptors or threads cannot be had.
    #[error("cannot make the device {device}")]
    Descriptors {
        /// The device.
        device: &'static str,
        /// What the system answered.
        source: io::Error,
    },
}

impl DeviceError {
    /// Whether this host is to blame, rather than what was asked of it.
    pub fn is_the_hosts(&self) -> bool {
        matches!(
            self,
            Self::Entropy { .. }
                | Self::Descriptors { .. }
                | Self::Net(NetError::Descriptors(_))
                | Self::Console(ConsoleError::EventFd { .. })
                | Self::Passt(PasstError::NotInstalled(_) | PasstError::Socket(_))
                | Self::NoVirtiofsd(_)
        )
    }
}

/// Where the host's entropy comes from.
const ENTROPY: &str = "/dev/urandom";
/// Queues beyond this are threads beyond any use.
const MOST_DISK_QUEUES: u16 = 64;

/// What the configuration names.
pub(in crate::machine) struct Opened {
    /// In the order in which the guest finds them.
    pub(in crate::machine) parts: Vec<VirtioPart>,
    pub(in crate::machine) handles: Handles,
}

/// What the host does to devices while the guest runs, or wants to know of them.
#[derive(Debug, Default)]
pub(in crate::machine) struct Handles {
    pub(in crate::machine) balloon: Option<BalloonControl>,
    pub(in crate::machine) console: Option<ConsoleHandle>,
    /// The pseudoterminals of consoles, in order.
    pub(in crate::machine) ptys: Vec<PathBuf>,
}

/// What a console of `stdio` reads and writes.
#[derive(Debug)]
pub(in crate::machine) struct Stdio {
    pub(in crate::machine) input: Option<OwnedFd>,
    pub(in crate::machine) output: OwnedFd,
}

/// Opens what the configuration names, for a guest with this memory.
pub(in crate::machine) fn open(
    config: &Config,
    ram: &Ram,
    stdio: Option<Stdio>,
) -> Result<Opened, DeviceError> {
    let (mut parts, mut handles) = (Vec::new(), Handles::default());
    for (number, disk) in config.disk.iter().enumerate() {
        parts.push(block(disk_name(number), disk)?);
    }
    for (number, net) in config.net.iter().enumerate() {
        parts.push(self::net(number, net)?);
    }
    if let Some(vsock) = &config.vsock {
        parts.push(self::vsock(vsock)?);
    }
    for share in &config.share {
        parts.push(self::share(share, ram)?);
    }
    if !config.console.is_empty() {
        parts.push(console(&config.console, stdio, &mut handles)?);
    }
    if let Some(balloon) = &config.balloon {
        parts.push(self::balloon(balloon, ram, &mut handles)?);
    }
    if let Some(rng) = &config.rng {
        parts.push(self::rng(rng)?);
    }
    Ok(Opened { parts, handles })
}

/// What Linux calls its disks: `vda` to `vdz`, then `vdaa`.
fn disk_name(number: usize) -> String {
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
    match number / 26 {
        0 => format!("vd{}", letter(number)),
        more => format!("vd{}{}", letter(more - 1), letter(number)),
    }
}

/// Why descriptors could not be had, for `map_err`.
fn descriptors(device: &'static str) -> impl Fn(io::Error) -> DeviceError {
    move |source| DeviceError::Descriptors { device, source }
}

fn limits(rate: Rate) -> RateLimits {
    RateLimits {
        bandwidth: rate.bytes.map(|bytes| Limit::per_second(bytes.0)),
        operations: rate.ops.map(Limit::per_second),
    }
}

fn block(name: String, config: &config::Disk) -> Result<VirtioPart, DeviceError> {
    let queues = config.queues.unwrap_or(1);
    if !(1..=MOST_DISK_QUEUES).contains(&queues) {
        return Err(DeviceError::DiskQueues(queues));
    }
    let serial = config.serial.as_deref().unwrap_or_default().parse()?;
    let options = ImageOptions {
        read_only: config.read_only,
        cache: match config.cache {
            Cache::Writeback => disk::Cache::Writeback,
            Cache::Writethrough => disk::Cache::Writethrough,
            Cache::Unsafe => disk::Cache::Unsafe,
        },
        direct: config.direct,
        ..ImageOptions::default()
    };
    let disks = Image::open(&config.path, &options)?.disks(queues.into()).map_err(descriptors("disk"))?;
    let options = BlockOptions { serial, limits: limits(config.rate) };
    let block = Block::<DeviceMemory, _>::new(disks, options).map_err(descriptors("disk"))?;
    let workers = block.workers();
    Ok(VirtioPart::new(name, Box::new(block)).threads(workers))
}

fn net(number: usize, config: &config::Net) -> Result<VirtioPart, DeviceError> {
    let queues = config.queues.unwrap_or(1);
    match &config.to {
        NetTo::User if queues != 1 => Err(DeviceError::UserQueues(queues)),
        NetTo::User => net_to(number, config, "user", vec![Passt::spawn(&PasstOptions::default())?]),
        NetTo::Tap(name) => {
            let options = TapOptions { queues: queues.into(), ..TapOptions::new(name) };
            net_to(number, config, name, Tap::open(&options)?)
        }
        NetTo::Fd(fd) => {
            let taps = Tap::from_fds(vec![descriptor(*fd)?])?;
            let name = taps.first().map_or_else(String::new, |tap| tap.name().to_owned());
            net_to(number, config, &name, taps)
        }
    }
}

/// A network device whose packets go to back ends that are called `name` on the host.
fn net_to<B: NetBackend>(
    number: usize,
    config: &config::Net,
    name: &str,
    backends: Vec<B>,
) -> Result<VirtioPart, DeviceError> {
    let rate = limits(config.rate);
    let mac = config.mac.unwrap_or_else(|| default_mac(number, name));
    let net = Net::new(&NetConfig { mac, receive_limits: rate, send_limits: rate }, backends)?;
    let workers = net.workers();
    Ok(VirtioPart::new(format!("net{number}"), Box::new(net)).threads(workers))
}

/// The same at every start, so that the guest's leases and names last; another for each TAP, since TAPs of several guests
/// may be on one bridge.
fn default_mac(number: usize, name: &str) -> Mac {
    // FNV-1a, which is the same in every build.
    let bytes = name.bytes().chain(number.to_le_bytes());
    Mac::local(
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
    )
}

/// A descriptor of our own for what this process was started with under a number. That itself stays open: the configuration
/// may name it twice, or one of ours by mistake.
fn descriptor(fd: RawFd) -> Result<OwnedFd, DeviceError> {
    // The three that every process has are not for this.
    if fd <= 2 {
        return Err(DeviceError::NoDescriptor(fd));
    }
    #[allow(unsafe_code, reason = "a descriptor that is known by its number only")]
    // SAFETY: the call looks up a number and touches no memory.
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if own < 0 {
        return Err(DeviceError::NoDescriptor(fd));
    }
    #[allow(unsafe_code, reason = "the kernel gives it as a number")]
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

fn vsock(config: &config::Vsock) -> Result<VirtioPart, DeviceError> {
    let vsock = Vsock::<DeviceMemory, _>::new(config.cid.into(), UnixVsock::new(&config.path)?)?;
    let worker = vsock.worker();
    Ok(VirtioPart::new("vsock", Box::new(vsock)).shared(vec![worker]))
}

fn share(config: &config::Share, ram: &Ram) -> Result<VirtioPart, DeviceError> {
    can_share(ram.memory())?;
    let share = vhost_user::Share { dir: config.dir.clone(), read_only: config.read_only };
    let server = Virtiofsd::find()?.start(&share)?;
    let fs = VhostUserFs::new(server, &config.tag)?;
    let worker = fs.worker();
    Ok(VirtioPart::new(config.tag.clone(), Box::new(fs)).shared(vec![worker]))
}

/// One device, with a port for each console.
fn console(
    consoles: &[config::Console],
    mut stdio: Option<Stdio>,
    handles: &mut Handles,
) -> Result<VirtioPart, DeviceError> {
    let mut ports = Vec::with_capacity(consoles.len());
    for console in consoles {
        ports.push(match &console.to {
            ConsoleTo::Stdio => {
                let Stdio { input, output } = stdio.take().ok_or(DeviceError::NoStdio)?;
                port(console, Stream::new(input, output))
            }
            ConsoleTo::Pty => {
                let pty = Pty::new()?;
                handles.ptys.push(pty.path().to_owned());
                port(console, pty)
            }
            ConsoleTo::File(path) => port(console, Stream::to_file(path)?),
            ConsoleTo::Unix(path) => port(console, UnixSocket::bind(path)?),
        });
    }
    let console = Console::<DeviceMemory>::new(ports)?;
    handles.console = Some(console.handle());
    let worker = console.worker();
    Ok(VirtioPart::new("console", Box::new(console)).shared(vec![worker]))
}

fn port(config: &config::Console, host: impl HostSide + 'static) -> Port {
    match &config.name {
        Some(name) => Port::named(name, host),
        None => Port::console(host),
    }
}

fn balloon(config: &config::Balloon, ram: &Ram, handles: &mut Handles) -> Result<VirtioPart, DeviceError> {
    let ram = ram.clone();
    let release = move |start: GuestAddress, len: u64| ram.discard(start, len).map_err(io::Error::other);
    let balloon = Balloon::<_, DeviceMemory>::new(release).map_err(descriptors("balloon"))?;
    let control = balloon.control();
    if let Some(target) = config.target {
        control.set_target(target.0);
    }
    handles.balloon = Some(control);
    let worker = balloon.worker();
    Ok(VirtioPart::new("balloon", Box::new(balloon)).shared(vec![worker]))
}

fn rng(config: &config::Rng) -> Result<VirtioPart, DeviceError> {
    let failed = |source| DeviceError::Entropy { path: ENTROPY.into(), source };
    let source = File::open(ENTROPY).map_err(failed)?;
    let rng = Rng::<_, DeviceMemory>::limited(source, limits(config.rate)).map_err(failed)?;
    let worker = rng.worker();
    Ok(VirtioPart::new("rng", Box::new(rng)).shared(vec![worker]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_the_names_that_linux_gives_them() {
        let names = [0, 25, 26, 51, 52].map(disk_name);
        assert_eq!(names, ["vda", "vdz", "vdaa", "vdaz", "vdba"]);
    }

    #[test]
    fn an_address_that_was_not_chosen_stays_the_same() {
        assert_eq!(default_mac(0, "tap0"), default_mac(0, "tap0"));
        assert_ne!(default_mac(0, "tap0"), default_mac(1, "tap0"));
        assert_ne!(default_mac(0, "tap0"), default_mac(0, "tap1"));
        assert_eq!(default_mac(0, "user").to_string(), MAC_OF_USER);
    }

    /// In every build: guests know their leases and their names by it.
    const MAC_OF_USER: &str = "da:13:79:98:5b:32";
}
