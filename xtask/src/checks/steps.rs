//! The steps of `cargo xtask test`.

use std::error::Error;
use std::process::Command;
use std::{fs, io};

use super::{
    Context, Report, Step, cargo_tests, consumers, debian_tests, device_tests, examples, guests, linux_tests,
    os_tests, readme, rig_tests,
};
use crate::lint as rules;
use crate::process::capture;
use crate::tools::{GDB, IASL, NASM, PASST, STRACE, Tools};
use crate::workspace::Package;

/// Whether a step belongs to `--quick` too: what seldom fails alone, or takes long, does not.
const QUICK: bool = true;
const THOROUGH: bool = false;

const STEPS: &[(bool, Step)] = &[
    (QUICK, Step { name: "tools", run: |context| Ok(tools(context)) }),
    (QUICK, Step { name: "format", run: format }),
    (QUICK, Step { name: "house rules", run: house_rules }),
    (QUICK, Step { name: "clippy", run: clippy }),
    (QUICK, Step { name: "build", run: build }),
    (QUICK, Step { name: "tests", run: cargo_tests::run }),
    (THOROUGH, Step { name: "documented examples", run: cargo_tests::run_documented }),
    (QUICK, Step { name: "guests", run: guests::here }),
    (THOROUGH, Step { name: "guests in the rig", run: guests::in_rig }),
    (QUICK, Step { name: "wrong guests fail", run: guests::wrong }),
    (THOROUGH, Step { name: "tests in the rig", run: rig_tests::run }),
    (THOROUGH, Step { name: "Linux in the rig", run: linux_tests::run }),
    (THOROUGH, Step { name: "devices in the rig", run: device_tests::run }),
    (THOROUGH, Step { name: "Debian in the rig", run: debian_tests::run }),
    (THOROUGH, Step { name: "outside OS project", run: os_tests::run }),
    (THOROUGH, Step { name: "examples", run: examples::run }),
    (THOROUGH, Step { name: "crates alone", run: alone }),
    (THOROUGH, Step { name: "documentation", run: documentation }),
    (THOROUGH, Step { name: "commands in docs", run: readme::check }),
    (THOROUGH, Step { name: "packages", run: packages }),
    (THOROUGH, Step { name: "consumers, newest", run: consumers::newest }),
    (THOROUGH, Step { name: "consumers, lowest", run: consumers::lowest }),
];

/// Every step.
pub(super) fn all() -> Vec<Step> {
    STEPS.iter().map(|(_, step)| *step).collect()
}

/// The steps that are done in under a minute once everything is built.
pub(super) fn quick() -> Vec<Step> {
    STEPS.iter().filter(|(quick, _)| *quick == QUICK).map(|(_, step)| *step).collect()
}

/// Runs `cargo ARGUMENTS`; it has to succeed.
pub(super) fn cargo(context: &Context, arguments: &[&str]) -> Result<Report, Box<dyn Error>> {
    command(context.workspace.cargo(arguments.iter().copied()))
}

/// Runs a command; it has to succeed.
pub(super) fn command(command: Command) -> Result<Report, Box<dyn Error>> {
    let done = capture(command)?;
    Ok(if done.status.success() { Report::passed() } else { Report::failed(done.output) })
}

fn tools(context: &Context) -> Report {
    let tools = Tools::of_this_process(!context.install.no_install);
    let mut report = Report::default();
    for tool in [&NASM, &STRACE, &IASL, &PASST, &GDB] {
        report.add(tools.ensure(tool).map(drop).map_err(|error| error.to_string()));
    }
    report
}

/// Ours, and the consumers, which are no members of the workspace.
fn format(context: &Context) -> Result<Report, Box<dyn Error>> {
    let mut fmt = context.workspace.cargo(["fmt", "--all", "--check", "--", "--color=never"]);
    for consumer in fs::read_dir(context.workspace.root.join("xtask/consumers"))? {
        let file = consumer?.path().join("src/lib.rs");
        if file.exists() {
            fmt.arg(file);
        }
    }
    command(fmt)
}

fn house_rules(context: &Context) -> Result<Report, Box<dyn Error>> {
    let found = rules::check(&context.workspace)?;
    if found.is_empty() {
        return Ok(Report::passed());
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    Ok(Report::failed(lines.join("\n")))
}

fn clippy(context: &Context) -> Result<Report, Box<dyn Error>> {
    cargo(context, &["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny=warnings"])
}

/// Builds strata as people get it: with its default features and nothing of the other packages.
pub(super) fn build(context: &Context) -> Result<Report, Box<dyn Error>> {
    cargo(context, &["build", "--package", "strata-cli"])
}

/// Each library as somebody else would take it: by itself, with its default features and with every set of them.
///
/// Tests come along with the default features only; with the others, they could turn features on that the library
/// itself does not ask for.
fn alone(context: &Context) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    for package in context.workspace.published().filter(|package| package.has_library()) {
        let Package { name, .. } = package;
        let sets = package.feature_sets();
        let with = |set| vec!["--lib", "--no-default-features", "--features", set];
        let selections = sets.iter().map(|set| with(set.as_str()));
        for features in std::iter::once(vec!["--all-targets"]).chain(selections) {
            let arguments =
                [&["clippy", "--package", name], &features[..], &["--", "--deny=warnings"]].concat();
            let done = capture(context.workspace.cargo(arguments.iter().copied()))?;
            let failed = || format!("cargo {}\n{}", arguments.join(" "), done.output);
            report.add(if done.status.success() { Ok(()) } else { Err(failed()) });
        }
    }
    Ok(report)
}

fn documentation(context: &Context) -> Result<Report, Box<dyn Error>> {
    // Ours only: not what its dependencies document.
    let mut doc = context.workspace.cargo(["doc", "--workspace", "--no-deps", "--all-features"]);
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    command(doc)
}

/// Every crate can be packaged. That siblings are in no registry yet is no hindrance: those packaged in the same run
/// are taken.
fn packages(context: &Context) -> Result<Report, Box<dyn Error>> {
    // Steps that take the packages must not find those of another time.
    match fs::remove_dir_all(context.workspace.target.join("package")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let report = package(context, &["--no-verify"])?;
    if report.tally.failed > 0 {
        // cargo asks the registry what it knows already; without a network it need not.
        let offline = package(context, &["--no-verify", "--offline"])?;
        if offline.tally.failed == 0 {
            return Ok(offline);
        }
    }
    Ok(report)
}

/// `cargo package` for all that is published, with what is in the working tree.
pub(super) fn package(context: &Context, options: &[&str]) -> Result<Report, Box<dyn Error>> {
    let mut arguments = vec!["package", "--allow-dirty"];
    for package in context.workspace.published() {
        arguments.extend(["--package", &package.name]);
    }
    arguments.extend(options);
    cargo(context, &arguments)
}
