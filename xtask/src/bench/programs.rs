//! The programs that are measured, and those that measure.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{Program, Workspace, WorkspaceError};

/// Where they are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) strata: PathBuf,
    pub(super) exits: PathBuf,
    pub(super) floor: PathBuf,
    pub(super) start: PathBuf,
    pub(super) trace: PathBuf,
    pub(super) paging: PathBuf,
}

/// A release is linked with musl, whose start takes three system calls; where that target is not installed and cannot be,
/// with the GNU C library, whose start takes ten more.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"];
/// Linked statically, as a release is: the loader of shared libraries would be most of a short run.
const STATIC: &str = "build.rustflags=[\"-C\", \"target-feature=+crt-static\"]";
/// What takes precedence over that.
const OVERRIDING: [&str; 2] = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"];

/// Why there are no programs.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("{0} is set, which would replace the flags that link programs statically: unset it")]
    Flags(&'static str),
    #[error("the folder {} is not named in UTF-8", .0.display())]
    Folder(PathBuf),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

/// The first target whose standard library is there, or can be had.
fn target() -> &'static str {
    let [musl, gnu] = TARGETS;
    let is_there = || {
        let found = Command::new("rustc").args(["--print", "target-libdir", "--target", musl]).output();
        found.is_ok_and(|found| Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_dir())
    };
    // Without rustup, or without a network, there is the other one.
    let add =
        || Command::new("rustup").args(["target", "add", musl]).status().is_ok_and(|done| done.success());
    if is_there() || add() {
        return musl;
    }
    eprintln!("bench: there is no target {musl}: what follows is measured with {gnu}");
    gnu
}

/// Strata as a release has it.
pub(super) fn strata(workspace: &Workspace) -> Result<PathBuf, BuildError> {
    // By itself: the others' dependencies would turn on features that a release does not have.
    find(&build(workspace, target(), &["--package", "strata-cli", "--bin", "strata"])?, "strata")
}

/// Builds optimised and linked statically, in a folder of its own.
fn build(workspace: &Workspace, target: &str, selection: &[&str]) -> Result<Vec<Program>, BuildError> {
    if let Some(name) = OVERRIDING.into_iter().find(|name| env::var_os(name).is_some()) {
        return Err(BuildError::Flags(name));
    }
    let folder = workspace.target.join("bench");
    let folder = folder.to_str().ok_or_else(|| BuildError::Folder(folder.clone()))?;
    let fixed = ["--release", "--target", target, "--target-dir", folder, "--config", STATIC];
    Ok(workspace.build(&[&fixed, selection].concat())?)
}

fn find(programs: &[Program], name: &str) -> Result<PathBuf, BuildError> {
    let found = programs.iter().find(|program| program.name == name);
    let missing = || WorkspaceError::NotBuilt { program: name.to_owned() }.into();
    found.map(|program| program.path.clone()).ok_or_else(missing)
}

/// What is measured of virtio devices.
#[derive(Debug)]
pub(super) struct VirtioPrograms {
    pub(super) strata: PathBuf,
    /// Round trips.
    pub(super) trips: PathBuf,
    /// What a guest runs.
    pub(super) reader: PathBuf,
}

impl VirtioPrograms {
    /// Builds them.
    pub(super) fn build(workspace: &Workspace) -> Result<Self, BuildError> {
        let benches = ["--package", "strata-backends", "--bench", "virtio", "--bench", "reader"];
        let programs = build(workspace, target(), &benches)?;
        let path = |name: &str| find(&programs, name);
        Ok(Self { strata: strata(workspace)?, trips: path("virtio")?, reader: path("reader")? })
    }
}

impl Programs {
    /// Builds them.
    pub(super) fn build(workspace: &Workspace) -> Result<Self, BuildError> {
        let runs = ["--package", "strata-vmm", "--bench", "exits", "--bench", "floor", "--bench", "start"];
        let mut programs = build(workspace, target(), &runs)?;
        programs.extend(build(workspace, target(), &["--package", "strata-inspect", "--bench", "trace"])?);
        // musl's allocator would be most of this one: it maps every larger table anew. Strata brings another (its `main`).
        let [_, gnu] = TARGETS;
        programs.extend(build(workspace, gnu, &["--package", "strata-cpu", "--bench", "paging"])?);
        let path = |name: &str| find(&programs, name);
        Ok(Self {
            strata: strata(workspace)?,
            exits: path("exits")?,
            floor: path("floor")?,
            start: path("start")?,
            trace: path("trace")?,
            paging: path("paging")?,
        })
    }
}
