//! `strata`: runs virtual machines on KVM, from the layers of the Strata crates.

#![forbid(unsafe_code)]

mod cli;
mod counts;
mod death;
mod doctor;
mod dump;
mod escape;
mod gdb;
mod keyboard;
mod mapping;
mod message;
mod output;
mod report;
mod run;
mod settings;
mod signals;
mod terminal;
mod tracing;
mod unhurried;
mod watch;

use std::error::Error;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};

use cli::{Cli, Command, RunOptions};

/// musl's own allocator maps and unmaps pages for every few allocations: two dozen system calls in a start. This one
/// takes 64 KiB at a time (docs/performance.md).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Something was wrong with what the user gave: options, configuration, image.
const BAD_INPUT: u8 = 2;
/// The host could not do it.
const HOST_FAILED: u8 = 4;

fn main() -> ExitCode {
    // The process ends soon: taking the description of all options apart would be a tenth of a short run.
    let mut options = ManuallyDrop::new(Cli::command());
    let parsed = options.try_get_matches_from_mut(std::env::args_os());
    let cli = match parsed.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    message::mention_warnings();
    let told = |ended: Result<u8, run::Error>| {
        ended.map_err(|error| {
            let code = if error.is_the_hosts() { HOST_FAILED } else { BAD_INPUT };
            (code, in_one_line(&error))
        })
    };
    let again = |options: Result<RunOptions, clap::Error>, run: fn(&RunOptions) -> _| match options {
        Ok(options) => told(run(&options)),
        Err(error) => Ok(refuse(&error)),
    };
    let result = match &cli.command {
        Command::Run(options) => told(run::run(options)),
        Command::Trace(rest) => again(rest.trace(), run::run),
        Command::Profile(rest) => again(rest.profile(), run::run),
        Command::Map(rest) => again(rest.map(), run::map),
        Command::Doctor(options) => doctor::doctor(options).map_err(|error| (BAD_INPUT, in_one_line(&error))),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err((code, message)) => {
            message::say(&message);
            ExitCode::from(code)
        }
    }
}

/// Says what is wrong with the command line, or what was asked about it.
fn refuse(error: &clap::Error) -> u8 {
    // Help and version go to standard output; a reader that has gone away is no reason to complain.
    let _ = error.print();
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked_for { 0 } else { BAD_INPUT }
}

/// An error and its causes, outermost first.
fn in_one_line(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
