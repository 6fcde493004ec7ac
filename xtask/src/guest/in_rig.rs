//! Runs guests in the rig: all of them in one boot.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use super::Guest;
use super::run::{Ended, Failure, Files, Runner, Show};
use crate::rig::job::Finished;
use crate::rig::options::Brought;
use crate::rig::{self, Command, Rig};

/// Signals that end a program that does something wrong, and the one that ends it from outside: SIGILL, SIGABRT,
/// SIGBUS, SIGFPE, SIGKILL, SIGSEGV.
const DEADLY: [u8; 6] = [4, 6, 7, 8, 9, 11];

impl Runner {
    /// Runs `guests` in `rig` as they would be run here, in this order.
    pub(super) fn run_in_rig(
        &self,
        rig: &Rig,
        guests: &[&Guest],
        show: Show,
        options: &[OsString],
    ) -> Vec<Result<Ended, Failure>> {
        let mut files = rig::files_named(options);
        let mut commands = Vec::new();
        let mut prepared = Vec::new();
        for guest in guests {
            let made = self.prepare(guest);
            if let Ok(made) = &made {
                files.extend([&made.image, &made.config].map(|path| same_place(path)));
                commands.push(self.command_in_rig(guest, made, options));
            }
            prepared.push(made);
        }
        let mut results = rig.run_many(&commands, &files).into_iter();
        let mut end = |guest: &Guest, files: Files| {
            // There are as many results as commands.
            let finished =
                results.next().map_or_else(|| Err(Failure::NoResult), |it| it.map_err(Failure::Rig))?;
            self.end_in_rig(guest, &files, finished, show)
        };
        let both = guests.iter().zip(prepared);
        both.map(|(guest, files)| files.and_then(|files| end(guest, files))).collect()
    }

    fn command_in_rig(&self, guest: &Guest, files: &Files, options: &[OsString]) -> Command {
        Command {
            arguments: Self::arguments(guest, files, options),
            // Paths among the options are relative to where we are. The report's folder is made by its image.
            folder: env::current_dir().unwrap_or_else(|_| "/".into()),
            stdin: guest.header.stdin.clone().unwrap_or_default().into_bytes(),
            limit: Some(self.limit),
            collect: vec![files.report.clone()],
            ..Command::new(self.strata.clone())
        }
    }

    /// Takes what came back for what a run here would have left.
    fn end_in_rig(
        &self,
        guest: &Guest,
        files: &Files,
        finished: Finished,
        show: Show,
    ) -> Result<Ended, Failure> {
        let Finished { code, time, output: said, error, files: collected } = finished;
        let mut output = String::new();
        if show == Show::Live {
            // That nobody reads it is no failure.
            let _ = io::stdout().write_all(&said).and_then(|()| io::stderr().write_all(&error));
        } else {
            output = [said, error].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        }
        // A shell's code for a program that was killed may also be a guest's own.
        let signal = code.checked_sub(128).filter(|signal| DEADLY.contains(signal));
        let signal = signal.filter(|_| guest.header.expect.exit_code != Some(code.into()));
        if signal == Some(9) && time >= self.limit {
            return Err(Failure::TooLong { limit: self.limit, output });
        }
        let status = ExitStatus::from_raw(signal.map_or(i32::from(code) << 8, i32::from));
        let Some(report) = collected.into_iter().next().flatten() else {
            return Err(Failure::NoReport { status, output });
        };
        // To be read by people, as that of a run here.
        fs::write(&files.report, &report).map_err(|source| self.files(source))?;
        let report = files.read(&report)?;
        if signal.is_some() {
            return Err(Failure::Killed { status, output });
        }
        Ok(Ended { report, code: code.into(), time })
    }
}

fn same_place(path: &Path) -> Brought {
    Brought { from: path.to_owned(), to: None }
}
