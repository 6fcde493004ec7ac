//! Options that look into a guest, and the commands that stand for one of them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::Error;
use strata_inspect::gdb::Address;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};

use super::RunOptions;

#[derive(Debug, Args)]
#[command(next_help_heading = "Inspection")]
pub(crate) struct InspectOptions {
    /// Print a line for every exit, on standard error or to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) trace: Option<PathBuf>,

    /// How a trace is written; by default as FILE ends: .jsonl, .perfetto, else text
    #[arg(long, value_name = "HOW", requires = "trace")]
    pub(crate) trace_format: Option<TraceFormat>,

    /// Trace only these exits, as in `kind=mmio,vcpu=0` or `port=0x3f8-0x3ff`
    #[arg(long, value_name = "WHICH", requires = "trace")]
    pub(crate) trace_filter: Option<String>,

    /// Print how many exits of each kind there were and what they cost, on standard error or to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) stats: Option<PathBuf>,

    /// Draw which functions of the guest its exits come from, as an SVG flame graph
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,

    /// Weigh what a profile draws by the time that the host took, not by the number of exits
    #[arg(long, requires = "profile")]
    pub(crate) profile_time: bool,

    /// Print the map of the guest's memory as it is at the end, on standard output or to FILE; an SVG if that is its ending
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) map: Option<PathBuf>,

    /// Write a core dump if the guest ends abnormally, and at SIGUSR1
    #[arg(long, value_name = "FILE")]
    pub(crate) core: Option<PathBuf>,

    /// Where the guest's symbols are, if not in its image: an ELF file or a System.map
    #[arg(long, value_name = "FILE")]
    pub(crate) symbols: Option<PathBuf>,

    /// Serve gdb at a port of 127.0.0.1, at ADDRESS:PORT, or at a Unix socket
    #[arg(long, value_name = "PORT|SOCKET", conflicts_with_all = ["step", "breakpoints"])]
    pub(crate) gdb: Option<Address>,

    /// Do not begin before a debugger lets the guest go on
    #[arg(long, requires = "gdb")]
    pub(crate) wait: bool,

    /// Keep no record of the last exits, and do not explain an abnormal end
    #[arg(long)]
    pub(crate) no_recorder: bool,

    /// Show this many of the last exits after an abnormal end, at most 256
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) last_exits: usize,
}

impl InspectOptions {
    /// Whether more than the flight recorder watches the exits.
    pub(crate) fn watches(&self) -> bool {
        self.trace.is_some() || self.stats.is_some() || self.profile.is_some()
    }
}

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceFormat {
    /// A line an exit, for people.
    Text,
    /// JSON Lines.
    Json,
    /// The trace event format that Perfetto and Chrome draw.
    Perfetto,
}

/// What is typed after a command that stands for an option of `run`. It is parsed as `run`'s: describing all of its options
/// once more for each such command would be a good part of a short run.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Rest {
    /// The image, and any option of `strata run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "IMAGE AND OPTIONS")]
    rest: Vec<OsString>,
}

/// Runs a guest, with this option of `strata run` set
#[derive(Debug, Parser)]
#[command(args_override_self = true, arg_required_else_help = true)]
struct Run {
    #[command(flatten)]
    options: RunOptions,
}

impl Rest {
    /// `strata trace`.
    pub(crate) fn trace(&self) -> Result<RunOptions, Error> {
        let mut options = self.parse("strata trace")?;
        options.inspect.trace.get_or_insert_with(|| "-".into());
        Ok(options)
    }

    /// `strata profile`.
    pub(crate) fn profile(&self) -> Result<RunOptions, Error> {
        let mut options = self.parse("strata profile")?;
        options.inspect.profile.get_or_insert_with(|| "profile.svg".into());
        Ok(options)
    }

    /// `strata map`.
    pub(crate) fn map(&self) -> Result<RunOptions, Error> {
        let mut options = self.parse("strata map")?;
        options.inspect.map.get_or_insert_with(|| "-".into());
        Ok(options)
    }

    fn parse(&self, name: &'static str) -> Result<RunOptions, Error> {
        let words = std::iter::once(OsString::from(name)).chain(self.rest.iter().cloned());
        let mut matches = Run::command().name(name).bin_name(name).try_get_matches_from(words)?;
        Run::from_arg_matches_mut(&mut matches).map(|run| run.options)
    }
}
