//! One QEMU: started with its ports connected to pipes, and never left behind.
#![allow(
    unsafe_code,
    reason = "what a child does between fork and exec can only be said by an unsafe method of std"
)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeReader};
use std::iter;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::MemfdFlags;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use super::Machine;
use crate::process::capture;

/// For L1's kernel: nothing that only takes time when emulated, and every failure of it ends the run.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet rdinit=/rig/init 8250.nr_uarts=4 panic=-1 oops=panic nokaslr \
    tsc=reliable no_timer_check cryptomgr.notests mitigations=off";

/// Which of the ports has the command's standard output.
const OUTPUT: usize = 1;

/// What is booted.
#[derive(Debug)]
pub(super) struct Boot<'a> {
    pub(super) qemu: &'a Path,
    pub(super) kernel: &'a Path,
    /// The archive with the emulated host's files.
    pub(super) files: File,
    /// A disk for files that come back.
    pub(super) disk: Option<File>,
    /// Files of ours that the emulated host has as disks.
    pub(super) disks: &'a [PathBuf],
    /// Whether it reaches what we reach, through QEMU's own address translation.
    pub(super) network: bool,
    /// Both directions of the command's standard input and output, where it has an input.
    pub(super) console: Option<Console>,
    pub(super) machine: Machine,
}

/// The two ends of a connection to the second serial port.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) ours: UnixStream,
    pub(super) theirs: UnixStream,
}

/// A running QEMU. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Qemu {
    child: Child,
    pub(super) ports: Option<Ports>,
}

/// What comes out of it. All of these end when QEMU ends.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) log: PipeReader,
    pub(super) output: File,
    pub(super) error: File,
    pub(super) report: PipeReader,
    /// What QEMU itself has to say.
    pub(super) complaints: PipeReader,
}

impl Qemu {
    /// Starts it.
    ///
    /// QEMU ends, at the latest, when the calling thread ends: the system kills it then, however that came about.
    /// Files and disk have no name in any folder: nothing is left behind either.
    pub(super) fn start(mut boot: Boot<'_>) -> io::Result<Self> {
        let has_input = boot.console.is_some();
        let (log, log_end) = io::pipe()?;
        let (output, output_end): (OwnedFd, OwnedFd) = match boot.console.take() {
            Some(Console { ours, theirs }) => (ours.into(), theirs.into()),
            None => io::pipe().map(|(ours, theirs)| (ours.into(), theirs.into()))?,
        };
        let (error, error_end) = io::pipe()?;
        let (report, report_end) = io::pipe()?;
        let (complaints, complaints_end) = io::pipe()?;
        let ports: [OwnedFd; 4] = [log_end.into(), output_end, error_end.into(), report_end.into()];
        let mut command = Command::new(boot.qemu);
        command.args(arguments(&boot, &ports, has_input));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints_end);
        let inherited: Vec<OwnedFd> =
            ports.into_iter().chain([boot.files.into()]).chain(boot.disk.map(Into::into)).collect();
        let parent = getpid();
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // Had we ended before that call, nothing would ever end the child.
            if getppid() != Some(parent) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            inherited.iter().try_for_each(|fd| Ok(fcntl_setfd(fd, FdFlags::empty())?))
        };
        // SAFETY: the closure only makes system calls, which are async-signal-safe: it takes no lock, and an error it
        // returns is made of a number, without allocating.
        let child = unsafe { command.pre_exec(prepare) }.spawn()?;
        // `command` still holds our copies of the pipes' writing ends. It goes now, so that the pipes end with QEMU.
        drop(command);
        Ok(Self {
            child,
            ports: Some(Ports {
                log,
                output: output.into(),
                error: OwnedFd::from(error).into(),
                report,
                complaints,
            }),
        })
    }

    /// Ends it, if it has not ended, and says how it ended.
    pub(super) fn end(&mut self) -> io::Result<ExitStatus> {
        // It fails if QEMU has ended already, which is as good.
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Nothing more can be done about a process that can't be waited for.
        let _ = self.end();
    }
}

/// A file in memory, without a name.
pub(super) fn memory_file(name: &str) -> io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

/// The first number of QEMU's version.
pub(super) fn major_version(qemu: &Path) -> Option<u32> {
    let mut command = Command::new(qemu);
    command.arg("--version");
    version_in(&capture(command).ok()?.output)
}

/// Reads `QEMU emulator version 7.2.22 (..)`.
fn version_in(text: &str) -> Option<u32> {
    let (_, version) = text.split_once(" version ")?;
    version.split('.').next()?.parse().ok()
}

fn arguments(boot: &Boot<'_>, ports: &[OwnedFd], has_input: bool) -> Vec<OsString> {
    let machine = boot.machine;
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &str| arguments.extend(words.split_whitespace().map(OsString::from));
    // L1 hangs on the smaller machine `microvm`.
    add("-M pc -nodefaults -no-user-config -display none -no-reboot -cpu max,la57=off");
    add(&format!("-smp {} -m {}", machine.cpus, machine.memory_mib));
    let thread = if machine.cpus > 1 && !machine.icount { "multi" } else { "single" };
    add(&format!("-accel tcg,thread={thread}"));
    if machine.icount {
        add("-icount shift=0,sleep=off,align=off -seed 1 -rtc base=2026-01-01,clock=vm");
    }
    for (index, port) in ports.iter().enumerate() {
        let fd = port.as_raw_fd();
        add(&format!("-serial chardev:port{index}"));
        if has_input && index == OUTPUT {
            add(&format!("-chardev socket,id=port{index},fd={fd}"));
        } else {
            add(&format!("-add-fd fd={fd},set={fd}"));
            add(&format!("-chardev file,id=port{index},path=/dev/fdset/{fd},append=on"));
        }
    }
    if let Some(disk) = &boot.disk {
        let fd = disk.as_raw_fd();
        add("-device nvme,serial=out,drive=out");
        add(&format!("-drive if=none,id=out,format=raw,cache=unsafe,file=/proc/self/fd/{fd}"));
    }
    if boot.network {
        add("-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=");
    }
    for index in 0..boot.disks.len() {
        // `init.sh` knows it by this number.
        add(&format!("-device nvme,serial=disk{index},drive=disk{index}"));
    }
    add(&format!("-initrd /proc/self/fd/{}", boot.files.as_raw_fd()));
    for (index, disk) in boot.disks.iter().enumerate() {
        let mut drive = OsString::from(format!("if=none,id=disk{index},format=raw,discard=unmap,file="));
        drive.push(without_end(disk.as_os_str()));
        arguments.extend(["-drive".into(), drive]);
    }
    arguments.extend(["-append".into(), KERNEL_OPTIONS.into(), "-kernel".into(), boot.kernel.into()]);
    arguments
}

/// A path as QEMU takes it within an option: a comma would end it, were it not written twice.
fn without_end(path: &OsStr) -> OsString {
    let bytes =
        path.as_bytes().iter().flat_map(|&byte| iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    OsString::from_vec(bytes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_does_not_end_it() {
        assert_eq!(without_end(OsStr::new("/a,b/c,d")), "/a,,b/c,,d");
    }

    #[test]
    fn the_version_is_read_from_what_qemu_says() {
        let said = |version| format!("QEMU emulator version {version} (Debian 1:x)\nCopyright (c) 2003-2022");
        assert_eq!(version_in(&said("7.2.22")), Some(7));
        assert_eq!(version_in(&said("10.0.3")), Some(10));
        assert_eq!(version_in("qemu: not found"), None);
    }
}
