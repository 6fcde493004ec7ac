//! The first files of a Linux guest, as the archive that its kernel unpacks.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::capture;
use crate::rig::Kernel;
use crate::rig::tree::{BringError, Tree, WriteError};
use crate::tools::{BUSYBOX, NASM, ToolError, Tools};

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitramfsError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Bring(#[from] BringError),
    #[error(transparent)]
    Files(#[from] WriteError),
    #[error("could not start nasm")]
    Start(#[source] io::Error),
    #[error("nasm refuses xtask/src/linux/tiny.asm:\n{0}")]
    Assemble(String),
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes one with nothing but a tiny program that prints a line and restarts the machine.
pub(crate) fn tiny(tools: &Tools, at: &Path) -> Result<(), InitramfsError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| InitramfsError::Write { path, source }
    };
    if let Some(folder) = at.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    let (source, program) = (at.with_extension("asm"), at.with_extension("bin"));
    fs::write(&source, include_str!("tiny.asm")).map_err(failed(&source))?;
    let mut nasm = Command::new(tools.ensure(&NASM)?);
    nasm.args(["-f", "bin", "-Werror", "-o"]).args([&program, &source]);
    let done = capture(nasm).map_err(InitramfsError::Start)?;
    if !done.status.success() {
        return Err(InitramfsError::Assemble(done.output));
    }
    let mut tree = Tree::default();
    tree.folder(Path::new("/dev"));
    tree.file("/init", true, fs::read(&program).map_err(failed(&program))?);
    Ok(tree.write(BufWriter::new(File::create(at).map_err(failed(at))?))?)
}

/// What the guests of the tests find in their `/content`.
pub(crate) const CONTENT: &str = "as it was put in";

/// Process 1, a script for busybox.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Init {
    /// A shell to work with.
    Shell,
    /// What the tests look at.
    Test,
    /// A script of busybox's, with all modules loaded.
    Job(&'static str),
}

/// Writes one with busybox, the modules that come with `kernel`, and this `init`.
pub(crate) fn with_busybox(
    init: Init,
    kernel: &Kernel,
    tools: &Tools,
    at: &Path,
) -> Result<(), InitramfsError> {
    let script = match init {
        Init::Shell => include_str!("shell.sh"),
        Init::Test => include_str!("test.sh"),
        Init::Job(_) => include_str!("job.sh"),
    };
    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "tmp", "etc", "root"] {
        tree.folder(&Path::new("/").join(folder));
    }
    tree.bring(&tools.ensure(&BUSYBOX)?, Path::new("/bin/busybox"))?;
    tree.file("/init", true, script.into());
    tree.file("/content", false, CONTENT.into());
    if let Init::Job(script) = init {
        tree.file("/job", false, script.into());
    }
    let failed = |source| InitramfsError::Write { path: at.to_owned(), source };
    if let Some(folder) = at.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Archives may be laid one behind the other.
    let mut out = BufWriter::new(File::create(at).map_err(failed)?);
    io::copy(&mut File::open(&kernel.guest_modules).map_err(failed)?, &mut out).map_err(failed)?;
    Ok(tree.write(out)?)
}

/// Adds a program to one.
pub(crate) fn add(program: &Path, to: &Path, at: &Path) -> Result<(), InitramfsError> {
    let mut tree = Tree::default();
    tree.bring(program, to)?;
    let out = File::options().append(true).open(at);
    let out = out.map_err(|source| InitramfsError::Write { path: at.to_owned(), source })?;
    Ok(tree.write(BufWriter::new(out))?)
}
