//! The command line of `cargo xtask rig`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, value_parser};

use super::kernel::Source;
use crate::cli::Install;

const AFTER_HELP: &str = "\
The command's standard output, standard error and exit code pass through; it has no standard input. Exit codes of the
rig itself: 124 for the time limit, 125 for a failure of the rig, with lines that start with `rig: ` on standard error.

A COMMAND with a slash is a program of this host: it is brought along with the shared libraries it needs. Any other is
a program of busybox. What else the command opens or starts has to be named by --file, for instance
--file /usr/bin/setsid. Files keep their absolute paths. Nothing that is changed inside remains, but for --out.

As a cargo runner, so that a crate's tests run in the rig (one boot for each test program; with nextest, for each test):

    cargo build --package xtask
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=\"$PWD/target/debug/xtask rig --\" \\
        cargo test --package strata-vmm --lib --tests

It has to be the program itself: `cargo xtask` is a `cargo run` and would be sent to the runner again, for ever. A
test program finds its package's folder, the programs that it names by env!(\"CARGO_BIN_EXE_..\"), and cargo's and
nextest's variables.";

/// `cargo xtask rig`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// CPUs of the emulated host
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=255))]
    pub(super) smp: u32,
    /// Memory of the emulated host in MiB
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = value_parser!(u32).range(128..=1_048_576))]
    pub(super) mem: u32,
    /// Time limit in seconds, the boot included (about 4 s)
    #[arg(long, value_name = "S", default_value = "600", value_parser = seconds)]
    pub(super) timeout: Duration,
    /// Bring a file or folder along, to the same path or to DST
    #[arg(long, value_name = "SRC[:DST]", value_parser = OsStringValueParser::new().map(|text| Brought::parse(&text)))]
    pub(super) file: Vec<Brought>,
    /// Set a variable
    #[arg(long, value_name = "K=V", value_parser = OsStringValueParser::new().try_map(|text| variable(&text)))]
    pub(super) env: Vec<(OsString, OsString)>,
    /// Copy what the command leaves in /out into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Boot this kernel: a Debian package, a folder with boot/ and lib/modules/, a .deb, bzImage or vmlinux
    /// [default: the distribution's newest for virtual machines]
    #[arg(long, value_name = "DEB-PACKAGE|DIR|FILE")]
    pub(super) kernel: Option<Source>,
    /// Let the emulated clock count instructions, 1 ns each: the same run takes the same time, to 0.01 %
    #[arg(long)]
    pub(super) icount: bool,
    #[command(flatten)]
    pub(super) install: Install,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// A file or folder of ours, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) from: PathBuf,
    /// None for the same absolute path.
    pub(crate) to: Option<PathBuf>,
}

impl Brought {
    /// Reads `SRC[:DST]`.
    fn parse(text: &OsStr) -> Self {
        let bytes = text.as_bytes();
        // A path of ours may contain a colon; where it goes begins with a slash.
        match bytes.windows(2).rposition(|pair| pair == b":/") {
            Some(at) => Self {
                from: OsStr::from_bytes(&bytes[..at]).into(),
                to: Some(OsStr::from_bytes(&bytes[at + 1..]).into()),
            },
            None => Self { from: text.into(), to: None },
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("write it as NAME=VALUE")]
struct NoVariable;

fn variable(text: &OsStr) -> Result<(OsString, OsString), NoVariable> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=').filter(|&at| at > 0).ok_or(NoVariable)?;
    Ok((OsStr::from_bytes(&bytes[..at]).into(), OsStr::from_bytes(&bytes[at + 1..]).into()))
}

#[derive(Debug, thiserror::Error)]
#[error("give a number of seconds, at least 1")]
struct NoSeconds;

fn seconds(text: &str) -> Result<Duration, NoSeconds> {
    let seconds = text.parse().ok().filter(|&seconds: &u32| seconds > 0).ok_or(NoSeconds)?;
    Ok(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
#[path = "options_test.rs"]
mod tests;
