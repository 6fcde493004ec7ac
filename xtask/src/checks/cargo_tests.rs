//! `cargo test`, with every test counted, and those that could not check anything counted apart.

use std::error::Error;

use super::{Context, Report};
use crate::process::capture;
use crate::tally::Tally;

/// How a test that needs something the host lacks starts the line that says so, before it returns.
const NOT_RUN: &str = "not run: ";

/// Unit and integration tests of all crates.
pub(super) fn run(context: &Context) -> Result<Report, Box<dyn Error>> {
    test(context, &["--lib", "--bins", "--tests"])
}

/// Examples in documentation.
pub(super) fn run_documented(context: &Context) -> Result<Report, Box<dyn Error>> {
    test(context, &["--doc"])
}

fn test(context: &Context, selection: &[&str]) -> Result<Report, Box<dyn Error>> {
    let mut arguments = vec!["test", "--workspace", "--all-features", "--no-fail-fast"];
    arguments.extend(selection);
    // Without this a test that passes shows nothing, not even that it checked nothing.
    arguments.extend(["--", "--show-output"]);
    let done = capture(context.workspace.cargo(arguments))?;
    Ok(read(&done.output, done.status.success()))
}

/// Reads what the test programs print.
pub(super) fn read(output: &str, succeeded: bool) -> Report {
    let mut report = Report::default();
    // The test whose output we are in, until it has been counted.
    let mut current = None;
    // Tests that cargo counts as passed, but which checked nothing.
    let mut empty = 0;
    for line in output.lines() {
        if let Some(test) = line.strip_prefix("---- ").and_then(|line| line.split_once(" stdout ----")) {
            current = Some(test.0);
        } else if let Some(what) = line.strip_prefix(NOT_RUN) {
            if let Some(test) = current.take() {
                empty += 1;
                report.notes.push(format!("{NOT_RUN}{test}: {what}"));
            }
        } else if let Some((test, reason)) = line.split_once(" ... ignored")
            && let Some(test) = test.strip_prefix("test ")
        {
            report.notes.push(format!("{NOT_RUN}{test}{}", reason.replacen(", ", ": ", 1)));
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            report.tally += counted(counts);
            current = None;
        }
    }
    report.tally.passed = report.tally.passed.saturating_sub(empty);
    report.tally.skipped += empty;
    if !succeeded {
        // Something that is no test failed: most likely it does not compile.
        report.tally.failed = report.tally.failed.max(1);
        let passing = |line: &&str| !(line.starts_with("test ") && line.ends_with(" ... ok"));
        report.output = output.lines().filter(passing).collect::<Vec<_>>().join("\n");
    }
    report
}

/// Reads `ok. 3 passed; 0 failed; 1 ignored; 0 measured; ..`.
fn counted(counts: &str) -> Tally {
    let of = |what: &str| {
        let words: Vec<&str> = counts.split([' ', ';']).collect();
        let at = words.iter().position(|word| *word == what)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    let of = |what| of(what).unwrap_or(0);
    Tally { passed: of("passed"), failed: of("failed"), skipped: of("ignored") }
}

#[cfg(test)]
#[path = "cargo_tests_test.rs"]
mod tests;
