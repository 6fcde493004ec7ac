//! Sending commands through a boot: one with its output passed on as it appears, or many with all captured.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cpio::{self, Member, ReadError};
use super::keyboard::{Gate, Keyboard};
use super::options::Brought;
use super::qemu::{Boot, Console, memory_file};
use super::report::{Ended, Event};
use super::session::{self, Failure, Sinks, Tail};
use super::tree::{BringError, Tree, WriteError, normal};
use super::{Command, Rig, script};

const INIT: &[u8] = include_bytes!("init.sh");
/// L1's users, in the format of passwd(5).
const USERS: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";

/// One command, with what goes in and what comes back besides.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) command: Command,
    pub(crate) files: Vec<Brought>,
    /// Where the files go that it leaves in `/out`.
    pub(crate) out: Option<PathBuf>,
    /// Our standard input becomes the command's, which sees it as a terminal; input of ours that is none waits for this.
    pub(crate) input: Option<Gate>,
}

/// What a command left behind whose output was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// As a shell sees it: 128 and the signal's number for a command that was killed.
    pub(crate) code: u8,
    /// How long it ran, by L1's clock, in steps of 10 ms.
    pub(crate) time: Duration,
    pub(crate) output: Vec<u8>,
    pub(crate) error: Vec<u8>,
    /// The files to collect, in that order; none where there was no such file.
    pub(crate) files: Vec<Option<Vec<u8>>>,
}

impl From<Ended> for Finished {
    fn from(Ended { code, time, blobs }: Ended) -> Self {
        let mut blobs = blobs.into_iter();
        let mut next = || blobs.next().flatten().unwrap_or_default();
        Self { code, time, output: next(), error: next(), files: blobs.collect() }
    }
}

/// Why a command was not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Bring(#[from] BringError),
    #[error("could not gather the emulated host's files")]
    Files(#[from] WriteError),
    #[error("could not make a file in memory")]
    MemoryFile(#[source] io::Error),
    #[error("could not connect standard input")]
    Input(#[source] io::Error),
    #[error("could not find out the current directory")]
    CurrentFolder(#[source] io::Error),
    #[error(transparent)]
    Session(session::SessionError),
    #[error("the emulated host has not said how the command ended")]
    NoResult,
    #[error(
        "the files in /out did not come back: its disk of {mib} MiB is too small, or its kernel has no NVMe driver"
    )]
    NoArchive { mib: u32 },
    #[error("could not read the files that came back")]
    Archive(#[from] ReadError),
    #[error("could not write {}, which came back", path.display())]
    Out { path: PathBuf, source: io::Error },
}

/// An error, and the last lines of L1's log if there are any.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) error: RunError,
    pub(crate) tail: Tail,
}

impl<E: Into<RunError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self { error: error.into(), tail: Tail::default() }
    }
}

impl From<Failure> for Broken {
    fn from(Failure { error, tail }: Failure) -> Self {
        Self { error: RunError::Session(error), tail }
    }
}

impl Rig {
    /// Runs one command; gives its exit code.
    pub(crate) fn run(
        &self,
        job: &Job,
        output: &mut (dyn Write + Send),
        error: &mut (dyn Write + Send),
    ) -> Result<u8, Broken> {
        let mut tree = self.tree(&[&job.command], &job.files)?;
        if job.input.is_some() {
            tree.file("/rig/input", false, Vec::new());
        }
        let mut disk = None;
        if job.out.is_some() {
            tree.folder(Path::new("/out"));
            let file = memory_file("out").map_err(RunError::MemoryFile)?;
            // Its files lie in L1's memory: more than that there can't be. What is not written takes no memory of ours.
            file.set_len(u64::from(self.machine.memory_mib) << 20).map_err(RunError::MemoryFile)?;
            disk = Some(file);
        }
        let back = disk.as_ref().map(File::try_clone).transpose().map_err(RunError::MemoryFile)?;
        let mut boot = self.boot(&tree, disk)?;
        let mut keyboard = Keyboard::default();
        if let Some(gate) = &job.input {
            let (ours, theirs) = UnixStream::pair().map_err(RunError::Input)?;
            keyboard = Keyboard::new(ours.try_clone().map_err(RunError::Input)?, gate.clone());
            boot.console = Some(Console { ours, theirs });
        }
        let mut code = None;
        let mut archived = false;
        session::run(boot, Sinks { output, error }, &mut |event| match event {
            Event::Began(_) => keyboard.connect(),
            Event::Ended(_, ended) => {
                keyboard.disconnect();
                code = Some(ended.code);
            }
            Event::Archived => archived = true,
            _ => {}
        })?;
        let code = code.ok_or(RunError::NoResult)?;
        if let (Some(folder), Some(mut disk)) = (&job.out, back) {
            if !archived {
                return Err(RunError::NoArchive { mib: self.machine.memory_mib }.into());
            }
            disk.rewind().map_err(RunError::MemoryFile)?;
            extract(cpio::read(&mut io::BufReader::new(disk)).map_err(RunError::Archive)?, folder)?;
        }
        Ok(code)
    }

    /// Runs many commands in one boot, each with its own result, in their order.
    ///
    /// A command that takes L1 down with it, or uses up the machine's time, fails alone: the others run in another
    /// boot. If L1 does not even start the next command, then all that are left fail for the same reason.
    pub(crate) fn run_many(
        &self,
        commands: &[Command],
        files: &[Brought],
    ) -> Vec<Result<Finished, Arc<Broken>>> {
        let mut results: Vec<Result<Finished, Arc<Broken>>> = Vec::new();
        while results.len() < commands.len() {
            let rest = &commands[results.len()..];
            let mut begun = false;
            let mut finished = Vec::new();
            let ended = self.boot_many(rest, files, &mut |event| match event {
                Event::Began(_) => begun = true,
                Event::Ended(_, ended) => {
                    finished.push(Finished::from(ended));
                    begun = false;
                }
                _ => {}
            });
            results.extend(finished.into_iter().map(Ok));
            let broken = Arc::new(match ended {
                Err(broken) => broken,
                Ok(()) => RunError::NoResult.into(),
            });
            let left = commands.len().saturating_sub(results.len());
            let lost = if begun { left.min(1) } else { left };
            results.extend((0..lost).map(|_| Err(broken.clone())));
        }
        results
    }

    fn boot_many(
        &self,
        commands: &[Command],
        files: &[Brought],
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Broken> {
        let mut tree = self.tree(&commands.iter().collect::<Vec<_>>(), files)?;
        tree.file("/rig/captured", false, Vec::new());
        let sinks = Sinks { output: &mut io::sink(), error: &mut io::sink() };
        Ok(session::run(self.boot(&tree, None)?, sinks, tell)?)
    }

    /// L1's files: what it always needs, the commands and what they need.
    fn tree(&self, commands: &[&Command], files: &[Brought]) -> Result<Tree, RunError> {
        let mut tree = Tree::default();
        for folder in ["proc", "sys", "dev", "tmp", "bin", "run", "etc", "root"] {
            tree.folder(&Path::new("/").join(folder));
        }
        tree.bring(&self.busybox, Path::new("/rig/busybox"))?;
        tree.file("/rig/init", true, INIT.to_vec());
        if self.network {
            // What serves networks gives up being root, and looks for whom to be instead.
            tree.file("/etc/passwd", false, USERS.to_vec());
        }
        let mut disks = Vec::new();
        for disk in &self.disks {
            tree.folder(disk.parent().unwrap_or(Path::new("/")));
            disks.extend([disk.as_os_str().as_bytes(), b"\n"].concat());
        }
        tree.file("/rig/disks", false, disks);
        for Brought { from, to } in files {
            let to = to.clone().map_or_else(|| absolute(from), Ok)?;
            tree.bring(from, &to)?;
        }
        for (index, command) in commands.iter().enumerate() {
            let mut program = command.program.clone();
            let ours = Path::new(&program);
            if program.as_bytes().contains(&b'/') && ours.is_file() {
                let path = absolute(ours)?;
                tree.bring(ours, &path)?;
                program = path.into();
            }
            tree.folder(&command.folder);
            let file = |name: &str| PathBuf::from(format!("/rig/job/{index}/{name}"));
            tree.file(file("run"), false, script::run(command, &program));
            tree.file(file("stdin"), false, command.stdin.clone());
            tree.file(file("collect"), false, script::collect(command.collect.iter().map(PathBuf::as_path)));
        }
        Ok(tree)
    }

    fn boot(&self, tree: &Tree, disk: Option<File>) -> Result<Boot<'_>, RunError> {
        let mut files = memory_file("files").map_err(RunError::MemoryFile)?;
        let mut modules = File::open(&self.kernel.modules).map_err(RunError::MemoryFile)?;
        io::copy(&mut modules, &mut files).map_err(RunError::MemoryFile)?;
        if self.network {
            let mut modules = File::open(&self.kernel.network_modules).map_err(RunError::MemoryFile)?;
            io::copy(&mut modules, &mut files).map_err(RunError::MemoryFile)?;
        }
        tree.write(io::BufWriter::new(&mut files))?;
        Ok(Boot {
            qemu: &self.qemu,
            kernel: &self.kernel.image,
            files,
            disk,
            disks: &self.disks,
            network: self.network,
            console: None,
            machine: self.machine,
        })
    }
}

/// Where a file of ours lies in L1.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, RunError> {
    Ok(normal(&std::path::absolute(path).map_err(RunError::CurrentFolder)?))
}

/// Writes what came back into `folder`.
fn extract(members: Vec<(PathBuf, Member)>, folder: &Path) -> Result<(), RunError> {
    // Links last: nothing is then written to where one points.
    let (links, others): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|(_, member)| matches!(member, Member::Link(_)));
    for (name, member) in others.into_iter().chain(links) {
        // Normal first, so that no `..` leads out of the folder.
        let name = normal(&name);
        let path = folder.join(name.strip_prefix("/").unwrap_or(&name));
        write(&path, member).map_err(|source| RunError::Out { path, source })?;
    }
    Ok(())
}

fn write(path: &Path, member: Member) -> io::Result<()> {
    if let (Some(folder), false) = (path.parent(), member == Member::Folder) {
        fs::create_dir_all(folder)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match member {
        Member::Folder => fs::create_dir_all(path),
        Member::Link(to) => symlink(to, path),
        Member::File { executable, content } => {
            fs::write(path, content)?;
            if executable {
                let mode = fs::metadata(path)?.permissions().mode();
                fs::set_permissions(path, fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
#[path = "job_test.rs"]
mod tests;
