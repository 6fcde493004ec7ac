//! The task `rig`: from the command line to an exit code.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::job::{Broken, Job, RunError, absolute};
use super::options::{Brought, Options};
use super::session::SessionError;
use super::tree::named_in;
use super::{Command, Machine, Rig};
use crate::process::chain;
use crate::tools::Tools;

const TIME_LIMIT: u8 = 124;
const FAILED: u8 = 125;

/// Variables that a test program may ask for: cargo's and nextest's, those of Rust's test harness, and the path by
/// which `ldd` has found shared libraries.
const PASSED_ON: [&str; 4] = ["CARGO", "NEXTEST", "RUST_", "LD_LIBRARY_PATH"];

/// The exit code for a command line that is wrong, if that is one for the rig: 2 would be the command's.
pub(crate) fn code_of_bad_usage() -> Option<u8> {
    (env::args_os().nth(1)? == "rig").then_some(FAILED)
}

/// Runs the task. Whatever exit code the command has is ours.
pub(crate) fn run(options: Options) -> ExitCode {
    let tools = Tools::of_this_process(!options.install.no_install);
    let machine = Machine {
        cpus: options.smp,
        memory_mib: options.mem,
        icount: options.icount,
        limit: options.timeout,
    };
    let rig = match Rig::set_up(machine, options.kernel.as_ref(), &tools) {
        Ok(rig) => rig,
        Err(error) => {
            eprintln!("rig: {}", chain(&error));
            return FAILED.into();
        }
    };
    let done = job(options).map_err(Broken::from);
    match done.and_then(|job| rig.run(&job, &mut io::stdout(), &mut io::stderr())) {
        Ok(code) => code.into(),
        Err(Broken { error, tail }) => {
            eprint!("rig: {}\n{tail}", chain(&error));
            match error {
                RunError::Session(SessionError::TimeLimit(_)) => TIME_LIMIT.into(),
                _ => FAILED.into(),
            }
        }
    }
}

fn job(options: Options) -> Result<Job, RunError> {
    let mut words = options.command.into_iter();
    let program = words.next().unwrap_or_default();
    let mut environment: Vec<(OsString, OsString)> =
        env::vars_os().filter(|(name, _)| is_passed_on(name)).collect();
    // The environment has no order of its own, and a run is to be repeatable.
    environment.sort();
    let mut files = options.file;
    files.extend(files_of_test(Path::new(&program), &environment)?);
    environment.extend(options.env);
    let folder = env::current_dir().map_err(RunError::CurrentFolder)?;
    let command = Command { arguments: words.collect(), folder, environment, ..Command::new(program) };
    Ok(Job { command, files, out: options.out, input: None })
}

fn is_passed_on(name: &OsStr) -> bool {
    PASSED_ON.iter().any(|start| name.as_bytes().starts_with(start.as_bytes()))
}

/// What comes along with a test program of cargo's: its package's folder, and programs of the workspace.
fn files_of_test(program: &Path, environment: &[(OsString, OsString)]) -> Result<Vec<Brought>, RunError> {
    let path = absolute(program)?;
    let Some(deps) = path.parent().filter(|folder| folder.file_name() == Some(OsStr::new("deps"))) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (name, value) in environment {
        let name = name.as_bytes();
        let is_program =
            [&b"CARGO_BIN_EXE_"[..], b"NEXTEST_BIN_EXE_"].iter().any(|start| name.starts_with(start));
        if is_program || name == b"CARGO_MANIFEST_DIR" {
            found.push(PathBuf::from(value));
        }
    }
    // A test that was compiled by an older cargo, or that runs by itself, has only the names within it.
    let naming = fs::read(&path).unwrap_or_default();
    let built = deps.parent().and_then(|folder| fs::read_dir(folder).ok());
    let programs = built.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    found.extend(named_in(&naming, programs.filter(|path| path.is_file())));
    found.retain(|path| path.exists());
    Ok(found.into_iter().map(|from| Brought { from, to: None }).collect())
}

#[cfg(test)]
#[path = "task_test.rs"]
mod tests;
