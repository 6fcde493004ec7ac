//! The command line: our options, the program, and behind it what cargo and nextest say to a test program.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser, ValueEnum};
use strata_vmm::config::{ByteSize, Duration};

/// Runs programs without an operating system for cargo: each test in a KVM machine of its own.
///
/// As `runner` in .cargo/config.toml, this is what `cargo test` and `cargo run` start.
#[derive(Debug, Clone, Parser)]
#[command(name = "strata-test", version, max_term_width = 120, args_override_self = true)]
pub struct Options {
    /// How long each test may take, and a program that is no test: 500ms, 5s, 2m [default: 60s for tests]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// RAM of each machine [default: 128M]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Virtual processors of each machine
    #[arg(long, value_name = "COUNT")]
    pub cpus: Option<u32>,
    /// The kernel command line of programs without strata-guest's tests
    #[arg(long, value_name = "TEXT")]
    pub cmdline: Option<String>,
    /// The port of the isa-debug-exit device [default: 0xf4]
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub debug_exit: Option<u16>,
    /// Success is a line of output that this regular expression is found in; the machine ends with that
    #[arg(long, value_name = "REGEX")]
    pub expect: Option<String>,
    /// A status that is success; may be repeated [default: 33, and 0]
    #[arg(long, value_name = "STATUS")]
    pub success: Vec<u8>,
    /// Makes a status another exit code; may be repeated
    #[arg(long, value_name = "STATUS=CODE", value_parser = pair)]
    pub map: Vec<(u8, u8)>,
    /// Any key of a machine's configuration, as of `strata run`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// The program, and what it is told as a test program: `strata-test PROGRAM --help` lists that
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM [ARGUMENTS]"
    )]
    pub command: Vec<OsString>,
}

impl Options {
    /// The program.
    pub fn program(&self) -> PathBuf {
        self.command.first().map(PathBuf::from).unwrap_or_default()
    }

    /// What follows it.
    pub fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.command.iter().skip(1).cloned()
    }
}

fn port(text: &str) -> Result<u16, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "write a port such as 0xf4".into())
}

fn pair(text: &str) -> Result<(u8, u8), String> {
    let parse = || {
        let (status, code) = text.split_once('=')?;
        Some((status.trim().parse().ok()?, code.trim().parse().ok()?))
    };
    parse().ok_or_else(|| "write a status and an exit code, both 0 to 255, such as 33=0".into())
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write a key and a value, such as memory.size=64M")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// The command line of Rust's own test programs, as far as it means something here.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "PROGRAM", no_binary_name = true, max_term_width = 120, disable_version_flag = true)]
#[allow(clippy::struct_excessive_bools, reason = "they are options")]
pub struct Harness {
    /// Runs tests whose names contain one of these
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Takes filters for whole names
    #[arg(long)]
    pub exact: bool,
    /// Leaves out tests whose names contain this; may be repeated
    #[arg(long, value_name = "FILTER")]
    pub skip: Vec<String>,
    /// Runs ignored tests only
    #[arg(long, conflicts_with = "include_ignored")]
    pub ignored: bool,
    /// Runs ignored tests too
    #[arg(long)]
    pub include_ignored: bool,
    /// Lists the tests
    #[arg(long)]
    pub list: bool,
    /// Shows output as it comes, not only that of failed tests
    #[arg(long, visible_alias = "no-capture", env = "RUST_TEST_NOCAPTURE", value_parser = clap::builder::FalseyValueParser::new())]
    pub nocapture: bool,
    /// Shows the output of tests that have passed too
    #[arg(long)]
    pub show_output: bool,
    /// How many machines run at a time [default: as many as there are processors]
    #[arg(long, value_name = "COUNT", env = "RUST_TEST_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub test_threads: Option<u16>,
    /// One character a test
    #[arg(short, long)]
    pub quiet: bool,
    /// How results are written
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Whether there are colours
    #[arg(long, value_enum, default_value_t)]
    pub color: Color,
    /// Accepted, and of no meaning here
    #[arg(long, hide = true)]
    pub test: bool,
    /// Accepted: there are no benchmarks
    #[arg(long, hide = true)]
    pub bench: bool,
    /// Accepted: a panic ends its machine, and nothing else
    #[arg(long, hide = true)]
    pub force_run_in_process: bool,
    /// Accepted for options that are unstable
    #[arg(short = 'Z', hide = true)]
    pub unstable: Vec<String>,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A line a test
    #[default]
    Pretty,
    /// A character a test
    Terse,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Harness {
    /// Understands what a test program is told.
    ///
    /// # Errors
    ///
    /// As clap's; an option of ours is refused with the words where it belongs.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments).map_err(|error| match misplaced(&error) {
            Some(option) => Self::command().error(
                ErrorKind::UnknownArgument,
                format!(
                    "'{option}' is an option of strata-test, not of the program: write it before the program \
                     (in .cargo/config.toml: runner = [\"strata-test\", \"{option}\", ..])"
                ),
            ),
            None => error,
        })
    }

    /// Whether a test is one character.
    pub fn is_terse(&self) -> bool {
        self.quiet || self.format == Format::Terse
    }
}

/// The option that is not the test program's, if it is one of [`Options`].
fn misplaced(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = option.strip_prefix("--")?;
    let is_ours = Options::command().get_arguments().any(|ours| ours.get_long() == Some(name));
    (error.kind() == ErrorKind::UnknownArgument && is_ours).then(|| option.clone())
}

#[cfg(test)]
#[path = "cli_test.rs"]
mod tests;
