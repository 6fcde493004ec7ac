//! Files that cargo shall build again exactly when they have changed. It goes by times: one that keeps its text has to
//! keep its time, and one that changes has to get a new one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use super::ConsumersError;
use crate::process::capture;

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ConsumersError {
    let path = path.display().to_string();
    move |source| ConsumersError::File { path, source }
}

/// Writes a file unless it has this text already.
pub(super) fn write(path: &Path, text: &str) -> Result<(), ConsumersError> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    fs::write(path, text).map_err(failed(path))
}

/// Makes `to` a copy of the folder `from`, times included.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), ConsumersError> {
    remove(to)?;
    fs::create_dir_all(to).map_err(failed(to))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let source = entry.map_err(failed(from))?.path();
        let copied = to.join(source.file_name().unwrap_or(OsStr::new("")));
        if source.is_dir() {
            copy(&source, &copied)?;
        } else {
            copy_file(&source, &copied).map_err(failed(&source))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::options().write(true).open(to)?.set_modified(fs::metadata(from)?.modified()?)
}

fn remove(folder: &Path) -> Result<(), ConsumersError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(folder)(error)),
        _ => Ok(()),
    }
}

/// Unpacks a `.crate` file, which holds one folder of its own name, to `folder` of the same name.
///
/// Nothing is done if that very file has been unpacked there before. In it all files are of one time, whatever they
/// hold, so the files get the present one.
pub(super) fn unpack(packed: &Path, folder: &Path) -> Result<(), ConsumersError> {
    if !packed.exists() {
        return Err(ConsumersError::NotPackaged { path: packed.display().to_string() });
    }
    let above = folder.parent().unwrap_or(Path::new("."));
    let unpacked = above.join(packed.file_name().unwrap_or(OsStr::new("")));
    let new = fs::read(packed).map_err(failed(packed))?;
    if folder.exists() && fs::read(&unpacked).is_ok_and(|old| old == new) {
        return Ok(());
    }
    remove(folder)?;
    fs::create_dir_all(above).map_err(failed(above))?;
    let mut tar = Command::new("tar");
    tar.args(["-xzmf"]).arg(packed).arg("-C").arg(above);
    let done = capture(tar).map_err(failed(Path::new("tar")))?;
    if !done.status.success() || !folder.exists() {
        return Err(ConsumersError::Unpack { path: packed.display().to_string(), output: done.output });
    }
    // Last: should we be interrupted, it is done again.
    fs::write(&unpacked, new).map_err(failed(&unpacked))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;
    use crate::testing::Folder;

    fn time(path: impl AsRef<Path>) -> SystemTime {
        fs::metadata(path).unwrap().modified().unwrap()
    }

    #[test]
    fn a_copy_has_the_same_files_and_times() {
        let folder = Folder::new();
        let file = folder.file("from/src/lib.rs", "new");
        let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(&file).unwrap().set_modified(then).unwrap();
        folder.file("to/old.rs", "of a consumer that was renamed");
        let to = folder.path().join("to");
        copy(&folder.path().join("from"), &to).unwrap();
        assert!(!to.join("old.rs").exists());
        assert_eq!(fs::read(to.join("src/lib.rs")).unwrap(), b"new");
        assert_eq!(time(to.join("src/lib.rs")), then);
    }

    /// A package of one file, with the time that cargo gives all files.
    fn pack(folder: &Folder, text: &str) -> PathBuf {
        let file = folder.file("a-1.0.0/lib.rs", text);
        let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_153_704_088);
        File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
        let packed = folder.path().join("a-1.0.0.crate");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder.path()).arg("-czf").arg(&packed).arg("a-1.0.0");
        assert!(tar.status().unwrap().success());
        packed
    }

    #[test]
    fn a_package_is_unpacked_when_it_has_changed() {
        let folder = Folder::new();
        let to = folder.path().join("packages/a-1.0.0");
        let packed = pack(&folder, "one");
        unpack(&packed, &to).unwrap();
        let mark = to.join("mark");
        fs::write(&mark, "").unwrap();
        unpack(&packed, &to).unwrap();
        assert!(mark.exists(), "the same again: left as it is");
        let before = SystemTime::now() - std::time::Duration::from_secs(3600);
        unpack(&pack(&folder, "two"), &to).unwrap();
        assert!(!mark.exists());
        assert_eq!(fs::read(to.join("lib.rs")).unwrap(), b"two");
        assert!(time(to.join("lib.rs")) > before, "or cargo would not build it again");
    }

    #[test]
    fn what_was_not_packaged_is_named() {
        let folder = Folder::new();
        let missing = folder.path().join("a-1.0.0.crate");
        let error = unpack(&missing, &folder.path().join("x/a-1.0.0")).unwrap_err();
        assert!(matches!(error, ConsumersError::NotPackaged { .. }), "{error}");
        let broken = folder.file("a-1.0.0.crate", "no archive");
        let error = unpack(&broken, &folder.path().join("x/a-1.0.0")).unwrap_err();
        assert!(matches!(error, ConsumersError::Unpack { .. }), "{error}");
    }
}
