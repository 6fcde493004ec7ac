//! Assembles a guest, runs it in strata and says how that went.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use super::expect::deviations;
use super::report::Report;
use super::{Deviation, Guest};
use crate::host::{Host, Place};
use crate::process::{capture, chain, log_to, wait_at_most};
use crate::tally::Tally;

/// Everything needed to run guests.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) nasm: PathBuf,
    pub(crate) strata: PathBuf,
    pub(crate) host: Host,
    /// The folder guests/, where they find what they include.
    pub(crate) guests: PathBuf,
    /// Where images, configurations and reports go.
    pub(crate) scratch: PathBuf,
    /// When to kill strata. Guests that never stop have a budget; this is for a strata that never stops.
    pub(crate) limit: Duration,
}

/// Where the guest's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// To our own standard output, as it appears.
    Live,
    /// To a file, quoted if strata fails.
    Captured,
}

/// How running a guest went.
#[derive(Debug)]
pub(crate) enum Outcome {
    Verified(Seen),
    Deviates(Seen, Vec<Deviation>),
    /// There is no report to compare.
    Broken(Failure),
    /// It can't be run here; says why.
    NotRun(String),
}

/// A run in short.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) stop: String,
    pub(crate) exits: u64,
    pub(crate) time: Duration,
    /// Whether the output did not end a line.
    pub(crate) open_line: bool,
}

/// Why a run gave no report to compare.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("could not write or read the run's files in {folder}")]
    Files { folder: String, source: io::Error },
    #[error("could not start {program}")]
    Start { program: String, source: io::Error },
    #[error("nasm refuses it:\n{output}")]
    Assemble { output: String },
    #[error("strata ended with {status} and wrote no report{}", quoted(.output))]
    NoReport { status: ExitStatus, output: String },
    #[error("strata was killed ({status}) after writing its report{}", quoted(.output))]
    Killed { status: ExitStatus, output: String },
    #[error("killed: it was still running after {} s{}", .limit.as_secs(), quoted(.output))]
    TooLong { limit: Duration, output: String },
    #[error("could not understand strata's report {path}")]
    Report { path: String, source: serde_json::Error },
    #[error("could not write the header's [machine] as a configuration")]
    Config { source: toml::ser::Error },
}

fn quoted(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(":\n{}", output.trim_end()) }
}

/// The files of one run.
#[derive(Debug)]
struct Files {
    image: PathBuf,
    config: PathBuf,
    report: PathBuf,
    log: PathBuf,
}

/// A run of strata that ended by itself and wrote a report.
struct Ended {
    report: Report,
    code: i32,
    time: Duration,
}

impl Runner {
    /// Runs `guest` with more `options` for strata, and compares the run with the guest's header.
    pub(crate) fn run(&self, guest: &Guest, show: Show, options: &[OsString]) -> Outcome {
        // The one place that decides where a guest runs: another place is another arm.
        let ended = match self.host.place(guest.header.needs()) {
            Place::Here => self.run_here(guest, show, options),
            Place::Nowhere(reason) => return Outcome::NotRun(reason),
        };
        match ended {
            Ok(Ended { report, code, time }) => {
                let found = deviations(&guest.header.expect, &report, code);
                let open_line = !report.output.is_empty() && !report.output.ends_with('\n');
                let stop = report.stop_kind().to_owned();
                let seen = Seen { stop, exits: report.exit_count, time, open_line };
                if found.is_empty() { Outcome::Verified(seen) } else { Outcome::Deviates(seen, found) }
            }
            Err(failure) => Outcome::Broken(failure),
        }
    }

    fn run_here(&self, guest: &Guest, show: Show, options: &[OsString]) -> Result<Ended, Failure> {
        let files = self.prepare(guest)?;
        let mut command = Command::new(&self.strata);
        command.arg("run").arg(&files.image).arg("--config").arg(&files.config);
        command.arg("--report").arg(&files.report);
        for (at, bytes) in guest.header.expect.memory.iter().flatten() {
            command.arg("--dump").arg(format!("{at},{}", bytes.0.len()));
        }
        // How it ended is ours to say.
        command.arg("--quiet").args(options);
        command.stdin(if guest.header.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        if show == Show::Captured {
            log_to(&mut command, &files.log).map_err(|source| self.files(source))?;
        }
        let start = Instant::now();
        let mut child = command.spawn().map_err(|source| start_of(&self.strata, source))?;
        feed(&mut child, guest.header.stdin.as_deref());
        let status = wait_at_most(&mut child, self.limit).map_err(|source| self.files(source))?;
        let time = start.elapsed();
        // Shown live, it has been seen already.
        let log = if show == Show::Captured { fs::read(&files.log).unwrap_or_default() } else { Vec::new() };
        let output = String::from_utf8_lossy(&log).into_owned();
        let status = status.ok_or_else(|| Failure::TooLong { limit: self.limit, output: output.clone() })?;
        let Ok(text) = fs::read(&files.report) else {
            return Err(Failure::NoReport { status, output });
        };
        let path = files.report.display().to_string();
        let report = serde_json::from_slice(&text).map_err(|source| Failure::Report { path, source })?;
        let code = status.code().ok_or(Failure::Killed { status, output })?;
        Ok(Ended { report, code, time })
    }

    /// Makes the image and the configuration, and removes what an earlier run left.
    fn prepare(&self, guest: &Guest) -> Result<Files, Failure> {
        let file = |ending: &str| self.scratch.join(format!("{}.{ending}", guest.name));
        let files =
            Files { image: file("bin"), config: file("toml"), report: file("json"), log: file("log") };
        let failed = |source| self.files(source);
        fs::create_dir_all(&self.scratch).map_err(failed)?;
        let config = toml::to_string(&guest.header.machine).map_err(|source| Failure::Config { source })?;
        fs::write(&files.config, config).map_err(failed)?;
        for old in [&files.image, &files.report] {
            match fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        self.assemble(&guest.path, &files.image)?;
        Ok(files)
    }

    fn assemble(&self, source: &Path, image: &Path) -> Result<(), Failure> {
        let mut command = Command::new(&self.nasm);
        command.args(["-f", "bin", "-Werror"]);
        for folder in [&self.guests, &self.guests.join("include")] {
            // nasm puts the file's name right behind, without a separator of its own.
            command.arg("-I").arg(format!("{}/", folder.display()));
        }
        command.arg("-o").arg(image).arg(source);
        let done = capture(command).map_err(|source| start_of(&self.nasm, source))?;
        if done.status.success() {
            Ok(())
        } else {
            Err(Failure::Assemble { output: done.output.trim_end().to_owned() })
        }
    }

    fn files(&self, source: io::Error) -> Failure {
        Failure::Files { folder: self.scratch.display().to_string(), source }
    }
}

fn start_of(program: &Path, source: io::Error) -> Failure {
    Failure::Start { program: program.display().to_string(), source }
}

/// Writes `text` to the child's standard input and closes it.
fn feed(child: &mut Child, text: Option<&str>) {
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), text) {
        let text = text.to_owned();
        // By a thread of its own: a guest need not read, and the pipe holds only so much. A guest that ends
        // without reading everything is no failure of ours.
        thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.exits == 1 { "" } else { "s" };
        write!(f, "{}, {} exit{plural}, {:.3} s", self.stop, self.exits, self.time.as_secs_f64())
    }
}

impl Outcome {
    pub(crate) fn tally(&self) -> Tally {
        match self {
            Self::Verified(_) => Tally::PASSED,
            Self::Deviates(..) | Self::Broken(_) => Tally::FAILED,
            Self::NotRun(_) => Tally::SKIPPED,
        }
    }
}

/// A guest's line in the list of all.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) outcome: &'a Outcome,
    /// Whether it is broken in the very same words as the one before: a host without KVM breaks all of them alike.
    pub(crate) repeats: bool,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match self.outcome {
            Outcome::Verified(seen) => write!(f, "verified  {name}: {seen}"),
            Outcome::Deviates(seen, found) => {
                write!(f, "FAILED    {name}: {seen}")?;
                found.iter().try_for_each(|deviation| write!(f, "\n{deviation}"))
            }
            Outcome::Broken(_) if self.repeats => write!(f, "FAILED    {name}: for the same reason"),
            Outcome::Broken(failure) => {
                write!(f, "FAILED    {name}: {}", chain(failure).replace('\n', "\n      "))
            }
            Outcome::NotRun(reason) => write!(f, "not run:  {name}: {reason}"),
        }
    }
}

/// Runs all `guests`, giving `row` each as soon as it is done.
pub(crate) fn run_all(
    runner: &Runner,
    guests: &[Guest],
    options: &[OsString],
    row: &mut dyn FnMut(&Row<'_>),
) -> Tally {
    let mut tally = Tally::default();
    let mut reason = None;
    for guest in guests {
        let outcome = runner.run(guest, Show::Captured, options);
        tally += outcome.tally();
        let broken = if let Outcome::Broken(failure) = &outcome { Some(chain(failure)) } else { None };
        let repeats = broken.is_some() && broken == reason;
        row(&Row { name: &guest.name, outcome: &outcome, repeats });
        reason = broken;
    }
    tally
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
