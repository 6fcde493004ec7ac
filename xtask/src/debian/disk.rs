//! A root disk of the distribution with its own kernel and initrd: made once, of packages, and kept in the cache.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::archive::{self, Archive, ArchiveError, VARIABLES};
use super::progress::Display;
use crate::rig::cache::{Cache, CacheError};
use crate::tools::{MKE2FS, MMDEBSTRAP, ToolError, Tools};

/// Changes with what is made.
const FORMAT: &str = "debian-1";
/// What the guest sees as the size of its disk. Little of it is ever written, and only that takes room.
const SIZE: &str = "2G";
/// On top of what every Debian system has.
const PACKAGES: [&str; 13] = [
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "login",
    "kmod",
    "e2fsprogs",
    "procps",
    "iproute2",
    "iputils-ping",
    "iperf3",
    "socat",
    "initramfs-tools",
    // What initrds are packed with.
    "zstd",
];
/// What dpkg leaves out: nobody reads it in a guest.
const LEFT_OUT: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"];
/// Ends what was begun, and cleans up, also when we are gone.
const SUPERVISE: &str = include_str!("supervise.sh");
const PREPARE: &str = include_str!("prepare.sh");
const CUSTOMIZE: &str = include_str!("customize.sh");
/// How much of what a failed program has printed is shown.
const TAIL_LINES: usize = 30;

/// All that a boot from disk needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// One ext4 file system, without partitions. Never booted itself: guests write to copies.
    pub(crate) image: PathBuf,
    /// A bzImage.
    pub(crate) vmlinuz: PathBuf,
    pub(crate) initrd: PathBuf,
    /// Tells it from other disks, as part of a file's name: the release and the kernel's package.
    pub(crate) name: String,
}

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("`{0}` is no name of a package; give one such as linux-image-cloud-amd64")]
    Name(String),
    #[error(
        "making a Debian disk needs root, once; run this as root, or let sudo run without a password, and try again"
    )]
    NeedsRoot,
    #[error(
        "the cache's path {} has a blank or a quote in it, which mmdebstrap can't do with; set XDG_CACHE_HOME to another",
        .0.display()
    )]
    Path(PathBuf),
    #[error("could not write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("could not start mmdebstrap")]
    Start(#[source] io::Error),
    #[error(
        "mmdebstrap could not make a disk ({status}); its last lines say why. If it could not fetch something, see that \
         `apt-get update` works and try again; if it may not unshare or mount, as in most containers, run this on the \
         host or let the container be privileged\n{tail}"
    )]
    Failed { status: ExitStatus, tail: String },
}

/// Finds the disk in the cache, or makes it. Without `kernel`, a package's name, it has the distribution's newest.
pub(crate) fn disk(kernel: Option<&str>, tools: &Tools) -> Result<Disk, DiskError> {
    if let Some(name) = kernel.filter(|name| !is_package_name(name)) {
        return Err(DiskError::Name(name.to_owned()));
    }
    let cache = Cache::of_this_user()?;
    let release = archive::release()?;
    let names: Vec<&str> = kernel.map_or_else(|| archive::newest_kernels().collect(), |name| vec![name]);
    // To ask apt takes a second: it is asked when something is to be made.
    let found = names.iter().find(|kernel| cache.folder().join(key(&release, kernel)).is_dir());
    if let Some(kernel) = found {
        return Ok(Disk::in_folder(&cache.folder().join(key(&release, kernel)), &release, kernel));
    }
    let archive = archive::find(&release, tools)?;
    let kernel = kernel.unwrap_or(archive.kernel);
    archive::check_package(kernel, tools)?;
    let folder = cache.get(&key(&release, kernel), |new| {
        Build { new, release: &release, kernel, archive: &archive }.run(tools)
    })?;
    Ok(Disk::in_folder(&folder, &release, kernel))
}

impl Disk {
    fn in_folder(folder: &Path, release: &str, kernel: &str) -> Self {
        Self {
            image: folder.join("disk.ext4"),
            vmlinuz: folder.join("vmlinuz"),
            initrd: folder.join("initrd"),
            name: format!("{release}-{kernel}"),
        }
    }
}

/// The name of the folder in the cache.
fn key(release: &str, kernel: &str) -> String {
    format!("{FORMAT}-{release}-{kernel}")
}

/// Whether Debian allows it as a package's name (Debian Policy, 5.6.1). It becomes part of a path.
fn is_package_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.next().is_some_and(is_plain) && bytes.all(|byte| is_plain(byte) || b"+-.".contains(&byte))
}

/// One making of a disk.
#[derive(Debug)]
struct Build<'a> {
    /// An empty folder, for what is made.
    new: &'a Path,
    release: &'a str,
    kernel: &'a str,
    archive: &'a Archive,
}

impl Build<'_> {
    fn run(&self, tools: &Tools) -> Result<(), DiskError> {
        let privilege = tools.privilege().ok_or(DiskError::NeedsRoot)?;
        tools.ensure(&MMDEBSTRAP)?;
        tools.ensure(&MKE2FS)?;
        if !is_plain(self.new) {
            return Err(DiskError::Path(self.new.to_owned()));
        }
        self.write_files()?;
        eprintln!(
            "debian: making a disk of {} with {}, once; that takes a minute, and 500 MB while it is made",
            self.release, self.kernel
        );
        run(&self.words(privilege))
    }

    /// What is made is ours, whoever writes into it.
    fn write_files(&self) -> Result<(), DiskError> {
        let work = self.new.join("work");
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| DiskError::File { path, source }
        };
        fs::create_dir(&work).map_err(failed(&work))?;
        for name in ["disk.ext4", "vmlinuz", "initrd"] {
            let path = self.new.join(name);
            File::create(&path).map_err(failed(&path))?;
        }
        let texts = [
            ("sources.list", &*self.archive.sources),
            ("apt.conf", &self.archive.settings),
            ("prepare.sh", PREPARE),
            ("customize.sh", CUSTOMIZE),
        ];
        for (name, text) in texts {
            let path = work.join(name);
            fs::write(&path, text).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// The command line. It runs in name spaces of its own: what is mounted there is nowhere else, and all of it goes
    /// with the first process.
    fn words(&self, privilege: Vec<OsString>) -> Vec<OsString> {
        let mut words = privilege;
        let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
        let (new, work) = (self.new.display(), self.new.join("work"));
        let work = work.display();
        add(&["sh", "-c", SUPERVISE, "sh", &new.to_string()]);
        add(&["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        add(&["env", "LC_ALL=C.UTF-8", &format!("TMPDIR={work}")]);
        for variable in VARIABLES {
            if let Ok(value) = std::env::var(variable) {
                add(&[&format!("{variable}={value}")]);
            }
        }
        add(&["mmdebstrap", "--mode=root", "--variant=minbase", "--format=null", "--verbose"]);
        add(&[&format!("--aptopt={work}/apt.conf"), &format!("--include={}", PACKAGES.join(","))]);
        add(&[&format!("--include={}", self.kernel)]);
        for path in LEFT_OUT {
            add(&[&format!("--dpkgopt=path-exclude={path}")]);
        }
        add(&["--dpkgopt=path-include=/usr/share/doc/*/copyright"]);
        add(&[&format!("--essential-hook=sh '{work}/prepare.sh' \"$1\"")]);
        add(&[&format!("--customize-hook=sh '{work}/customize.sh' \"$1\" '{new}' {SIZE}")]);
        add(&[self.release, "/dev/null", &format!("{work}/sources.list")]);
        words
    }
}

/// Whether it can stand in mmdebstrap's options, in quotes.
fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.contains(|letter: char| letter.is_whitespace() || letter == '\''))
}

/// Runs the command to its end and shows how far it is. When we end before it, in whatever way, it ends and cleans up.
fn run(words: &[OsString]) -> Result<(), DiskError> {
    let (program, arguments) = words.split_first().map_or((OsStr::new("sh"), &[][..]), |(a, b)| (a, b));
    let (output, end) = io::pipe().map_err(DiskError::Start)?;
    let mut command = Command::new(program);
    // In a group of its own no key at our terminal reaches it: it sees by its standard input that we are gone.
    command.args(arguments).process_group(0).stdin(Stdio::piped());
    command.stdout(end.try_clone().map_err(DiskError::Start)?).stderr(end);
    let mut child = command.spawn().map_err(DiskError::Start)?;
    // It still holds our ends of the pipe, which is to end with the child.
    drop(command);
    // To wait for a child is to close this, else.
    let held = child.stdin.take();
    let tail = follow(output).map_err(DiskError::Start)?;
    let status = child.wait().map_err(DiskError::Start)?;
    drop(held);
    if status.success() { Ok(()) } else { Err(DiskError::Failed { status, tail: tail.join("\n") }) }
}

/// Reads to the end, shows how far it is, and gives the last lines.
fn follow(output: PipeReader) -> io::Result<Vec<String>> {
    let mut display = Display::new();
    let mut last = VecDeque::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        display.line(&line);
        last.push_back(line);
        if last.len() > TAIL_LINES {
            last.pop_front();
        }
    }
    Ok(last.into())
}

#[cfg(test)]
#[path = "disk_test.rs"]
mod tests;
