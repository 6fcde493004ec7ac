//! Crates as somebody outside would write them, on our packages as they would be published.
//!
//! Their sources lie in xtask/consumers/. They are laid out anew under the target directory, in a workspace of their
//! own so that cargo does not take them for ours, and name our crates by version number, as anybody does;
//! `[patch.crates-io]` puts the unpacked packages where the registry would have them. What builds there needs nothing that
//! is only in our working tree, and [`Versions::Lowest`] shows that our manifests do not promise too much.

mod files;
mod manifest;

use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::workspace::{Workspace, cargo};

/// Which of the versions that the manifests allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// The newest that the compiler can build, as `cargo add` would get them today.
    Newest,
    /// For each dependency of ours the lowest that its requirement allows. What those depend on is as new as can be: not
    /// every crate's own requirements are true, and they are not ours to mend.
    Lowest,
}

/// Why the consumers could not be laid out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsumersError {
    /// A file or folder could not be read or written.
    #[error("could not read or write {path}")]
    File { path: String, source: io::Error },
    /// A package's file is not there.
    #[error("{path} is missing: the step `packages` makes it, and has to pass first")]
    NotPackaged { path: String },
    /// `tar` did not do it.
    #[error("could not unpack {path} with tar:\n{output}")]
    Unpack { path: String, output: String },
    /// A manifest is no TOML.
    #[error("could not understand {path}")]
    Parse { path: String, source: Box<toml::de::Error> },
    /// A manifest lacks something that it must have.
    #[error("{path} has no {what}")]
    Lacks { path: String, what: &'static str },
}

/// A workspace of consumers, ready to be built.
#[derive(Debug)]
pub(crate) struct Consumers {
    versions: Versions,
    folder: PathBuf,
    /// Where all of them are built, with whichever versions: much is the same.
    target: PathBuf,
    /// Folders of the consumers.
    members: Vec<String>,
    /// Folders of packages that nobody can depend on, as they are programs.
    programs: Vec<String>,
}

impl Consumers {
    /// Lays them out.
    pub(crate) fn lay_out(workspace: &Workspace, versions: Versions) -> Result<Self, ConsumersError> {
        let common = workspace.target.join("consumers");
        let folder = common.join(match versions {
            Versions::Newest => "newest",
            Versions::Lowest => "lowest",
        });
        let source = workspace.root.join("xtask/consumers");
        let mut manifest = manifest::Manifest::read(&source.join("Cargo.toml"))?;
        let (members, mut programs) = (manifest.members()?, Vec::new());
        for member in &members {
            files::copy(&source.join(member), &folder.join(member))?;
        }
        manifest.inherit(&workspace.root.join("Cargo.toml"))?;
        for package in workspace.published() {
            let name = format!("{}-{}", package.name, package.version);
            let unpacked = format!("packages/{name}");
            let packed = workspace.target.join("package").join(format!("{name}.crate"));
            files::unpack(&packed, &folder.join(&unpacked))?;
            if package.has_library() {
                manifest.patch(&package.name, &unpacked)?;
            } else {
                programs.push(unpacked.clone());
            }
            // cargo takes the lowest versions for what members of the workspace depend on, and only for that.
            if versions == Versions::Lowest || !package.has_library() {
                manifest.add_member(&unpacked)?;
            }
        }
        files::write(&folder.join("Cargo.toml"), &manifest.to_string())?;
        Ok(Self { versions, folder, target: common.join("target"), members, programs })
    }

    /// Tests of each consumer by itself, by its name: features that another one turns on do not count.
    pub(crate) fn tests(&self) -> impl Iterator<Item = (&str, Command)> {
        self.members.iter().map(|member| {
            let mut command = self.cargo("test", member);
            command.args(["--lib", "--no-fail-fast", "--", "--show-output"]);
            (member.as_str(), command)
        })
    }

    /// Builds of our programs.
    pub(crate) fn builds(&self) -> impl Iterator<Item = Command> {
        self.programs.iter().map(|program| self.cargo("build", program))
    }

    /// Makes Cargo.lock anew. With `offline`, of what cargo has downloaded before.
    pub(crate) fn resolve(&self, offline: bool) -> Command {
        let mut command = Command::new(cargo());
        command.arg("generate-lockfile").current_dir(&self.folder);
        if self.versions == Versions::Lowest {
            // The stable cargo has the option too, and lets it be used only so. It is for this one command, which
            // compiles nothing; the lock file that it makes is an ordinary one.
            command.arg("-Zdirect-minimal-versions").env("RUSTC_BOOTSTRAP", "1");
        }
        if offline {
            command.arg("--offline");
        }
        command
    }

    /// `cargo TASK` for the package in `folder`, with the versions of Cargo.lock.
    fn cargo(&self, task: &str, folder: &str) -> Command {
        let mut command = Command::new(cargo());
        command.args([task, "--locked", "--target-dir"]).arg(&self.target);
        command.current_dir(self.folder.join(folder));
        command
    }
}
