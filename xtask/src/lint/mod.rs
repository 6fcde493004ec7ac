//! The house's rules, as far as a program can check them and neither rustc nor clippy does.

mod dependencies;
mod guests;
mod kvm;
mod leftovers;
mod manifests;
mod safety;
mod source;

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::workspace::Workspace;
use source::Source;

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: PathBuf,
    /// Counted from 1; none if it is about the whole file.
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn new(path: impl AsRef<Path>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self { path: path.as_ref().to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map_or(String::new(), |line| format!(":{line}"));
        write!(f, "{}{line}: {}", self.path.display(), self.message)
    }
}

/// Checks every rule; paths are from the workspace's root.
pub(crate) fn check(workspace: &Workspace) -> io::Result<Vec<Finding>> {
    let mut found = dependencies::check(&workspace.packages);
    found.extend(kvm::check_manifests(&workspace.packages));
    found.extend(manifests::check(workspace));
    found.extend(guests::check(&workspace.root.join("guests")));
    for folder in ["crates", "xtask"] {
        for path in source::rust_files(&workspace.root.join(folder))? {
            let shown = path.strip_prefix(&workspace.root).unwrap_or(&path).display().to_string();
            let source = Source::new(shown, &fs::read_to_string(&path)?);
            found.extend(kvm::check(&source));
            found.extend(safety::check(&source));
            found.extend(leftovers::check(&source));
        }
    }
    for finding in &mut found {
        if let Ok(path) = finding.path.strip_prefix(&workspace.root) {
            finding.path = path.to_owned();
        }
    }
    found.sort();
    Ok(found)
}
