//! Strata's own tasks, as `cargo xtask TASK`: assemble and run guests, test everything, check the house's rules.
//!
//! Read it from the command line inwards: [`cli`] says which tasks exist, [`run_guest`] and [`checks`] carry them
//! out, [`guest`] knows a guest's header and how its run is compared with it, [`linux`] a distribution's kernel as a guest, [`debian`] all of one from disk, [`lint`] the house's rules, [`consumers`]
//! who uses our crates from outside.

mod bench;
mod checks;
mod cli;
mod consumers;
mod debian;
mod guest;
mod host;
mod lint;
mod linux;
mod process;
mod rig;
mod run_guest;
mod tally;
#[cfg(test)]
mod testing;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use cli::{Cli, Task};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let done = match cli.task {
        Task::RunGuest(options) => run_guest::run(&options),
        Task::Test(options) => checks::test(&options),
        Task::Ci(options) => checks::ci(&options),
        Task::Bench(options) => bench::run(&options),
        Task::MeasureLinux(options) => bench::boot::measure(&options).map(|()| true),
        Task::MeasureVirtio(options) => bench::virtio::measure(&options).map(|()| true),
        Task::Lint => checks::lint(),
        // Its exit code is the command's.
        Task::Rig(options) => return rig::run(*options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", process::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with the command line and, where the task itself is wrong, which tasks there are.
fn explain(error: &clap::Error) -> ExitCode {
    // A closed standard output or error is no reason to say anything more.
    let _ = error.print();
    if matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument) {
        eprint!("\n{}", Cli::command().render_help());
    }
    let code = rig::code_of_bad_usage().unwrap_or(2);
    if error.use_stderr() { ExitCode::from(code) } else { ExitCode::SUCCESS }
}
