//! The steps that only `cargo xtask ci` has: those that take long, or need tools that not everybody has.

use std::error::Error;
use std::io;
use std::process::Command;

use super::steps::{cargo, command, package};
use super::toolchain::Toolchain;
use super::{Context, Report, Step};
use crate::process::capture;

/// Crates whose tests need no system calls that miri doesn't know. Tests that do say `cfg_attr(miri, ignore = "..")`.
const MIRI: &[&str] = &["strata-memory", "strata-cpu", "strata-boot", "strata-devices"];

pub(super) fn all() -> Vec<Step> {
    vec![
        Step { name: "packages build", run: |context| package(context, &[]) },
        Step { name: "oldest compiler", run: oldest_compiler },
        Step { name: "features", run: features },
        Step { name: "compatibility", run: compatibility },
        Step { name: "dependencies", run: dependencies },
        Step { name: "miri", run: miri },
    ]
}

fn oldest_compiler(context: &Context) -> Result<Report, Box<dyn Error>> {
    let oldest = context.workspace.oldest_compiler().ok_or("no package states its `rust-version`")?;
    let Some(toolchain) = Toolchain::find(oldest) else {
        let reason =
            format!("it is not installed; type: rustup toolchain install {oldest} --profile minimal");
        return Ok(Report::skipped(&format!("check with Rust {oldest}"), &reason));
    };
    let mut check = toolchain.command("cargo");
    check
        .args(["check", "--workspace", "--all-targets", "--all-features"])
        .current_dir(&context.workspace.root);
    command(check)
}

/// Every set of features of every package; the step "crates alone" has the same for libraries, by our own list of sets.
fn features(context: &Context) -> Result<Report, Box<dyn Error>> {
    if !has(context, "hack")? {
        let reason = "cargo-hack is not installed; type: cargo install --locked cargo-hack";
        return Ok(Report::skipped("every set of features, by cargo-hack", reason));
    }
    // No `--no-dev-deps`: it rewrites manifests, and since `check` leaves tests out, it would make no difference.
    cargo(context, &["hack", "check", "--workspace", "--exclude", "xtask", "--feature-powerset"])
}

/// What somebody wrote for the last release still builds, as far as its version promises.
fn compatibility(context: &Context) -> Result<Report, Box<dyn Error>> {
    let what = "compatibility with the last release";
    if !has(context, "semver-checks")? {
        let reason = "cargo-semver-checks is not installed; type: cargo install --locked cargo-semver-checks";
        return Ok(Report::skipped(what, reason));
    }
    let mut describe = Command::new("git");
    describe.args(["describe", "--tags", "--abbrev=0", "--match=v[0-9]*"]);
    describe.current_dir(&context.workspace.root);
    let release = capture(describe)?;
    if !release.status.success() {
        let reason = "there is no release yet to compare with: no tag v.. in the history that is here";
        return Ok(Report::skipped(what, reason));
    }
    let mut arguments = vec!["semver-checks", "--baseline-rev", release.output.trim(), "--all-features"];
    for package in context.workspace.published().filter(|package| package.has_library()) {
        arguments.extend(["--package", &package.name]);
    }
    cargo(context, &arguments)
}

/// Whether cargo has this subcommand.
fn has(context: &Context, subcommand: &str) -> io::Result<bool> {
    Ok(capture(context.workspace.cargo([subcommand, "--version"]))?.status.success())
}

/// Licences, bans and sources as deny.toml says.
fn dependencies(context: &Context) -> Result<Report, Box<dyn Error>> {
    if !has(context, "deny")? {
        let reason = "cargo-deny is not installed; type: cargo install --locked cargo-deny";
        return Ok(Report::skipped("licences and sources of dependencies", reason));
    }
    cargo(context, &["deny", "--all-features", "check", "licenses", "bans", "sources"])
}

fn miri(context: &Context) -> Result<Report, Box<dyn Error>> {
    let with_miri = Toolchain::find("nightly").filter(|nightly| {
        let mut version = nightly.command("cargo");
        version.args(["miri", "--version"]);
        capture(version).is_ok_and(|done| done.status.success())
    });
    let Some(nightly) = with_miri else {
        let reason = "it is not installed; type: rustup toolchain install nightly --component miri,rust-src";
        return Ok(Report::skipped("unit tests in miri", reason));
    };
    let mut test = nightly.command("cargo");
    test.args(["miri", "test", "--lib", "--all-features"]).current_dir(&context.workspace.root);
    for package in MIRI {
        test.args(["--package", package]);
    }
    // Property tests: a few cases each, interpreted; they look at the clock and at the working directory.
    test.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "4");
    command(test)
}
