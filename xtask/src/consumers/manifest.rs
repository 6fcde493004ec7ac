//! The manifest of the consumers' workspace.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use toml::{Table, Value};

use super::ConsumersError;

/// A workspace's manifest, to be completed.
#[derive(Debug)]
pub(super) struct Manifest {
    path: PathBuf,
    table: Table,
}

impl Manifest {
    pub(super) fn read(path: &Path) -> Result<Self, ConsumersError> {
        let shown = || path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|source| ConsumersError::File { path: shown(), source })?;
        let table = text
            .parse()
            .map_err(|source| ConsumersError::Parse { path: shown(), source: Box::new(source) })?;
        Ok(Self { path: path.to_owned(), table })
    }

    fn lacks(&self, what: &'static str) -> ConsumersError {
        ConsumersError::Lacks { path: self.path.display().to_string(), what }
    }

    /// The folders that `members` lists.
    pub(super) fn members(&self) -> Result<Vec<String>, ConsumersError> {
        let members = self.table.get("workspace").and_then(|workspace| workspace.get("members"));
        let members = members.and_then(Value::as_array).ok_or_else(|| self.lacks("workspace.members"))?;
        Ok(members.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    pub(super) fn add_member(&mut self, folder: &str) -> Result<(), ConsumersError> {
        let members = self
            .table
            .get_mut("workspace")
            .and_then(|workspace| workspace.get_mut("members")?.as_array_mut());
        match members {
            Some(members) => members.push(folder.into()),
            None => return Err(self.lacks("workspace.members")),
        }
        Ok(())
    }

    /// Takes `[workspace.dependencies]` from the manifest at `path`, without any `path`: what is left of ours is what
    /// somebody outside would write.
    pub(super) fn inherit(&mut self, path: &Path) -> Result<(), ConsumersError> {
        let theirs = Self::read(path)?;
        let dependencies = theirs.table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
        let mut dependencies = dependencies
            .and_then(Value::as_table)
            .cloned()
            .ok_or_else(|| theirs.lacks("workspace.dependencies"))?;
        for (_, dependency) in &mut dependencies {
            if let Some(dependency) = dependency.as_table_mut() {
                dependency.remove("path");
            }
        }
        self.table_at("workspace")?.insert("dependencies".into(), dependencies.into());
        Ok(())
    }

    /// Has `package` be taken from `folder` where the registry is asked for it.
    pub(super) fn patch(&mut self, package: &str, folder: &str) -> Result<(), ConsumersError> {
        let from = Table::from_iter([("path".to_owned(), folder.into())]);
        let lacks = self.lacks("table patch.crates-io");
        let registry = self.table_at("patch")?.entry("crates-io").or_insert_with(|| Table::new().into());
        registry.as_table_mut().ok_or(lacks)?.insert(package.to_owned(), from.into());
        Ok(())
    }

    /// The table `name`, made if nothing is there.
    fn table_at(&mut self, name: &'static str) -> Result<&mut Table, ConsumersError> {
        let lacks = self.lacks(name);
        self.table.entry(name).or_insert_with(|| Table::new().into()).as_table_mut().ok_or(lacks)
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "# Made by `cargo xtask test` from {}.\n{}", self.path.display(), self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn ours_is_named_by_version_and_found_by_patch() {
        let folder = Folder::new();
        let source = folder.file("a/Cargo.toml", "[workspace]\nmembers = [\"x\"]\n");
        let root = "[workspace.dependencies]\nours = { path = \"o\", version = \"1.2.0\" }\nother = \"3\"";
        let mut manifest = Manifest::read(&source).unwrap();
        manifest.inherit(&folder.file("Cargo.toml", root)).unwrap();
        manifest.patch("ours", "packages/ours-1.2.0").unwrap();
        manifest.add_member("y").unwrap();
        assert_eq!(manifest.members().unwrap(), ["x", "y"]);
        let expected =
            "members = [\"x\", \"y\"]\n[dependencies]\nours = { version = \"1.2.0\" }\nother = \"3\"";
        let expected: Table = expected.parse().unwrap();
        let written: Table = manifest.to_string().parse().unwrap();
        assert_eq!(written["workspace"], expected.into());
        assert_eq!(written["patch"]["crates-io"]["ours"]["path"].as_str(), Some("packages/ours-1.2.0"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = Folder::new();
        let error = Manifest::read(&folder.file("Cargo.toml", "[package]")).unwrap().members().unwrap_err();
        assert!(error.to_string().ends_with("Cargo.toml has no workspace.members"), "{error}");
        let error = Manifest::read(&folder.file("Cargo.toml", "[")).unwrap_err();
        assert!(matches!(error, ConsumersError::Parse { .. }), "{error}");
    }
}
