//! The files of the emulated host, or of a guest: gathered here, then written as an archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process;

use super::cpio::{Member, Writer};
use crate::process::capture;

/// A file that could not be brought along.
#[derive(Debug, thiserror::Error)]
#[error("could not read {}, which is to be brought along", path.display())]
pub(crate) struct BringError {
    path: PathBuf,
    source: io::Error,
}

/// A file system in the making. Sorted, so that the same files always give the same archive.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug)]
enum Node {
    Made(Member),
    /// A copy of this file of ours.
    Copy(PathBuf),
}

impl Tree {
    /// Adds a folder, with those above it.
    pub(crate) fn folder(&mut self, path: &Path) {
        for folder in normal(path).ancestors().filter(|folder| folder.parent().is_some()) {
            self.nodes.entry(folder.to_owned()).or_insert(Node::Made(Member::Folder));
        }
    }

    /// Adds a file with this content.
    pub(crate) fn file(&mut self, path: impl AsRef<Path>, executable: bool, content: Vec<u8>) {
        self.insert(path.as_ref(), Node::Made(Member::File { executable, content }));
    }

    /// Adds our file or folder `from` at `to`: programs with the shared libraries they need, folders with all that is
    /// in them but version control's and caches (which is what cargo's target folder is).
    pub(crate) fn bring(&mut self, from: &Path, to: &Path) -> Result<(), BringError> {
        let failed = |source| BringError { path: from.to_owned(), source };
        if !fs::metadata(from).map_err(failed)?.is_dir() {
            return self.bring_file(from, to);
        }
        self.folder(to);
        for entry in fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name());
            if name == ".git" || path.join("CACHEDIR.TAG").exists() {
                continue;
            }
            let is_link = entry.file_type().map_err(failed)?.is_symlink();
            if is_link && !path.is_file() {
                // Following a link to a folder might never end.
                let target = fs::read_link(&path).map_err(failed)?;
                self.insert(&to.join(name), Node::Made(Member::Link(target)));
            } else if path.is_file() || path.is_dir() {
                self.bring(&path, &to.join(name))?;
            }
        }
        Ok(())
    }

    fn bring_file(&mut self, from: &Path, to: &Path) -> Result<(), BringError> {
        let failed = |source| BringError { path: from.to_owned(), source };
        let mut start = Vec::new();
        File::open(from).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(failed)?;
        self.insert(to, Node::Copy(from.to_owned()));
        if start == b"\x7fELF" {
            for library in libraries(from).map_err(failed)? {
                if !self.nodes.contains_key(&normal(&library)) {
                    self.insert(&library, Node::Copy(library.clone()));
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, node: Node) {
        let path = normal(path);
        if let Some(folder) = path.parent() {
            self.folder(folder);
        }
        self.nodes.insert(path, node);
    }

    /// Writes all of it as one archive.
    pub(crate) fn write(&self, out: impl Write) -> Result<(), WriteError> {
        let mut writer = Writer::new(out);
        for (path, node) in &self.nodes {
            let done = match node {
                Node::Made(member) => writer.add(path, member),
                Node::Copy(from) => writer.add(path, &read(from)?),
            };
            done.map_err(WriteError::Write)?;
        }
        writer.finish().and_then(|mut out| out.flush()).map_err(WriteError::Write)
    }
}

/// Why the archive could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Bring(#[from] BringError),
    #[error("could not write an archive of initial files")]
    Write(#[source] io::Error),
}

fn read(from: &Path) -> Result<Member, BringError> {
    let failed = |source| BringError { path: from.to_owned(), source };
    let executable = fs::metadata(from).map_err(failed)?.permissions().mode() & 0o111 != 0;
    Ok(Member::File { executable, content: fs::read(from).map_err(failed)? })
}

/// An absolute path without `.` and `..`, as it means the same in a tree without links.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => _ = normal.pop(),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    normal
}

/// The shared libraries of a program, the loader among them; none if it is linked statically.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let mut command = process::Command::new("ldd");
    command.arg(program);
    // It fails for what is not dynamic; what it lists then is nothing.
    Ok(listed(&capture(command)?.output))
}

/// Reads lines such as `libc.so.6 => /lib/libc.so.6 (0x..)` and `/lib64/ld-linux-x86-64.so.2 (0x..)`.
fn listed(output: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let path = line.split_once(" => ").map_or(line, |(_, path)| path).trim();
        let (path, address) = path.rsplit_once(" (0x")?;
        (path.starts_with('/') && address.ends_with(')')).then(|| PathBuf::from(path))
    };
    output.lines().filter_map(path).collect()
}

/// Those of `programs` whose paths are written in the program `naming`, as `env!("CARGO_BIN_EXE_x")` does.
pub(super) fn named_in(naming: &[u8], programs: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    // As text, because only for text does std have a search that is fast in a debug build too.
    let text = String::from_utf8_lossy(naming);
    let is_named = |program: &PathBuf| {
        str::from_utf8(program.as_os_str().as_bytes()).is_ok_and(|path| text.contains(path))
    };
    programs.into_iter().filter(is_named).collect()
}

#[cfg(test)]
#[path = "tree_test.rs"]
mod tests;
