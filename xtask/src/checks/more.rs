//! The steps that only `cargo xtask ci` has: those that take long, or need tools that not everybody has.

use std::error::Error;

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

/// Licences, bans and sources as deny.toml says.
fn dependencies(context: &Context) -> Result<Report, Box<dyn Error>> {
    if !capture(context.workspace.cargo(["deny", "--version"]))?.status.success() {
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
