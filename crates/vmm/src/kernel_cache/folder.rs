//! The folder of a [`KernelCache`](super::KernelCache).

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;

use super::NotKept;

/// What a clean-up leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) kernels: usize,
    pub(super) bytes: u64,
    /// Links to them: several files may hold one kernel, and one file may be touched again and again.
    pub(super) links: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { kernels: 8, bytes: 1 << 30, links: 64 }
    }
}

/// After this time nobody is writing a temporary file any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder that is this user's alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder<'a>(&'a Path);

impl<'a> Folder<'a> {
    /// `None` if there is no such folder yet.
    pub(super) fn existing(path: &'a Path) -> Result<Option<Self>, NotKept> {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => Err(NotKept::NotAFolder { path: path.to_owned() }),
            Ok(metadata) if !is_private(&metadata) => Err(NotKept::NotPrivate { path: path.to_owned() }),
            Ok(_) => Ok(Some(Self(path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(NotKept::Folder { path: path.to_owned(), source }),
        }
    }

    /// Creates it, with those that it is in.
    pub(super) fn create(path: &'a Path) -> Result<Self, NotKept> {
        let failed = |source| NotKept::Folder { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        // Somebody else may have been quicker.
        Self::existing(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    /// The kernel of this name, or that a link of this name leads to, if it is there and whole. Notes that it was used.
    pub(super) fn find(&self, name: &str) -> Option<File> {
        let file = File::open(self.0.join(name)).ok()?;
        let metadata = file.metadata().ok()?;
        if !(metadata.is_file() && is_private(&metadata) && is_whole(&metadata)) {
            return None;
        }
        // On a file system that has become read-only there is no cleaning up either.
        let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        Some(file)
    }

    /// Copies a kernel into the folder; it is there under this name when all of it is on the disk. Returns it open for
    /// reading.
    pub(super) fn keep(&self, name: &str, kernel: &File) -> Result<File, NotKept> {
        let temporary = self.temporary();
        let kept = write(&temporary, kernel).and_then(|()| {
            let file = File::open(&temporary)?;
            fs::rename(&temporary, self.0.join(name))?;
            Ok(file)
        });
        kept.map_err(|source| {
            let _ = fs::remove_file(&temporary);
            NotKept::Folder { path: self.0.to_owned(), source }
        })
    }

    /// Makes the link `name` lead to `target`, whatever it was before.
    pub(super) fn link(&self, name: &str, target: &str) -> io::Result<()> {
        let temporary = self.temporary();
        symlink(target, &temporary)?;
        fs::rename(&temporary, self.0.join(name)).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    fn temporary(&self) -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        self.0.join(format!("tmp-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed)))
    }

    /// Removes the kernels that were used longest ago until the limits hold, but never `used`; then links to nothing, and
    /// what was left behind by processes that ended too soon. Where that fails, another process is at it, or will be.
    pub(super) fn clean_up(&self, used: &str, limits: Limits) {
        let (mut kernels, mut links) = (Vec::new(), Vec::new());
        let now = SystemTime::now();
        for entry in fs::read_dir(self.0).into_iter().flatten().flatten() {
            // Of a link itself, not of what it leads to.
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("tmp-") {
                if changed(&metadata)
                    .is_some_and(|then| now.duration_since(then).is_ok_and(|age| age > ABANDONED))
                {
                    let _ = fs::remove_file(path);
                }
            } else if !name.starts_with("v1-") {
                // Nothing that this version put there.
            } else if metadata.is_symlink() {
                links.push((metadata.ctime(), metadata.ctime_nsec(), path));
            } else if metadata.is_file() {
                kernels.push((name == used, metadata.atime(), metadata.atime_nsec(), metadata.len(), path));
            }
        }
        kernels.sort_unstable();
        let mut bytes = 0_u64;
        for (nth, (used, .., len, path)) in kernels.iter().rev().enumerate() {
            bytes = bytes.saturating_add(*len);
            if !used && (nth >= limits.kernels || bytes > limits.bytes) {
                let _ = fs::remove_file(path);
            }
        }
        links.sort_unstable();
        let mut left = 0;
        for (.., path) in links.iter().rev() {
            let leads_nowhere =
                fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            if leads_nowhere || left >= limits.links {
                let _ = fs::remove_file(path);
            } else {
                left += 1;
            }
        }
    }
}

/// This user's, and for nobody else to write.
fn is_private(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

/// The mark of a whole file: see [`write`].
fn is_whole(metadata: &Metadata) -> bool {
    u64::try_from(metadata.mtime()) == Ok(metadata.len()) && metadata.mtime_nsec() == 0
}

fn changed(metadata: &Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Writes a new file, marks it as whole, and has it on the disk before it returns.
fn write(path: &Path, from: &File) -> io::Result<()> {
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let len = copy(from, &to)?;
    to.set_permissions(Permissions::from_mode(0o444))?;
    let mark = SystemTime::UNIX_EPOCH + Duration::from_secs(len);
    to.set_times(FileTimes::new().set_modified(mark).set_accessed(SystemTime::now()))?;
    to.sync_all()
}

/// All of `from`, whatever its position; how many bytes there were.
fn copy(from: &File, to: &File) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = match from.read_at(&mut buffer, at) {
            Ok(0) => return Ok(at),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all_at(buffer.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
    }
}
