//! The first files of a Linux guest, as the archive that its kernel unpacks.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::rig::Kernel;
use crate::rig::tree::{BringError, Tree, WriteError};
use crate::tools::{BUSYBOX, ToolError, Tools};

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitramfsError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Bring(#[from] BringError),
    #[error(transparent)]
    Files(#[from] WriteError),
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes one with busybox and a shell.
pub(super) fn shell(kernel: &Kernel, tools: &Tools, at: &Path) -> Result<(), InitramfsError> {
    with_busybox(include_str!("shell.sh"), kernel, tools, at)
}

/// Writes one with busybox, the modules that come with `kernel`, and this `init`.
fn with_busybox(init: &str, kernel: &Kernel, tools: &Tools, at: &Path) -> Result<(), InitramfsError> {
    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "tmp", "etc", "root"] {
        tree.folder(&Path::new("/").join(folder));
    }
    tree.bring(&tools.ensure(&BUSYBOX)?, Path::new("/bin/busybox"))?;
    tree.file("/init", true, init.into());
    let failed = |source| InitramfsError::Write { path: at.to_owned(), source };
    if let Some(folder) = at.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Archives may be laid one behind the other.
    let mut out = BufWriter::new(File::create(at).map_err(failed)?);
    io::copy(&mut File::open(&kernel.guest_modules).map_err(failed)?, &mut out).map_err(failed)?;
    Ok(tree.write(out)?)
}
