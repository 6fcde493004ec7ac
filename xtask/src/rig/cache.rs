//! What is made once and kept: in a folder of the user's, whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, io};

use rustix::fs::{FlockOperation, flock};

/// Why the cache can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("there is no folder for caches: set XDG_CACHE_HOME or HOME to an absolute path")]
    NoFolder,
    #[error("could not read or write the cache {}", folder.display())]
    Files { folder: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The one of the user who runs us (XDG Base Directory Specification: `XDG_CACHE_HOME`, else `~/.cache`).
    pub(crate) fn of_this_user() -> Result<Self, CacheError> {
        // Relative paths are to be ignored, the specification says.
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Ok(Self { folder: caches.ok_or(CacheError::NoFolder)?.join("strata") })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder `key`, which `make` fills if it does not exist yet.
    ///
    /// It appears under its name when it is complete: whoever finds it can use it without a lock, and one who is
    /// interrupted leaves nothing that could be taken for it. A lock keeps two from making it at once; other keys have
    /// others, for a disk is a minute's work.
    pub(crate) fn get<E: From<CacheError>>(
        &self,
        key: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let wanted = self.folder.join(key);
        if wanted.is_dir() {
            return Ok(wanted);
        }
        let failed = |source| CacheError::Files { folder: self.folder.clone(), source };
        let _lock = self.lock(key).map_err(failed)?;
        if wanted.is_dir() {
            return Ok(wanted);
        }
        let new = self.folder.join(format!(".{key}.new"));
        remove(&new).map_err(failed)?;
        fs::create_dir(&new).map_err(failed)?;
        if let Err(error) = make(&new) {
            // What made it fail is worth more than that the rest could not be removed; the next one tries again.
            let _ = remove(&new);
            return Err(error);
        }
        fs::rename(&new, &wanted).map_err(failed)?;
        Ok(wanted)
    }

    /// Waits until nobody else makes what belongs to `key`; the system ends a lock with the process that holds it.
    fn lock(&self, key: &str) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        let file = File::create(self.folder.join(format!(".{key}.lock")))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            eprintln!("waiting for another process that is making {}", self.folder.join(key).display());
            flock(&file, FlockOperation::LockExclusive)?;
        }
        Ok(file)
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;
    use crate::testing::Folder;

    fn write(folder: &Path, name: &str) -> Result<(), CacheError> {
        fs::write(folder.join(name), "").map_err(|source| CacheError::Files { folder: folder.into(), source })
    }

    #[test]
    fn what_was_made_once_is_kept() {
        let folder = Folder::new();
        let cache = Cache { folder: folder.path().join("c") };
        let first = cache.get("a", |new| write(new, "x")).unwrap();
        assert!(first.join("x").exists());
        assert_eq!(cache.get("a", |_| Err(CacheError::NoFolder)).unwrap(), first);
    }

    #[test]
    fn what_fails_half_way_is_not_kept() {
        let folder = Folder::new();
        let cache = Cache { folder: folder.path().into() };
        cache.get("a", |new| write(new, "half").and(Err(CacheError::NoFolder))).unwrap_err();
        assert!(!folder.path().join("a").exists());
        // As a process leaves it that was killed.
        folder.file(".a.new/half", "");
        let made = cache.get("a", |new| write(new, "x")).unwrap();
        assert!(made.join("x").exists() && !made.join("half").exists());
    }

    #[test]
    fn many_at_once_make_it_once() {
        let folder = Folder::new();
        let cache = Cache { folder: folder.path().into() };
        let made = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache.get("a", |new| {
                        made.fetch_add(1, Ordering::Relaxed);
                        write(new, "x")
                    })
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
