//! Commands that the documentation tells people to type have to exist.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Parser;

use super::{Context, Report, page};
use crate::cli::{Cli, Task};
use crate::guest::Guest;
use crate::run_guest::{DEBIAN, LINUX};
use crate::workspace::Workspace;

pub(super) fn check(context: &Context) -> Result<Report, Box<dyn Error>> {
    let workspace = &context.workspace;
    let mut report = Report::default();
    let mut pages = vec![workspace.root.join("README.md"), workspace.root.join("CONTRIBUTING.md")];
    pages.extend(workspace.published().map(|package| package.folder().join("README.md")));
    pages.extend(markdown(&workspace.root.join("docs"))?);
    for page in pages {
        let shown = page.strip_prefix(&workspace.root).unwrap_or(&page).display().to_string();
        match fs::read_to_string(&page) {
            Ok(text) => {
                for (line, command) in commands(&text) {
                    report.add(
                        exists(workspace, command)
                            .map_err(|why| format!("{shown}:{line}: `{command}`: {why}")),
                    );
                }
            }
            Err(error) => report.add(Err(format!("{shown}: {error}"))),
        }
    }
    page::check(context, &mut report)?;
    Ok(report)
}

fn markdown(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            pages.extend(markdown(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// The lines of fenced blocks that call something of ours, with their numbers.
fn commands(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            let command = line.strip_prefix("$ ").unwrap_or(line);
            // What follows is a comment, or another program.
            let command = command
                .split([';', '|', '&', '>'])
                .next()
                .unwrap_or("")
                .split(" #")
                .next()
                .unwrap_or("")
                .trim();
            let ours = ["cargo xtask", "cargo run", ".ci/run", "./.ci/run"];
            if ours.iter().any(|start| command.starts_with(start)) {
                found.push((index + 1, command));
            }
        }
    }
    found
}

fn exists(workspace: &Workspace, command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["cargo", "xtask", rest @ ..] => {
            let cli =
                Cli::try_parse_from(["cargo xtask"].iter().chain(rest)).map_err(|error| error.to_string())?;
            match cli.task {
                // A word in capitals stands for any name.
                Task::RunGuest(options) => match options.guest {
                    Some(name)
                        if name != name.to_uppercase() && ![LINUX, DEBIAN].contains(&name.as_str()) =>
                    {
                        Guest::named(&workspace.root.join("guests"), &name)
                            .map(drop)
                            .map_err(|e| e.to_string())
                    }
                    _ => Ok(()),
                },
                _ => Ok(()),
            }
        }
        ["cargo", "run", rest @ ..] => target_exists(workspace, rest),
        [script, ..] => {
            let file = fs::metadata(workspace.root.join(script)).map_err(|error| error.to_string())?;
            if file.permissions().mode() & 0o111 == 0 { Err("is not executable".into()) } else { Ok(()) }
        }
        [] => Ok(()),
    }
}

/// Checks the package and the example or binary that `cargo run` is told.
fn target_exists(workspace: &Workspace, arguments: &[&str]) -> Result<(), String> {
    let value = |names: [&str; 2]| {
        arguments
            .windows(2)
            .take_while(|pair| pair[0] != "--")
            .find(|pair| names.contains(&pair[0]))
            .map(|pair| pair[1])
    };
    let (package, example, bin) = (value(["-p", "--package"]), value(["--example"; 2]), value(["--bin"; 2]));
    let mut packages =
        workspace.packages.iter().filter(|own| package.is_none_or(|name| own.name == name)).peekable();
    if packages.peek().is_none() {
        return Err("there is no such package".into());
    }
    let targets: Vec<_> = packages.flat_map(|package| &package.targets).collect();
    let has = |kind: &str, name: Option<&str>| {
        name.is_none_or(|name| targets.iter().any(|it| it.is(kind) && it.name == name))
    };
    if has("example", example) && has("bin", bin) { Ok(()) } else { Err("there is no such target".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn commands_are_lines_of_fenced_blocks() {
        let text = "cargo xtask none\n```sh\n$ cargo xtask test   # all\n  cargo run -p a | less\nother\n```\n`.ci/run`\n```\n.ci/run\n```";
        assert_eq!(commands(text), [(3, "cargo xtask test"), (4, "cargo run -p a"), (9, ".ci/run")]);
    }

    fn tried(command: &str) -> Result<(), String> {
        let folder = Folder::new();
        let header = "; ---\n; about = \"a\"\n; [expect]\n; stop = \"halted\"\n; exits = []\n; ---\n";
        folder.file("guests/hello.asm", header);
        folder.script(".ci/run", "");
        folder.file("plain", "");
        let targets = serde_json::json!([{"name": "tiny_vmm", "kind": ["example"]}, {"name": "strata", "kind": ["bin"]}]);
        let workspace = serde_json::json!({"workspace_root": folder.path(), "target_directory": "/t", "packages": [
            {"name": "strata-cpu", "manifest_path": "/w/crates/cpu/Cargo.toml", "dependencies": [], "targets": targets}]});
        exists(&serde_json::from_value(workspace).unwrap(), command)
    }

    #[test]
    fn what_exists_is_accepted() {
        for command in [
            "cargo xtask test --quick",
            "cargo xtask run-guest",
            "cargo xtask run-guest hello -- --memory 64M",
            "cargo xtask run-guest NAME",
            "cargo run -p strata-cpu --example tiny_vmm --all-features",
            "cargo run --bin strata -- run --example none",
            ".ci/run",
        ] {
            assert_eq!(tried(command), Ok(()), "{command}");
        }
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for command in [
            "cargo xtask tests",
            "cargo xtask test --fast",
            "cargo xtask run-guest helo",
            "cargo run -p strata-gpu --example tiny_vmm",
            "cargo run -p strata-cpu --example huge_vmm",
            "plain",
            "missing",
        ] {
            assert!(tried(command).is_err(), "{command}");
        }
    }
}
