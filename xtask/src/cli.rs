//! The command line of `cargo xtask`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::rig;

const RUN_GUEST_HELP: &str = "\
Without NAME the guest `hello` is run. `linux` is a kernel of the distribution, downloaded once, with a shell: `exit` ends
it, and so does the end of standard input. `debian` is all of the distribution on a disk of its own, made once of its
packages, with its own kernel and initrd, two CPUs and a network. `exit` ends that too; what was written to the disk is
there again the next time, unless --fresh is given.

What this host can't run, runs in the rig (`cargo xtask rig --help`): guests whose header needs what the local KVM does
not have and, where there is no usable /dev/kvm, all of them. Files that STRATA OPTIONS name come along; what strata
writes there does not come back, but to a --disk.";

/// Strata's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Assemble a guest from guests/, run it in strata and compare the run with the guest's header
    RunGuest(RunGuest),
    /// Run everything that has to pass
    Test(Test),
    /// Run `test`, and the checks that need more tools: the oldest compiler, cargo-hack and others, miri
    Ci(Ci),
    /// Measure what is promised of speed and size, and write it to docs/performance.md
    Bench(Bench),
    /// Check the house's rules: dependency direction, where KVM may be named, SAFETY comments and more
    Lint,
    /// Boot Linux in strata and print what that took; `bench linux` runs it in the rig
    #[command(hide = true)]
    MeasureLinux(MeasureLinux),
    /// Boot Linux in strata with devices and print what these cost; `bench virtio` runs it in the rig
    #[command(hide = true)]
    MeasureVirtio(MeasureVirtio),
    /// Run any command in an emulated host with a faithful /dev/kvm, on any x86-64 Linux
    Rig(Box<rig::Options>),
}

#[derive(Debug, Args)]
#[command(after_help = RUN_GUEST_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line, by itself")]
pub(crate) struct RunGuest {
    /// Name of a guest in guests/, the path of an .asm file, `linux` or `debian`
    #[arg(value_name = "NAME|PATH", conflicts_with_all = ["all", "list"])]
    pub(crate) guest: Option<String>,
    /// Run every guest; one line each, then a summary
    #[arg(long, conflicts_with = "list")]
    pub(crate) all: bool,
    /// List the guests with what each is about
    #[arg(long)]
    pub(crate) list: bool,
    /// Run in the rig, an emulated host with a faithful /dev/kvm, also what could run here
    #[arg(long, conflicts_with_all = ["no_rig", "list"])]
    pub(crate) rig: bool,
    /// Do not run in the rig what can't run here
    #[arg(long, conflicts_with = "list")]
    pub(crate) no_rig: bool,
    /// For `linux`: this kernel, a package, a folder with boot/ and lib/modules/, a .deb, bzImage or vmlinux;
    /// for `debian`: this kernel, a package
    /// [default: the distribution's newest for virtual machines]
    #[arg(long, value_name = "DEB-PACKAGE|DIR|FILE", conflicts_with_all = ["all", "list"])]
    pub(crate) kernel: Option<rig::Source>,
    /// For `debian`: start with a new disk; what was written to the old one is lost
    #[arg(long, conflicts_with_all = ["all", "list"])]
    pub(crate) fresh: bool,
    /// For `debian`: the copy of its disk of this name, so that several guests can have one each
    #[arg(long, value_name = "NAME", default_value = "own", conflicts_with_all = ["all", "list"])]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) install: Install,
    /// Options for `strata run`, after `--`
    #[arg(last = true, value_name = "STRATA OPTIONS", conflicts_with = "list")]
    pub(crate) strata_options: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave out what takes long: a few steps that seldom fail alone
    #[arg(long)]
    pub(crate) quick: bool,
    /// Do only these steps, by the names that a run shows; more than one may be given
    #[arg(long, value_name = "STEP", conflicts_with = "quick")]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) install: Install,
}

#[derive(Debug, Args)]
pub(crate) struct Ci {
    #[command(flatten)]
    pub(crate) install: Install,
}

/// What `bench` measures, if not everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// The boot of a distribution's kernel
    Linux,
    /// Virtio devices: their way from a doorbell to an interrupt, and what they cost a guest
    Virtio,
}

#[derive(Debug, Args)]
pub(crate) struct MeasureVirtio {
    /// What is measured
    pub(crate) what: OfVirtio,
    pub(crate) strata: PathBuf,
    pub(crate) vmlinux: PathBuf,
    pub(crate) initrd: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OfVirtio {
    /// Exits of a guest that reads
    Exits,
    /// Memory and wake-ups of a guest that does nothing
    Idle,
    /// Of these the wake-ups alone
    Wakeups,
}

#[derive(Debug, Args)]
pub(crate) struct MeasureLinux {
    pub(crate) strata: PathBuf,
    pub(crate) vmlinux: PathBuf,
    pub(crate) vmlinuz: PathBuf,
    pub(crate) initrd: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Measure this instead of all the rest
    pub(crate) subject: Option<Subject>,
    /// Write nothing; compare with what docs/performance.md records and name what has moved by over 1 %
    #[arg(long)]
    pub(crate) check: bool,
    /// Compare two vCPUs with one too, in a rig with two CPUs: that takes minutes
    #[arg(long, conflicts_with_all = ["check", "subject"])]
    pub(crate) two_cpus: bool,
    /// Measure the same on this host too: starts, for which it has to have a usable /dev/kvm, or round trips, for which a
    /// TAP is made in a network namespace (as root); not for `linux`
    #[arg(long, conflicts_with = "check")]
    pub(crate) local: bool,
    /// The date to write, as YYYY-MM-DD [default: today]
    #[arg(long)]
    pub(crate) date: Option<String>,
    #[command(flatten)]
    pub(crate) install: Install,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Install {
    /// Never install a missing tool; fail and name the command that would
    #[arg(long)]
    pub(crate) no_install: bool,
}
