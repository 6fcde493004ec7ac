//! The crates' runnable examples: built and run, each crate by itself; in the rig where there is no KVM here.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use super::{Context, Report};
use crate::host::Host;
use crate::process::{capture, chain, log_to, wait_at_most};
use crate::rig::{self, Lazy, Machine};
use crate::tally::Tally;
use crate::workspace::{Package, Program};

/// Examples there have to be: a small VMM on each layer alone, and a device of one's own on all of them.
const PROMISED: &[(&str, &str)] = &[
    ("strata-memory", "tiny_vmm"),
    ("strata-cpu", "tiny_vmm"),
    ("strata-boot", "tiny_vmm"),
    ("strata-devices", "tiny_vmm"),
    ("strata-backends", "tiny_vmm"),
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
    let has_kvm = Host::detect(Path::new("/sys"), Path::new("/dev")).kvm.is_ok();
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
        let mut programs = context.workspace.build(&selection)?;
        programs.retain(|program| program.package == package.folder());
        if !has_kvm {
            run_in_rig(context, package, &programs, &mut report);
            continue;
        }
        for program in &programs {
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
    Ok(Err(bad(package, program, &how, &fs::read(&log)?)))
}

fn bad(package: &Package, program: &Program, how: &str, output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    format!("example `{}` of {} {how}:\n{output}", program.name, package.name)
}

/// The examples of a package, all in one boot.
fn run_in_rig(context: &Context, package: &Package, programs: &[Program], report: &mut Report) {
    let lazy = Lazy::new(Machine::default(), !context.install.no_install);
    let rig = match lazy.get() {
        Ok(rig) => rig,
        Err(why) => {
            for Program { name, .. } in programs {
                report.tally += Tally::SKIPPED;
                report.notes.push(format!("not run: example `{name}` of {}: no rig: {why}", package.name));
            }
            return;
        }
    };
    let command = |program: &Program| rig::Command {
        folder: context.workspace.root.clone(),
        limit: Some(LIMIT),
        ..rig::Command::new(program.path.clone())
    };
    let commands: Vec<_> = programs.iter().map(command).collect();
    for (program, result) in programs.iter().zip(rig.run_many(&commands, &[])) {
        report.add(match result {
            Ok(finished) if finished.code == 0 => Ok(()),
            Ok(finished) => {
                let how = format!("ended in the rig with exit code {}", finished.code);
                Err(bad(package, program, &how, &[finished.output, finished.error].concat()))
            }
            Err(broken) => {
                let how = format!("could not be run in the rig: {}", chain(&broken.error));
                Err(bad(package, program, &how, broken.tail.to_string().as_bytes()))
            }
        });
    }
}
