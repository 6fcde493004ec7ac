//! `cargo xtask test`, `ci` and `lint`: named steps, each of which goes on where the one before failed.

mod cargo_tests;
mod consumers;
mod debian_tests;
mod device_tests;
mod examples;
mod guests;
mod linux_tests;
mod more;
mod os_tests;
mod page;
mod readme;
mod rig_tests;
mod steps;
mod toolchain;

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;

use crate::cli::{Ci, Install, Test};
use crate::lint as rules;
use crate::process::{chain, say};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// What the steps work on.
#[derive(Debug)]
struct Context {
    workspace: Workspace,
    install: Install,
    /// Whether what this host can't run is run in the rig.
    with_rig: bool,
}

/// How one step went.
#[derive(Debug, Default)]
struct Report {
    tally: Tally,
    /// Lines to be read even if nothing failed: what was not checked, and why.
    notes: Vec<String>,
    /// To be read if something failed.
    output: String,
}

impl Report {
    fn passed() -> Self {
        Self { tally: Tally::PASSED, ..Self::default() }
    }

    fn failed(output: impl Into<String>) -> Self {
        Self { tally: Tally::FAILED, output: output.into(), ..Self::default() }
    }

    fn skipped(what: &str, reason: &str) -> Self {
        let notes = vec![format!("not run: {what}: {reason}")];
        Self { tally: Tally::SKIPPED, notes, ..Self::default() }
    }

    /// One check more: passed, or failed with what there is to say about it.
    fn add(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.tally += Tally::PASSED,
            Err(text) => {
                self.tally += Tally::FAILED;
                self.output.push_str(&text);
                self.output.push('\n');
            }
        }
    }
}

/// One step. An error is a failure too.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    run: fn(&Context) -> Result<Report, Box<dyn Error>>,
}

/// Runs everything that has to pass; `false` says that something failed.
pub(crate) fn test(options: &Test) -> Result<bool, Box<dyn Error>> {
    let mut steps = if options.quick { steps::quick() } else { steps::all() };
    if let Some(unknown) = options.only.iter().find(|name| steps.iter().all(|step| step.name != **name)) {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        return Err(format!("there is no step {unknown:?}; there are: {}", names.join(", ")).into());
    }
    if !options.only.is_empty() {
        steps.retain(|step| options.only.iter().any(|name| step.name == name));
    }
    run(options.install, !options.quick, &steps)
}

/// Runs everything that has to pass, and what needs more tools.
pub(crate) fn ci(options: &Ci) -> Result<bool, Box<dyn Error>> {
    run(options.install, true, &[steps::all(), more::all()].concat())
}

/// Checks the house's rules alone.
pub(crate) fn lint() -> Result<bool, Box<dyn Error>> {
    let found = rules::check(&Workspace::find()?)?;
    for finding in &found {
        say(finding);
    }
    match found.len() {
        0 => say("the house's rules are kept"),
        count => say(format_args!("{count} broken")),
    }
    Ok(found.is_empty())
}

fn run(install: Install, with_rig: bool, steps: &[Step]) -> Result<bool, Box<dyn Error>> {
    let context = Context { workspace: Workspace::find()?, install, with_rig };
    let tally = run_steps(&context, steps, &mut io::stdout().lock())?;
    Ok(tally.failed == 0)
}

/// Runs `steps` and writes a line for each, its output where it failed, and a last line that sums up.
fn run_steps(context: &Context, steps: &[Step], out: &mut dyn Write) -> io::Result<Tally> {
    let mut sum = Tally::default();
    let mut failed = Vec::new();
    for step in steps {
        // Said before it runs: some take minutes.
        write!(out, "{:<20}", step.name)?;
        out.flush()?;
        let start = Instant::now();
        let report = (step.run)(context).unwrap_or_else(|error| Report::failed(chain(&*error)));
        let verdict = match report.tally {
            Tally { failed: 0, passed: 0, .. } => "not run",
            Tally { failed: 0, .. } => "ok",
            _ => "FAILED",
        };
        let count = if report.tally.passed > 1 { format!("  ({})", report.tally) } else { String::new() };
        writeln!(out, "{verdict:<8}{:7.1} s{count}", start.elapsed().as_secs_f64())?;
        for note in &report.notes {
            writeln!(out, "    {note}")?;
        }
        if report.tally.failed > 0 {
            failed.push(step.name);
            writeln!(out, "{}", report.output.trim_end())?;
        }
        sum += report.tally;
    }
    if !failed.is_empty() {
        writeln!(out, "failed: {}", failed.join(", "))?;
    }
    writeln!(out, "{sum}")?;
    Ok(sum)
}

#[cfg(test)]
#[path = "mod_test.rs"]
mod tests;
