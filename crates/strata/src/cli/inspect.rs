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
    ///
    /// It is written beside the guest, which does not wait for it: what cannot be written fast enough is left out and
    /// counted.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) trace: Option<PathBuf>,

    /// text, json or perfetto; by default as FILE ends
    ///
    /// `text` has a line an exit, for people; `json` an object a line, for programs, and is the default for FILE.jsonl;
    /// `perfetto` is what ui.perfetto.dev and Chrome draw, and the default for FILE.perfetto.
    #[arg(long, value_name = "FORMAT", requires = "trace", hide_possible_values = true)]
    pub(crate) trace_format: Option<TraceFormat>,

    /// Trace only these exits, as in `kind=mmio,vcpu=0`
    ///
    /// KEY=VALUE with commas between. Of one key the values are alternatives; of different keys all must hold.
    /// kind=in, out, mmio-read, mmio-write, hlt, shutdown, debug, system-event, fail-entry, internal-error, memory-fault
    /// or unknown; also pio, mmio, read and write. port=0x3f8-0x3ff, or one port. address=0xd0000000-0xd0000fff, or one
    /// address. device=com1, a name that the trace shows, or nobody. vcpu=0.
    #[arg(long, value_name = "WHICH", requires = "trace")]
    pub(crate) trace_filter: Option<String>,

    /// Count the exits and what they cost, on standard error or in FILE
    ///
    /// By kind, device and address, with a histogram of what they cost; FILE.json is for programs.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) stats: Option<PathBuf>,

    /// Draw which functions of the guest its exits come from
    ///
    /// As a flame graph, an SVG; FILE.folded has its stacks as text, a line each. Callers are found by frame pointers: build
    /// a guest in Rust with `-Cforce-frame-pointers=yes`, one in C with `-fno-omit-frame-pointer`.
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,

    /// Weigh a profile by the host's time, not by the number of exits
    #[arg(long, requires = "profile")]
    pub(crate) profile_time: bool,

    /// Draw the map of memory at the end, on standard output or to FILE
    ///
    /// The guest-physical memory and what lies where, and the first vCPU's page tables as regions; FILE.svg is a picture.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) map: Option<PathBuf>,

    /// Write a core dump if the guest ends abnormally, and at SIGUSR1
    ///
    /// An ELF file for gdb, with the registers of every vCPU. At SIGUSR1 the guest stands still while it is written, and
    /// goes on. It takes the place of an older one when it is whole.
    #[arg(long, value_name = "FILE")]
    pub(crate) core: Option<PathBuf>,

    /// Where the guest's symbols are, if not in its image
    ///
    /// An ELF file, or a System.map.
    #[arg(long, value_name = "FILE")]
    pub(crate) symbols: Option<PathBuf>,

    /// Serve gdb at a port of 127.0.0.1, ADDRESS:PORT or a Unix socket
    #[arg(long, value_name = "PORT|SOCKET", conflicts_with_all = ["step", "breakpoints"])]
    pub(crate) gdb: Option<Address>,

    /// Do not begin before a debugger lets the guest go on
    #[arg(long, requires = "gdb")]
    pub(crate) wait: bool,

    /// Keep no record of the last exits, and explain no abnormal end
    #[arg(long)]
    pub(crate) no_recorder: bool,

    /// Show N of the last exits at an abnormal end
    ///
    /// 256 are kept.
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) last_exits: usize,
}

impl InspectOptions {
    /// Whether more than the flight recorder watches the exits.
    pub(crate) fn watches(&self) -> bool {
        self.trace.is_some() || self.stats.is_some() || self.profile.is_some()
    }

    /// Whether there is something to write, or to tidy up, when the guest has ended.
    pub(crate) fn is_to_finish(&self) -> bool {
        self.watches() || self.map.is_some() || self.core.is_some() || self.gdb.is_some()
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

/// `strata run` under another name.
#[derive(Debug, Parser)]
#[command(args_override_self = true, arg_required_else_help = true)]
struct Run {
    #[command(flatten)]
    options: RunOptions,
}

/// A command that stands for an option of `run`.
struct Alias {
    name: &'static str,
    option: &'static str,
    about: &'static str,
    /// Below its help.
    after: &'static str,
}

const TRACE: Alias = Alias {
    name: "strata trace",
    option: "--trace=-",
    about: "Runs a guest and prints every exit: `strata run --trace`, with all options of `strata run`",
    after: "\
Examples:
   strata trace kernel.elf
   strata trace kernel.elf --trace-filter kind=mmio,device=rtc
   strata trace kernel.elf --trace=run.perfetto",
};

const PROFILE: Alias = Alias {
    name: "strata profile",
    option: "--profile=profile.svg",
    about: "Runs a guest and draws where its exits come from: `strata run --profile profile.svg`, with all options of \
            `strata run`",
    after: "\
Examples:
   strata profile kernel.elf
   strata profile kernel.elf --profile kernel.svg --profile-time
   strata profile kernel.elf --profile stacks.folded",
};

const MAP: Alias = Alias {
    name: "strata map",
    option: "--map=-",
    about: "Shows a guest's memory before its first instruction; takes all options of `strata run`",
    after: "\
Examples:
   strata map kernel.elf
   strata map vmlinuz --initrd initrd.img --memory 4G --map=memory.svg",
};

impl Rest {
    /// `strata trace`.
    pub(crate) fn trace(&self) -> Result<RunOptions, Error> {
        self.parse(&TRACE)
    }

    /// `strata profile`.
    pub(crate) fn profile(&self) -> Result<RunOptions, Error> {
        self.parse(&PROFILE)
    }

    /// `strata map`.
    pub(crate) fn map(&self) -> Result<RunOptions, Error> {
        self.parse(&MAP)
    }

    fn parse(&self, alias: &Alias) -> Result<RunOptions, Error> {
        // Before what was typed, which has the last word. Of a command alone the help is shown.
        let option = (!self.rest.is_empty()).then_some(alias.option);
        let words = [alias.name].into_iter().chain(option).map(OsString::from);
        let command = Run::command().name(alias.name).bin_name(alias.name).about(alias.about);
        let mut matches =
            command.after_help(alias.after).try_get_matches_from(words.chain(self.rest.iter().cloned()))?;
        Run::from_arg_matches_mut(&mut matches).map(|run| run.options)
    }
}
