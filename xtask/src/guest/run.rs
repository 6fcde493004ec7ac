//! Assembles a guest, runs it in strata and says how that went.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use super::expect::deviations;
use super::report::Report;
use super::{Deviation, Guest};
use crate::host::{Host, Place, Wanted};
use crate::process::{capture, chain, log_to, wait_at_most};
use crate::rig::Lazy;
use crate::rig::job::Broken;
use crate::tally::Tally;

/// Everything needed to run guests.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) nasm: PathBuf,
    pub(crate) strata: PathBuf,
    pub(crate) host: Host,
    pub(crate) wanted: Wanted,
    /// For what can't run on this host.
    pub(crate) rig: Lazy,
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
    /// To our own standard output, as it appears; from the rig, when the guest has ended.
    Live,
    /// Kept, and quoted if strata fails.
    Captured,
}

/// How running a guest went.
#[derive(Debug)]
pub(crate) enum Outcome {
    Verified(Seen),
    Deviates(Seen, Vec<Deviation>),
    /// There is no report to compare.
    Broken(Failure),
    /// It can't be run; says why.
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
    /// What strata has to say about its end.
    pub(crate) explanation: Option<String>,
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
    #[error("the rig failed: {}{}", chain(&.0.error), quoted(&.0.tail.to_string()))]
    Rig(Arc<Broken>),
    #[error("the rig has not said how it ended")]
    NoResult,
}

fn quoted(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(":\n{}", output.trim_end()) }
}

/// The files of one run.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) image: PathBuf,
    pub(super) config: PathBuf,
    pub(super) report: PathBuf,
    log: PathBuf,
}

impl Files {
    /// Understands the report.
    pub(super) fn read(&self, text: &[u8]) -> Result<Report, Failure> {
        let path = || self.report.display().to_string();
        serde_json::from_slice(text).map_err(|source| Failure::Report { path: path(), source })
    }
}

/// A run of strata that ended by itself and wrote a report.
pub(super) struct Ended {
    pub(super) report: Report,
    pub(super) code: i32,
    pub(super) time: Duration,
}

impl Runner {
    /// Where `guest` runs.
    pub(crate) fn place(&self, guest: &Guest) -> Place {
        let needs: Vec<&str> = guest.header.needs().collect();
        self.host.place(&needs, self.wanted, || self.rig.kvm())
    }

    /// Runs `guest` with more `options` for strata, and compares the run with the guest's header.
    pub(crate) fn run(&self, guest: &Guest, show: Show, options: &[OsString]) -> (Place, Outcome) {
        let place = self.place(guest);
        let outcome = match &place {
            Place::Here => compare(guest, self.run_here(guest, show, options)),
            Place::Rig(_) => self.compare_in_rig(&[guest], show, options).remove(0),
            Place::Nowhere(reason) => Outcome::NotRun(reason.clone()),
        };
        (place, outcome)
    }

    /// Runs `guests` in one boot of the rig; gives as many outcomes.
    fn compare_in_rig(&self, guests: &[&Guest], show: Show, options: &[OsString]) -> Vec<Outcome> {
        match self.rig.get() {
            Ok(rig) => {
                let ended = self.run_in_rig(rig, guests, show, options);
                guests.iter().zip(ended).map(|(guest, ended)| compare(guest, ended)).collect()
            }
            Err(why) => guests.iter().map(|_| Outcome::NotRun(why.clone())).collect(),
        }
    }

    fn run_here(&self, guest: &Guest, show: Show, options: &[OsString]) -> Result<Ended, Failure> {
        let files = self.prepare(guest)?;
        let mut command = Command::new(&self.strata);
        command.args(Self::arguments(guest, &files, options));
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
        let report = files.read(&text)?;
        let code = status.code().ok_or(Failure::Killed { status, output })?;
        Ok(Ended { report, code, time })
    }

    /// Strata's command line.
    pub(super) fn arguments(guest: &Guest, files: &Files, options: &[OsString]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["run".into(), files.image.clone().into()];
        for (option, path) in [("--config", &files.config), ("--report", &files.report)] {
            words.extend([option.into(), path.clone().into()]);
        }
        for (at, bytes) in guest.header.expect.memory.iter().flatten() {
            words.extend(["--dump".into(), format!("{at},{}", bytes.0.len()).into()]);
        }
        // How it ended is ours to say.
        words.push("--quiet".into());
        words.extend_from_slice(options);
        words
    }

    /// Makes the image and the configuration, and removes what an earlier run left.
    pub(super) fn prepare(&self, guest: &Guest) -> Result<Files, Failure> {
        // Side by side, also those of another folder.
        let name = guest.name.replace('/', "-");
        let file = |ending: &str| self.scratch.join(format!("{name}.{ending}"));
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

    pub(super) fn files(&self, source: io::Error) -> Failure {
        Failure::Files { folder: self.scratch.display().to_string(), source }
    }
}

/// Compares a run with the guest's header.
fn compare(guest: &Guest, ended: Result<Ended, Failure>) -> Outcome {
    let Ended { report, code, time } = match ended {
        Ok(ended) => ended,
        Err(failure) => return Outcome::Broken(failure),
    };
    let found = deviations(&guest.header.expect, &report, code);
    let open_line = !report.output.is_empty() && !report.output.ends_with('\n');
    let stop = report.stop_kind().to_owned();
    let seen = Seen { stop, exits: report.exit_count, time, open_line, explanation: report.explanation };
    if found.is_empty() { Outcome::Verified(seen) } else { Outcome::Deviates(seen, found) }
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
    pub(crate) place: &'a Place,
    pub(crate) outcome: &'a Outcome,
    /// Whether it is broken in the very same words as the one before: a damaged strata breaks all of them alike.
    pub(crate) repeats: bool,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, .. } = self;
        match self.outcome {
            Outcome::Verified(seen) => write!(f, "verified  {name}: {seen}{place}"),
            Outcome::Deviates(seen, found) => {
                write!(f, "FAILED    {name}: {seen}{place}")?;
                found.iter().try_for_each(|deviation| write!(f, "\n{deviation}"))
            }
            Outcome::Broken(_) if self.repeats => write!(f, "FAILED    {name}: for the same reason"),
            Outcome::Broken(failure) => {
                write!(f, "FAILED    {name}{place}: {}", chain(failure).replace('\n', "\n      "))
            }
            Outcome::NotRun(reason) => write!(f, "not run:  {name}: {reason}"),
        }
    }
}

/// How running many guests went, and how many were run where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) tally: Tally,
    pub(crate) here: usize,
    pub(crate) in_rig: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, here, in_rig } = self;
        writeln!(f, "{here} here, {in_rig} in the rig")?;
        write!(f, "{} passed, {} failed, {} not run", tally.passed, tally.failed, tally.skipped)
    }
}

/// Runs all `guests`, giving `row` each as soon as it is done: first those that run here, then, all in one boot, those
/// that run in the rig.
pub(crate) fn run_all(
    runner: &Runner,
    guests: &[Guest],
    options: &[OsString],
    row: &mut dyn FnMut(&Row<'_>),
) -> Summary {
    let mut summary = Summary::default();
    let mut reason = None;
    let mut add = |guest: &Guest, place: &Place, outcome: &Outcome| {
        let broken = if let Outcome::Broken(failure) = outcome { Some(chain(failure)) } else { None };
        let repeats = broken.is_some() && broken == reason;
        summary.tally += outcome.tally();
        match outcome {
            Outcome::NotRun(_) => {}
            _ if *place == Place::Here => summary.here += 1,
            _ => summary.in_rig += 1,
        }
        row(&Row { name: &guest.name, place, outcome, repeats });
        reason = broken;
    };
    let mut left = Vec::new();
    for guest in guests {
        let place = runner.place(guest);
        if matches!(place, Place::Rig(_)) {
            left.push((guest, place));
            continue;
        }
        let (place, outcome) = runner.run(guest, Show::Captured, options);
        add(guest, &place, &outcome);
    }
    if left.is_empty() {
        return summary;
    }
    let in_rig: Vec<&Guest> = left.iter().map(|(guest, _)| *guest).collect();
    let outcomes = runner.compare_in_rig(&in_rig, Show::Captured, options);
    for ((guest, place), outcome) in left.iter().zip(&outcomes) {
        add(guest, place, outcome);
    }
    summary
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
