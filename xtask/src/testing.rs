//! For unit tests: a folder of its own for each, with files and small programs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A new empty folder, removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("xtask-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes an executable shell script.
    ///
    /// Another process makes the file: were it ever open for writing in this one, a child forked by a test
    /// running at the same time could hold it open, and executing it would fail with ETXTBSY.
    pub(crate) fn script(&self, name: &str, body: &str) -> PathBuf {
        let source = self.file(&format!("{name}.text"), &format!("#!/bin/sh\n{body}\n"));
        let path = self.0.join(name);
        let made = Command::new("/bin/sh")
            .args(["-c", "cp \"$1\" \"$2\" && chmod +x \"$2\"", "sh"])
            .args([&source, &path])
            .status()
            .unwrap();
        assert!(made.success());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
