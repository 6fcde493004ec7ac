//! The programs that are measured, and those that measure.

use std::env;
use std::path::PathBuf;

use crate::workspace::{Workspace, WorkspaceError};

/// Where they are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) strata: PathBuf,
    pub(super) exits: PathBuf,
    pub(super) floor: PathBuf,
    pub(super) start: PathBuf,
    pub(super) paging: PathBuf,
}

const TARGET: &str = "x86_64-unknown-linux-gnu";
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

impl Programs {
    /// Builds them optimised and linked statically, in a folder of their own.
    pub(super) fn build(workspace: &Workspace) -> Result<Self, BuildError> {
        if let Some(name) = OVERRIDING.into_iter().find(|name| env::var_os(name).is_some()) {
            return Err(BuildError::Flags(name));
        }
        let folder = workspace.target.join("bench");
        let folder = folder.to_str().ok_or_else(|| BuildError::Folder(folder.clone()))?;
        let fixed = ["--release", "--target", TARGET, "--target-dir", folder, "--config", STATIC];
        let build = |selection: &[&str]| workspace.build(&[&fixed, selection].concat());
        // By itself: the others' dependencies would turn on features that a release does not have.
        let mut programs = build(&["--package", "strata-cli", "--bin", "strata"])?;
        programs.extend(build(&[
            "--package",
            "strata-vmm",
            "--package",
            "strata-cpu",
            "--bench",
            "exits",
            "--bench",
            "floor",
            "--bench",
            "start",
            "--bench",
            "paging",
        ])?);
        let path = |name: &str| {
            let found = programs.iter().find(|program| program.name == name);
            let missing = || WorkspaceError::NotBuilt { program: name.to_owned() };
            found.map(|program| program.path.clone()).ok_or_else(missing)
        };
        Ok(Self {
            strata: path("strata")?,
            exits: path("exits")?,
            floor: path("floor")?,
            start: path("start")?,
            paging: path("paging")?,
        })
    }
}
