//! A core dump as a file that is whole or absent.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

use strata_cpu::X86State;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{Addresses, CoreError, Written, write};

/// [`save`] failed; at its path is what was there before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The path names no file.
    #[error("`{}` names no file to write a core dump to", .0.display())]
    NoName(PathBuf),
    /// The file system refused, most often because it is full.
    #[error("no core dump at {}: {error}; free some space or name another place", path.display())]
    File {
        /// Where it was to be.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// There is nothing to dump, or it cannot be read.
    #[error(transparent)]
    Core(CoreError),
}

/// [Writes](write()) a core dump to a new file beside `path`, which takes its name once it is whole and on disk. Only the user
/// may read it: a guest's memory has its secrets.
pub fn save<M: GuestMemoryBackend + Bytes<GuestAddress>>(
    path: &Path,
    memory: &M,
    cpus: &[X86State],
    addresses: Addresses,
    image: Option<&str>,
) -> Result<Written, SaveError> {
    let name = path.file_name().ok_or_else(|| SaveError::NoName(path.to_owned()))?;
    let mut part = OsString::from(".");
    part.push(name);
    part.push(format!(".{}.part", process::id()));
    let part = path.with_file_name(part);
    let refused = |error| SaveError::File { path: path.to_owned(), error };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(refused)?;
    let written = fill(&mut file, memory, cpus, addresses, image);
    let done = written.and_then(|written| {
        fs::rename(&part, path)?;
        Ok(written)
    });
    done.map_err(|error| {
        // It says nothing new if this fails too.
        let _ = fs::remove_file(&part);
        match error {
            CoreError::Io(error) => refused(error),
            other => SaveError::Core(other),
        }
    })
}

/// To the disk: a file system may notice only then that it is full.
fn fill<M: GuestMemoryBackend + Bytes<GuestAddress>>(
    file: &mut File,
    memory: &M,
    cpus: &[X86State],
    addresses: Addresses,
    image: Option<&str>,
) -> Result<Written, CoreError> {
    let written = write(file, memory, cpus, addresses, image)?;
    file.sync_all()?;
    Ok(written)
}
