//! The copy of a disk that a guest writes to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::capture;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("could not write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("could not start cp")]
    Start(#[source] io::Error),
    #[error("could not copy the disk to {}; make room there and try again:\n{output}", path.display())]
    Failed { path: PathBuf, output: String },
}

/// What was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    New,
    /// A copy, as guests left it.
    Kept,
}

/// Copies `image` to `to`, unless that exists and is to be kept. What was never written takes no room in the copy, and
/// where the file system can, both share what neither has changed since.
///
/// It appears under its name when it is complete.
pub(crate) fn working_copy(image: &Path, to: &Path, fresh: bool) -> Result<Copied, CopyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| CopyError::File { path, source }
    };
    if !fresh && to.is_file() {
        return Ok(Copied::Kept);
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    let new = to.with_extension("new");
    let mut command = Command::new("cp");
    command.args(["--reflink=auto", "--sparse=always", "--"]).args([image, &new]);
    let done = capture(command).map_err(CopyError::Start)?;
    if !done.status.success() {
        // It may have filled the disk.
        let _ = fs::remove_file(&new);
        return Err(CopyError::Failed { path: to.to_owned(), output: done.output.trim_end().to_owned() });
    }
    fs::rename(&new, to).map_err(failed(to))?;
    Ok(Copied::New)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_copy_is_made_once_and_anew_when_asked_for() {
        let folder = Folder::new();
        let (image, to) = (folder.file("image", "fresh"), folder.path().join("guests/disk"));
        assert_eq!(working_copy(&image, &to, false).unwrap(), Copied::New);
        fs::write(&to, "used").unwrap();
        assert_eq!(working_copy(&image, &to, false).unwrap(), Copied::Kept);
        assert_eq!(fs::read_to_string(&to).unwrap(), "used");
        assert_eq!(working_copy(&image, &to, true).unwrap(), Copied::New);
        assert_eq!(fs::read_to_string(&to).unwrap(), "fresh");
    }

    #[test]
    fn what_was_never_written_takes_no_room() {
        let folder = Folder::new();
        let image = folder.file("image", "x");
        fs::File::options().write(true).open(&image).unwrap().set_len(64 << 20).unwrap();
        let to = folder.path().join("disk");
        working_copy(&image, &to, false).unwrap();
        let state = fs::metadata(&to).unwrap();
        // Blocks of 512 bytes.
        assert!(state.len() == 64 << 20 && state.blocks() < 8192, "{state:?}");
    }

    #[test]
    fn what_can_not_be_copied_leaves_nothing() {
        let folder = Folder::new();
        let to = folder.path().join("disk");
        let error = working_copy(&folder.path().join("none"), &to, false).unwrap_err();
        assert!(error.to_string().contains("make room there and try again"), "{error}");
        assert!(!to.exists() && !folder.path().join("disk.new").exists());
    }
}
