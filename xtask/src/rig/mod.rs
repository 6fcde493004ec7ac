//! `cargo xtask rig`: runs commands in an emulated host that has a faithful /dev/kvm, on any x86-64 Linux.
//!
//! QEMU emulates a machine with AMD's virtualisation (SVM with nested paging), instruction by instruction; a
//! distribution's kernel boots in it from files in memory, runs the commands and reports over serial ports. We call
//! this kernel L1, as KVM's documentation does; a guest that a command runs is L2.
//!
//! Read it in the order of a run: [`options`] is the command line, [`kernel`] finds a kernel ([`package`] downloads
//! it, [`image`] and [`modules`] take it apart, [`cache`] keeps it), [`tree`] gathers L1's files into an archive
//! ([`cpio`]), [`qemu`] boots it, [`session`] listens, and [`report`] is what `init.sh` in L1 says.

pub(crate) mod cache;
mod cpio;
mod image;
pub(crate) mod job;
mod kernel;
pub(crate) mod keyboard;
mod lazy;
mod modules;
pub(crate) mod options;
mod package;
mod qemu;
mod report;
mod script;
mod session;
mod task;
pub(crate) mod tree;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use lazy::Lazy;
pub(crate) use options::Options;
pub(crate) use task::{code_of_bad_usage, run};

use crate::host::Kvm;
use crate::tools::{BUSYBOX, QEMU, Tools};
use cache::Cache;
use kernel::KernelError;
pub(crate) use kernel::{Kernel, Source};

/// The version of QEMU whose emulated hosts first have hardware breakpoints for their guests.
const FIRST_WITH_BREAKPOINTS: u32 = 10;

/// The emulated computer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    /// Whether its clock counts instructions.
    pub(crate) icount: bool,
    /// When a run is ended, the boot included.
    pub(crate) limit: Duration,
}

impl Default for Machine {
    fn default() -> Self {
        Self { cpus: 1, memory_mib: 1024, icount: false, limit: Duration::from_secs(600) }
    }
}

/// Something to run in L1.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// With a slash, a file of ours, which is brought along; else a program of L1's.
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// Where it runs: made in L1 if it is not there.
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) stdin: Vec<u8>,
    /// When it is killed (its code is then 137), in whole seconds by L1's clock. The machine's limit holds besides.
    pub(crate) limit: Option<Duration>,
    /// Files to read in L1 when it has ended.
    pub(crate) collect: Vec<PathBuf>,
}

impl Command {
    /// A command without arguments, in the root folder.
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            folder: "/".into(),
            environment: Vec::new(),
            stdin: Vec::new(),
            limit: None,
            collect: Vec::new(),
        }
    }
}

/// Everything that a boot needs, found or made.
#[derive(Debug)]
pub(crate) struct Rig {
    qemu: PathBuf,
    busybox: PathBuf,
    kernel: Kernel,
    machine: Machine,
    disks: Vec<PathBuf>,
    network: bool,
}

/// Finds a kernel for a guest, or downloads it (without `source`, the distribution's newest).
pub(crate) fn kernel_of_guest(source: Option<&Source>, tools: &Tools) -> Result<Kernel, SetUpError> {
    kernel::prepare(source, &Cache::of_this_user()?, tools)
}

/// The files that a program's options name, for it to find.
pub(crate) fn files_named(options: &[OsString]) -> Vec<options::Brought> {
    let named = options.iter().map(PathBuf::from).filter(|path| path.is_file());
    named.map(|from| options::Brought { from, to: None }).collect()
}

/// Why the rig can't be had.
pub(crate) type SetUpError = KernelError;

impl Rig {
    /// Finds QEMU, busybox and a kernel (without `source`, the distribution's newest), and installs or downloads what
    /// is missing.
    pub(crate) fn set_up(
        machine: Machine,
        source: Option<&Source>,
        tools: &Tools,
    ) -> Result<Self, SetUpError> {
        let qemu = tools.ensure(&QEMU)?;
        let busybox = tools.ensure(&BUSYBOX)?;
        let kernel = kernel::prepare(source, &Cache::of_this_user()?, tools)?;
        Ok(Self { qemu, busybox, kernel, machine, disks: Vec::new(), network: false })
    }

    /// One with these files of ours (absolute paths) as disks: L1 has a link to each disk where its file lies here. What
    /// is written there is written to the file.
    pub(crate) fn with_disks(self, disks: Vec<PathBuf>) -> Self {
        Self { disks, ..self }
    }

    /// One whose L1 reaches the network that we reach, through QEMU's own address translation.
    pub(crate) fn with_network(self) -> Self {
        Self { network: true, ..self }
    }

    /// What L1's KVM can do. A QEMU that does not say which it is counts as an old one.
    pub(crate) fn kvm(&self) -> Kvm {
        let is_new = qemu::major_version(&self.qemu).is_some_and(|version| version >= FIRST_WITH_BREAKPOINTS);
        if is_new { Kvm::Hardware } else { Kvm::OldQemu }
    }
}

#[cfg(test)]
#[path = "live_test.rs"]
mod live_tests;
