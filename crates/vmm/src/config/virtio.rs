//! Virtio devices: as tables of a configuration file, and as the short texts of the command line.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use strata_devices::virtio::net::Mac;

use super::units::{self, ByteSize};

/// A disk: `[[disk]]`, or `FILE[,ro][,cache=..][,direct][,queues=N][,serial=TEXT]`.
///
/// ```
/// use strata_vmm::config::{Cache, Disk};
/// let disk: Disk = "root.img,ro,cache=unsafe".parse()?;
/// assert_eq!((disk.read_only, disk.cache), (true, Cache::Unsafe));
/// assert!("root.img,fast".parse::<Disk>().unwrap_err().to_string().contains("fast"));
/// # Ok::<(), strata_vmm::config::SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// A raw file or a block device of the host.
    pub path: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// When what the guest writes is durable.
    pub cache: Cache,
    /// Whether the host's page cache is left out (`O_DIRECT`).
    pub direct: bool,
    /// How many queues, each with a thread: by default one.
    pub queues: Option<u16>,
    /// What the guest sees as its serial number: up to 20 bytes.
    pub serial: Option<String>,
    /// How fast it may be at most.
    pub rate: Rate,
}

/// When what a guest writes to a disk is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Once a flush that came after it is complete, as on a real disk with a cache.
    #[default]
    Writeback,
    /// Once it is complete.
    Writethrough,
    /// When the host pleases: for what can be made again.
    Unsafe,
}

/// A limit, with a burst of one second's worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// Bytes in a second.
    pub bytes: Option<ByteSize>,
    /// Requests or packets in a second.
    pub ops: Option<u64>,
}

/// A network device: `[[net]]`, or `user|tap=NAME|fd=N[,mac=..][,queues=N]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// Where it leads.
    #[serde(deserialize_with = "units::from_text")]
    pub to: NetTo,
    /// Its address, as in `52:54:00:12:34:56`: by default one made from its place among the devices.
    #[serde(default, deserialize_with = "units::some_from_text")]
    pub mac: Option<Mac>,
    /// How many pairs of queues, each with a thread: by default one.
    #[serde(default)]
    pub queues: Option<u16>,
    /// How fast it may be at most, each way.
    #[serde(default)]
    pub rate: Rate,
}

/// Where a network device leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetTo {
    /// `user`: to the host's network, without any privilege, by passt.
    User,
    /// `tap=NAME`: to this TAP interface of the host.
    Tap(String),
    /// `fd=N`: to a TAP whose descriptor this process was started with.
    Fd(i32),
}

/// The guest's address family `AF_VSOCK`: `[vsock]`, or `CID:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's context ID: 3 or more.
    pub cid: u32,
    /// The Unix socket by which the host connects to the guest; with `_PORT` behind it, those that the guest connects to.
    pub path: PathBuf,
}

/// A directory of the host's: `[[share]]`, or `DIR:TAG[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Which.
    pub dir: PathBuf,
    /// What the guest mounts it by: `mount -t virtiofs TAG /mnt`.
    pub tag: String,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
}

/// A console beside the serial port: `[[console]]`, or `stdio|pty|file=PATH|unix=PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Where it leads.
    #[serde(deserialize_with = "units::from_text")]
    pub to: ConsoleTo,
    /// What the guest knows the port by (`/dev/virtio-ports/NAME`).
    #[serde(default)]
    pub name: Option<String>,
}

/// Where a console leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleTo {
    /// `stdio`: to the console that the builder was given; needs `devices.serial = "none"`.
    Stdio,
    /// `pty`: to a new pseudo-terminal.
    Pty,
    /// `file=PATH`: what the guest writes is appended there.
    File(PathBuf),
    /// `unix=PATH`: to whoever connects to this socket.
    Unix(PathBuf),
}

/// Memory that the guest gives back: `[balloon]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Balloon {
    /// How much the host wants from the start on: by default nothing but what the guest does not use.
    pub target: Option<ByteSize>,
}

/// Entropy for the guest: `[rng]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rng {
    /// How much of it.
    pub rate: Rate,
}

/// A text that describes no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// It begins wrongly.
    #[error("{text:?} is not {expected}")]
    Not {
        /// The text.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
    /// It goes on with something unknown.
    #[error("{option:?} is no option here: write {expected}")]
    Option {
        /// What was found.
        option: String,
        /// What there could be.
        expected: &'static str,
    },
}

const MAC: &str = "the address of one network card, as 52:54:00:12:34:56 is";

fn not(text: &str, expected: &'static str) -> SpecError {
    SpecError::Not { text: text.to_owned(), expected }
}

/// Splits at commas; two of them are one in the text.
fn parts(text: &str) -> impl Iterator<Item = String> {
    const COMMA: char = '\0';
    let whole = text.replace(",,", "\0");
    let parts: Vec<_> = whole.split(',').map(|part| part.replace(COMMA, ",")).collect();
    parts.into_iter()
}

fn number<T: FromStr>(text: &str) -> Result<T, SpecError> {
    text.parse().map_err(|_| not(text, "a number that fits"))
}

impl FromStr for Disk {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const OPTIONS: &str = "ro, cache=writeback|writethrough|unsafe, direct, queues=N or serial=TEXT \
            (a comma in a path is written twice)";
        let mut parts = parts(text);
        let mut disk = Self { path: parts.next().unwrap_or_default().into(), ..Self::default() };
        for option in parts {
            match option.split_once('=').unwrap_or((&option, "")) {
                ("ro", "") => disk.read_only = true,
                ("direct", "") => disk.direct = true,
                ("queues", count) => disk.queues = Some(number(count)?),
                ("serial", serial) => disk.serial = Some(serial.to_owned()),
                ("cache", "writeback") => disk.cache = Cache::Writeback,
                ("cache", "writethrough") => disk.cache = Cache::Writethrough,
                ("cache", "unsafe") => disk.cache = Cache::Unsafe,
                _ => return Err(SpecError::Option { option, expected: OPTIONS }),
            }
        }
        Ok(disk)
    }
}

impl FromStr for NetTo {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("user", "") => Ok(Self::User),
            ("tap", name) if !name.is_empty() => Ok(Self::Tap(name.to_owned())),
            ("fd", fd) => number(fd).map(Self::Fd),
            _ => Err(not(text, "user, tap=NAME or fd=N")),
        }
    }
}

impl FromStr for Net {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = parts(text);
        let to = parts.next().unwrap_or_default().parse()?;
        let mut net = Self { to, mac: None, queues: None, rate: Rate::default() };
        for option in parts {
            match option.split_once('=') {
                Some(("mac", mac)) => net.mac = Some(mac.parse().map_err(|_| not(mac, MAC))?),
                Some(("queues", count)) => net.queues = Some(number(count)?),
                _ => return Err(SpecError::Option { option, expected: "mac=.. or queues=N" }),
            }
        }
        Ok(net)
    }
}

impl FromStr for Vsock {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let expected = "CID:PATH, as in 3:/tmp/guest.sock";
        let (cid, path) = text.split_once(':').ok_or_else(|| not(text, expected))?;
        Ok(Self { cid: number(cid)?, path: path.into() })
    }
}

impl FromStr for Share {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let expected = "DIR:TAG or DIR:TAG:ro, as in src:code:ro";
        if text.ends_with(":rw") {
            return Err(not(text, expected));
        }
        let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
        let (dir, tag) = rest.rsplit_once(':').ok_or_else(|| not(text, expected))?;
        Ok(Self { dir: dir.into(), tag: tag.to_owned(), read_only })
    }
}

impl FromStr for ConsoleTo {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("stdio", "") => Ok(Self::Stdio),
            ("pty", "") => Ok(Self::Pty),
            ("file", path) if !path.is_empty() => Ok(Self::File(path.into())),
            ("unix", path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(not(text, "stdio, pty, file=PATH or unix=PATH")),
        }
    }
}

impl FromStr for Console {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = parts(text);
        let mut console = Self { to: parts.next().unwrap_or_default().parse()?, name: None };
        for option in parts {
            match option.split_once('=') {
                Some(("name", name)) => console.name = Some(name.to_owned()),
                _ => return Err(SpecError::Option { option, expected: "name=NAME" }),
            }
        }
        Ok(console)
    }
}

#[cfg(test)]
#[path = "virtio_test.rs"]
mod tests;
