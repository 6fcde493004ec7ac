//! Each published package has what it must be published with, and the oldest compiler is stated alike everywhere.

use std::fs;
use std::path::Path;

use super::Finding;
use crate::workspace::{Package, Workspace};

const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
/// Files other than manifests that name the oldest compiler.
const NAME_THE_COMPILER: [&str; 2] = ["clippy.toml", ".github/workflows/ci.yml"];

pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in workspace.published() {
        found.extend(files(&workspace.root, package));
    }
    found.extend(compiler(workspace));
    found
}

/// A README of its own, and the licences' texts: a package must have them inside.
fn files(root: &Path, package: &Package) -> Vec<Finding> {
    let folder = package.folder();
    let mut found = Vec::new();
    if fs::read_to_string(folder.join("README.md")).map_or(true, |text| text.trim().is_empty()) {
        found.push(Finding::new(&package.manifest_path, None, "has no README.md beside it"));
    }
    for licence in LICENCES {
        let (own, ours) = (fs::read(folder.join(licence)), fs::read(root.join(licence)));
        if !matches!((own, ours), (Ok(own), Ok(ours)) if own == ours) {
            let message = format!("has no {licence} beside it; make it a symbolic link to the workspace's");
            found.push(Finding::new(&package.manifest_path, None, message));
        }
    }
    found
}

fn compiler(workspace: &Workspace) -> Vec<Finding> {
    let mut found = Vec::new();
    let oldest = workspace.oldest_compiler();
    for package in &workspace.packages {
        if package.rust_version.as_deref() != oldest || oldest.is_none() {
            found.push(Finding::new(
                &package.manifest_path,
                None,
                "must say `rust-version.workspace = true`",
            ));
        }
    }
    for name in NAME_THE_COMPILER {
        let text = fs::read_to_string(workspace.root.join(name)).unwrap_or_default();
        if let Some(oldest) = oldest
            && !text.contains(&format!("\"{oldest}\""))
        {
            found.push(Finding::new(
                name,
                None,
                format!("does not name \"{oldest}\" as the oldest compiler"),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    /// A workspace in which nothing is wrong: one package `a`, one `x` that is not published.
    fn good() -> (Folder, Workspace) {
        let folder = Folder::new();
        for file in [
            "crates/a/README.md",
            "LICENSE-APACHE",
            "LICENSE-MIT",
            "crates/a/LICENSE-APACHE",
            "crates/a/LICENSE-MIT",
        ] {
            folder.file(file, "text");
        }
        folder.file("clippy.toml", "msrv = \"1.88\"");
        folder.file(".github/workflows/ci.yml", "toolchain: \"1.88\"");
        let root = folder.path();
        let package = |name: &str, publish: serde_json::Value| {
            let manifest = root.join("crates").join(name).join("Cargo.toml");
            serde_json::json!({"name": name, "manifest_path": manifest, "rust_version": "1.88", "publish": publish,
                "dependencies": [], "targets": []})
        };
        let packages = [package("a", serde_json::Value::Null), package("x", serde_json::json!([]))];
        let workspace =
            serde_json::json!({"workspace_root": root, "target_directory": root, "packages": packages});
        let workspace = serde_json::from_value(workspace).unwrap();
        (folder, workspace)
    }

    fn found(break_it: impl FnOnce(&Folder, &mut Workspace)) -> Vec<String> {
        let (folder, mut workspace) = good();
        break_it(&folder, &mut workspace);
        let root = format!("{}/", workspace.root.display());
        check(&workspace).iter().map(|finding| finding.to_string().replace(&root, "")).collect()
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        assert_eq!(found(|_, _| {}), [""; 0]);
    }

    #[test]
    fn a_missing_or_empty_readme_is_found() {
        let message = "crates/a/Cargo.toml: has no README.md beside it";
        assert_eq!(found(|folder, _| drop(folder.file("crates/a/README.md", "\n"))), [message]);
        assert_eq!(
            found(|folder, _| fs::remove_file(folder.path().join("crates/a/README.md")).unwrap()),
            [message]
        );
    }

    #[test]
    fn a_missing_or_changed_licence_is_found() {
        let lines = found(|folder, _| drop(folder.file("crates/a/LICENSE-MIT", "other")));
        assert!(lines.len() == 1 && lines[0].contains("LICENSE-MIT"), "{lines:?}");
        let lines = found(|folder, _| fs::remove_file(folder.path().join("LICENSE-APACHE")).unwrap());
        assert!(lines.len() == 1 && lines[0].contains("LICENSE-APACHE"), "{lines:?}");
    }

    #[test]
    fn another_oldest_compiler_is_found() {
        let lines = found(|folder, _| drop(folder.file("clippy.toml", "msrv = \"1.70\"")));
        assert!(lines.len() == 1 && lines[0].starts_with("clippy.toml: "), "{lines:?}");
        let lines = found(|_, workspace| workspace.packages[1].rust_version = None);
        assert_eq!(lines, ["crates/x/Cargo.toml: must say `rust-version.workspace = true`"]);
    }
}
