//! Crates outside the workspace, on our packages: see [`crate::consumers`].

use std::error::Error;

use super::{Context, Report, cargo_tests};
use crate::consumers::{Consumers, Versions};
use crate::process::capture;

/// With the newest dependencies.
pub(super) fn newest(context: &Context) -> Result<Report, Box<dyn Error>> {
    check(context, Versions::Newest)
}

/// With the lowest that our manifests allow.
pub(super) fn lowest(context: &Context) -> Result<Report, Box<dyn Error>> {
    check(context, Versions::Lowest)
}

fn check(context: &Context, versions: Versions) -> Result<Report, Box<dyn Error>> {
    let consumers = Consumers::lay_out(&context.workspace, versions)?;
    let mut report = Report::default();
    let resolved = capture(consumers.resolve(false))?;
    if !resolved.status.success() {
        if !capture(consumers.resolve(true))?.status.success() {
            return Ok(Report::failed(resolved.output));
        }
        let why = "the registry gave no answer; cargo's store was asked instead";
        report.notes.push(format!("not run: a look for other versions than those downloaded before: {why}"));
        report.tally.skipped += 1;
    }
    for build in consumers.builds() {
        let done = capture(build)?;
        report.add(if done.status.success() { Ok(()) } else { Err(done.output) });
    }
    for (name, tests) in consumers.tests() {
        let done = capture(tests)?;
        let own = cargo_tests::read(&done.output, done.status.success());
        report.tally += own.tally;
        report.notes.extend(own.notes);
        if !own.output.is_empty() {
            report.output.push_str(&[name, ":\n", &own.output, "\n"].concat());
        }
    }
    Ok(report)
}
