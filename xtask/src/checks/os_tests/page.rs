//! The project that docs/testing.md makes from an empty folder: here it is made, and has to do what the page says.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Check, Project};
use crate::checks::Report;
use crate::process::capture;

const PAGE: &str = "docs/testing.md";
/// Where the page has the checkout.
const CHECKOUT: &str = "../strata";

/// What its reader would type; a test's name alone is the harder word for cargo, which then builds every target.
const CHECKS: &[Check] = &[
    Check {
        words: &["test"],
        code: 101,
        says: &[
            "test tests::of_nothing ... ok\n",
            "test of_four ... ok\n",
            "test too_much - should panic ... ok\n",
            "test fails ... FAILED\n",
            "---- fails stdout ----\npanicked at tests/kernel.rs:20:9:\n",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in ",
        ],
    },
    Check {
        words: &["test", "of_"],
        code: 0,
        says: &["test tests::of_nothing ... ok\n", "test of_four ... ok\n", "2 filtered out;"],
    },
    Check { words: &["test", "--", "--timeout", "1s"], code: 2, says: &["write it before the program"] },
    Check { words: &["run", "--", "hello"], code: 0, says: &["told \"hello\": 24\n"] },
    Check { words: &["fmt", "--check"], code: 0, says: &[] },
    Check { words: &["clippy", "--all-targets", "--", "--deny=warnings"], code: 0, says: &[] },
];

/// Makes the project and runs it by cargo.
pub(super) fn check(project: &Project<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let workspace = &project.context.workspace;
    let folder = workspace.target.join("testing-page");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for (file, text) in files(&fs::read_to_string(workspace.root.join(PAGE))?) {
        let mut text = text.replace(CHECKOUT, &workspace.root.display().to_string());
        if file == Path::new("Cargo.toml") {
            // Its folder lies in that of another workspace.
            text.push_str("\n[workspace]\n");
        }
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, text)?;
    }
    for check in CHECKS {
        let mut command = project.cargo(check.words)?;
        command.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
        let done = capture(command)?;
        let about = format!("{PAGE}: cargo {}", check.words.join(" "));
        report.add(project.judge(&about, check, done.status.code(), &done.output));
    }
    Ok(())
}

/// The fenced blocks whose first line is a comment that names a file, and that file.
fn files(page: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    // Every other part is fenced.
    for block in page.split("```").skip(1).step_by(2) {
        let Some((_, text)) = block.split_once('\n') else { continue };
        let first = text.lines().next().unwrap_or_default();
        let name = ["# ", "// "].iter().find_map(|start| first.strip_prefix(start));
        if let Some(name) = name.filter(|name| [".toml", ".rs"].iter().any(|end| name.ends_with(end))) {
            files.push((name.into(), text.to_owned()));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_blocks_that_name_one() {
        let page =
            "a\n```rust\n// src/a b.rs\nx\n```\n```toml\nkey = 1\n```\n\n```toml\n# A.toml\ny = 2\n```\n";
        let found = files(page);
        assert_eq!(found[0], ("src/a b.rs".into(), "// src/a b.rs\nx\n".into()));
        assert_eq!(found[1], ("A.toml".into(), "# A.toml\ny = 2\n".into()));
        assert_eq!(found.len(), 2);
    }
}
