//! The crates' runnable examples: built and run, each crate by itself.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use super::{Context, Report};
use crate::process::{capture, log_to, wait_at_most};
use crate::workspace::{Package, Program};

/// Examples there have to be: a small VMM on each layer alone, and a device of one's own on all of them.
const PROMISED: &[(&str, &str)] = &[
    ("strata-memory", "tiny_vmm"),
    ("strata-cpu", "tiny_vmm"),
    ("strata-boot", "tiny_vmm"),
    ("strata-devices", "tiny_vmm"),
    ("strata-vmm", "custom_device"),
];

/// When to kill an example.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn run(context: &Context) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    for (package, example) in PROMISED {
        let has = |own: &Package| {
            own.name == *package && own.targets.iter().any(|it| it.name == *example && it.is("example"))
        };
        if !context.workspace.packages.iter().any(has) {
            report.add(Err(format!("{package} has no example `{example}`")));
        }
    }
    for package in context.workspace.published() {
        if !package.targets.iter().any(|target| target.is("example")) {
            continue;
        }
        // Not all crates at once: examples of the same name would overwrite each other.
        let selection = ["--package", &package.name, "--examples", "--all-features"];
        let built = capture(context.workspace.cargo(["build"].into_iter().chain(selection)))?;
        if !built.status.success() {
            report.add(Err(built.output));
            continue;
        }
        for program in context.workspace.build(&selection)?.iter().filter(|it| it.package == package.folder())
        {
            report.add(run_one(context, package, program)?);
        }
    }
    Ok(report)
}

fn run_one(context: &Context, package: &Package, program: &Program) -> io::Result<Result<(), String>> {
    let log = context.workspace.target.join("example.log");
    let mut command = Command::new(&program.path);
    command.current_dir(&context.workspace.root).stdin(Stdio::null());
    log_to(&mut command, &log)?;
    let status = wait_at_most(&mut command.spawn()?, LIMIT)?;
    let how = match status {
        Some(status) if status.success() => return Ok(Ok(())),
        Some(status) => format!("ended with {status}"),
        None => format!("was still running after {} s", LIMIT.as_secs()),
    };
    let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok(Err(format!("example `{}` of {} {how}:\n{output}", program.name, package.name)))
}
