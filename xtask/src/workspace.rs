//! The Cargo workspace we belong to: its packages, and the programs it builds.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// Why the workspace could not be read or built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    /// Cargo could not be started.
    #[error("could not start cargo")]
    Start { source: io::Error },
    /// Cargo's answer could not be read.
    #[error("could not read what cargo prints")]
    Read { source: io::Error },
    /// Cargo failed; it has said why on standard error.
    #[error("`cargo {arguments}` failed")]
    Failed { arguments: String },
    /// Cargo's answer is not what it should be.
    #[error("could not understand what cargo prints")]
    Parse { source: serde_json::Error },
    /// Cargo built everything, but not that.
    #[error("cargo built no program `{program}`")]
    NotBuilt { program: String },
}

/// What `cargo metadata` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) rust_version: Option<String>,
    /// Registries it may go to: absent for any, empty for none.
    pub(crate) publish: Option<Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    /// What each feature turns on, by name.
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or absent for an ordinary one.
    pub(crate) kind: Option<String>,
    pub(crate) optional: bool,
    /// Present for packages of this workspace.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

impl Package {
    pub(crate) fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }

    pub(crate) fn has_library(&self) -> bool {
        self.targets.iter().any(|target| target.is("lib"))
    }

    /// Every set of its features, in the notation of `--features`: two to the power of their number.
    pub(crate) fn feature_sets(&self) -> Vec<String> {
        let mut sets = vec![String::new()];
        // `default` is a set of others.
        for feature in self.features.keys().filter(|feature| *feature != "default") {
            let with =
                |set: &String| if set.is_empty() { feature.clone() } else { format!("{set},{feature}") };
            sets.extend(sets.iter().map(with).collect::<Vec<_>>());
        }
        sets
    }

    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }
}

impl Target {
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

/// A program that cargo built.
#[derive(Debug)]
pub(crate) struct Program {
    /// Name of the target: of the binary, the example.
    pub(crate) name: String,
    /// Folder of its package, which is where cargo would run it.
    pub(crate) package: PathBuf,
    pub(crate) path: PathBuf,
    /// Whether it has a test harness.
    pub(crate) is_test: bool,
}

/// The cargo that runs us.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

impl Workspace {
    /// The workspace of the current directory.
    pub(crate) fn find() -> Result<Self, WorkspaceError> {
        let mut command = Command::new(cargo());
        command.args(["metadata", "--no-deps", "--format-version=1"]).stderr(Stdio::inherit());
        let done = command.output().map_err(|source| WorkspaceError::Start { source })?;
        if !done.status.success() {
            return Err(WorkspaceError::Failed { arguments: "metadata".into() });
        }
        serde_json::from_slice(&done.stdout).map_err(|source| WorkspaceError::Parse { source })
    }

    /// `cargo`, in the root of the workspace.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_published())
    }

    /// The oldest compiler that all of it must build with.
    pub(crate) fn oldest_compiler(&self) -> Option<&str> {
        self.packages.iter().find_map(|package| package.rust_version.as_deref())
    }

    /// Builds strata and says where it is.
    pub(crate) fn build_strata(&self) -> Result<PathBuf, WorkspaceError> {
        let programs = self.build(&["--package", "strata-cli", "--bin", "strata"])?;
        let strata = programs.into_iter().find(|program| program.name == "strata");
        strata
            .map(|program| program.path)
            .ok_or_else(|| WorkspaceError::NotBuilt { program: "strata".into() })
    }

    /// Builds what `selection` selects and lists the programs among it.
    ///
    /// Cargo's errors and warnings go to standard error. One line there says so when there is something to build:
    /// the first build takes a minute.
    pub(crate) fn build(&self, selection: &[&str]) -> Result<Vec<Program>, WorkspaceError> {
        self.programs(&[&["build"], selection].concat())
    }

    /// Builds tests, and the programs that they start, without running them.
    pub(crate) fn build_tests(&self, selection: &[&str]) -> Result<Vec<Program>, WorkspaceError> {
        self.programs(&[&["test", "--no-run"], selection].concat())
    }

    fn programs(&self, arguments: &[&str]) -> Result<Vec<Program>, WorkspaceError> {
        let fixed = ["--quiet", "--message-format=json-render-diagnostics"];
        let mut command = self.cargo(arguments.iter().copied().chain(fixed));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|source| WorkspaceError::Start { source })?;
        let mut programs = Vec::new();
        let mut announced = false;
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let line = line.map_err(|source| WorkspaceError::Read { source })?;
            let message: Message =
                serde_json::from_str(&line).map_err(|source| WorkspaceError::Parse { source })?;
            if message.fresh == Some(false) && !announced {
                eprintln!("building: cargo {}", arguments.join(" "));
                announced = true;
            }
            programs.extend(message.into_program());
        }
        let status = child.wait().map_err(|source| WorkspaceError::Read { source })?;
        if status.success() {
            Ok(programs)
        } else {
            Err(WorkspaceError::Failed { arguments: arguments.join(" ") })
        }
    }
}

/// One line of cargo's JSON messages; those without an executable are of no interest here.
#[derive(Debug, Deserialize)]
struct Message {
    fresh: Option<bool>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

impl Message {
    fn into_program(self) -> Option<Program> {
        let package = self.manifest_path?.parent()?.to_owned();
        let is_test = self.profile.is_some_and(|profile| profile.test);
        Some(Program { name: self.target?.name, package, path: self.executable?, is_test })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_cargos_messages_only_programs_count() {
        let parse = |text| serde_json::from_str::<Message>(text).unwrap().into_program();
        let library = r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","fresh":true,
            "target":{"name":"a","kind":["lib"]},"executable":null}"#;
        let program = r#"{"reason":"compiler-artifact","manifest_path":"/w/s/Cargo.toml","fresh":true,
            "target":{"name":"strata","kind":["bin"]},"executable":"/t/debug/strata"}"#;
        assert!(parse(library).is_none());
        assert!(parse(r#"{"reason":"build-finished","success":true}"#).is_none());
        let strata = parse(program).unwrap();
        assert_eq!((strata.name.as_str(), strata.path.as_path()), ("strata", Path::new("/t/debug/strata")));
        assert_eq!(strata.package, Path::new("/w/s"));
        assert!(!strata.is_test);
        let test = program.replace("\"fresh\"", "\"profile\":{\"test\":true,\"opt_level\":\"0\"},\"fresh\"");
        assert!(parse(&test).unwrap().is_test);
    }

    #[test]
    fn every_set_of_features_is_listed_once() {
        let features = |features: &str| {
            let package = format!(
                r#"{{"name":"a","manifest_path":"/w/a/Cargo.toml","dependencies":[],"targets":[],"features":{features}}}"#
            );
            serde_json::from_str::<Package>(&package).unwrap().feature_sets()
        };
        assert_eq!(features("{}"), [""]);
        assert_eq!(features(r#"{"b":[],"c":["b"],"default":["b"]}"#), ["", "b", "c", "b,c"]);
    }

    #[test]
    fn only_an_empty_list_of_registries_means_unpublished() {
        let package = |publish: &str| -> Package {
            serde_json::from_str(&format!(
                r#"{{"name":"a","manifest_path":"/w/a/Cargo.toml","publish":{publish},"dependencies":[],"targets":[]}}"#
            ))
            .unwrap()
        };
        assert!(package("null").is_published());
        assert!(package(r#"["somewhere"]"#).is_published());
        assert!(!package("[]").is_published());
    }
}
