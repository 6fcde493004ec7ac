//! Test programs that need KVM, run in the rig: there it is one that behaves as hardware does.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use super::{Context, Report, cargo_tests};
use crate::process::chain;
use crate::rig::job::Finished;
use crate::rig::options::Brought;
use crate::rig::{Command, Lazy, Machine};
use crate::workspace::Program;

/// Where this step runs: one CPU, since Linux in a rig of two has been seen to crash after minutes of kicks under QEMU 7.2.
/// Within the limit, a million kicks have to be done on a slow computer.
const MACHINE: Machine =
    Machine { cpus: 1, memory_mib: 1024, icount: false, limit: Duration::from_secs(600) };

/// One run of a test program.
#[derive(Debug)]
struct Run {
    /// The folder of its package, and its name.
    program: (&'static str, &'static str),
    /// Which tests; all without it.
    filter: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
}

const fn all(package: &'static str, name: &'static str) -> Run {
    Run { program: (package, name), filter: None, environment: &[] }
}

const fn kicks(filter: &'static str, environment: &'static [(&'static str, &'static str)]) -> Run {
    Run { program: ("vmm", "kicks"), filter: Some(filter), environment }
}

const RUNS: &[Run] = &[
    all("vmm", "conformance"),
    all("vmm", "cassette"),
    all("vmm", "fault_injection"),
    all("vmm", "machine"),
    all("strata", "gdb"),
    // A million from four threads. Where each has to be seen before the next can come, fewer: on one CPU every one of them
    // waits for the scheduler.
    kicks("kicks_from_many_threads", &[("KICKS", "250000")]),
    kicks("a_guest_that_exits_all_the_time", &[("KICKS", "200")]),
    kicks("a_guest_that_never_exits", &[("KICKS", "200")]),
    // States that a processor refuses: hosts of other kinds than this refuse others.
    Run { program: ("cpu", "kvm"), filter: Some("lint::"), environment: &[] },
];

pub(super) fn run(context: &Context) -> Result<Report, Box<dyn Error>> {
    let rig = Lazy::new(MACHINE, !context.install.no_install);
    let rig = match rig.get() {
        Ok(rig) => rig,
        Err(why) => return Ok(Report::skipped("tests in the rig", &format!("no rig: {why}"))),
    };
    // As the step "tests" has built them.
    let selection = ["--workspace", "--all-features", "--lib", "--bins", "--tests"];
    let programs = context.workspace.build_tests(&selection)?;
    let mut commands = Vec::new();
    for run in RUNS {
        commands.push(command(run, &programs)?);
    }
    let results = rig.run_many(&commands, &files(&programs)?);
    let mut report = Report::default();
    for (run, result) in RUNS.iter().zip(results) {
        match result {
            Ok(finished) => take(&mut report, run, &finished),
            Err(broken) => {
                let why = format!("{}\n{}", chain(&broken.error), broken.tail);
                report.add(Err(format!("{} in the rig: {why}", run.program.1)));
            }
        }
    }
    Ok(report)
}

/// Counts the tests of a run. One in which nothing passed and nothing failed has looked for what is not there.
fn take(report: &mut Report, run: &Run, finished: &Finished) {
    let said = [&finished.output, &finished.error].map(|bytes| String::from_utf8_lossy(bytes));
    let mut read = cargo_tests::read(&said.concat(), finished.code == 0);
    if read.tally.passed + read.tally.failed == 0 {
        read.tally.failed = 1;
        read.output = format!("no test ran:\n{}", said.concat());
    }
    report.tally += read.tally;
    report.notes.extend(read.notes);
    if read.tally.failed > 0 {
        let how = format!("{} in the rig, exit code {}:\n", run.program.1, finished.code);
        report.output.push_str(&how);
        report.output.push_str(&read.output);
        report.output.push('\n');
    }
}

fn command(run: &Run, programs: &[Program]) -> Result<Command, String> {
    let (folder, name) = run.program;
    let is_it = |program: &&Program| {
        program.name == name && program.is_test && program.package.ends_with(Path::new("crates").join(folder))
    };
    let program = programs.iter().find(is_it).ok_or_else(|| format!("crates/{folder} has no test {name}"))?;
    let manifest = ("CARGO_MANIFEST_DIR".into(), program.package.clone().into());
    let more = run.environment.iter().map(|(name, value)| (name.into(), value.into()));
    Ok(Command {
        // A test that passes shows nothing otherwise, not even that it checked nothing.
        arguments: ["--show-output"].into_iter().chain(run.filter).map(Into::into).collect(),
        folder: program.package.clone(),
        environment: [manifest].into_iter().chain(more).collect(),
        ..Command::new(program.path.clone())
    })
}

/// What the tests open and start: their packages' folders, and strata.
fn files(programs: &[Program]) -> Result<Vec<Brought>, String> {
    let strata = programs.iter().find(|program| program.name == "strata" && !program.is_test);
    let strata = strata.ok_or("cargo has built no strata")?;
    let is_ours =
        |program: &&Program| RUNS.iter().any(|run| program.is_test && program.name == run.program.1);
    let mut paths: Vec<_> = programs.iter().filter(is_ours).map(|program| program.package.clone()).collect();
    paths.sort();
    paths.dedup();
    paths.push(strata.path.clone());
    Ok(paths.into_iter().map(|from| Brought { from, to: None }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tally;

    fn taken(code: u8, output: &str) -> Report {
        let mut report = Report::default();
        let finished = Finished {
            code,
            time: Duration::ZERO,
            output: output.into(),
            error: Vec::new(),
            files: Vec::new(),
        };
        take(&mut report, &RUNS[0], &finished);
        report
    }

    #[test]
    fn tests_are_counted() {
        let report = taken(0, "test result: ok. 3 passed; 0 failed; 0 ignored\n");
        assert_eq!(report.tally, Tally { passed: 3, failed: 0, skipped: 0 });
        let report = taken(101, "test result: FAILED. 3 passed; 1 failed; 0 ignored\n");
        assert_eq!(report.tally, Tally { passed: 3, failed: 1, skipped: 0 });
        assert!(report.output.starts_with("conformance in the rig, exit code 101:"), "{}", report.output);
    }

    #[test]
    fn a_run_without_tests_fails() {
        assert_eq!(taken(0, "test result: ok. 0 passed; 0 failed; 0 ignored\n").tally, Tally::FAILED);
        assert_eq!(taken(127, "").tally, Tally::FAILED);
    }

    #[test]
    fn a_test_that_is_gone_is_named() {
        let error = command(&RUNS[0], &[]).unwrap_err();
        assert_eq!(error, "crates/vmm has no test conformance");
    }
}
