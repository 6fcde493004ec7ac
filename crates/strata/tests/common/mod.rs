//! What the whole-machine tests share.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod gdb;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// 16-bit code that halts.
pub(crate) const HALT: &[u8] = b"\xf4";
/// 16-bit code that runs for ever without an exit: `jmp $`.
pub(crate) const SPIN: &[u8] = b"\xeb\xfe";
/// The same after it has printed `!`: `mov dx, 0x3f8; mov al, '!'; out dx, al; jmp $`.
pub(crate) const SAY_AND_SPIN: &[u8] = b"\xba\xf8\x03\xb0!\xee\xeb\xfe";
/// 16-bit code that prints `!` for ever: `mov dx, 0x3f8; mov al, '!'; out dx, al; jmp` to the `out`.
pub(crate) const CHATTER: &[u8] = b"\xba\xf8\x03\xb0!\xee\xeb\xfd";
/// 16-bit code that echoes each byte typed at COM1 and halts after `q`.
///
/// `mov dx, 0x3fd; wait: in al, dx; test al, 1; jz wait; mov dl, 0xf8; in al, dx; out dx, al; mov dl, 0xfd;
/// cmp al, 'q'; jne wait; hlt`
pub(crate) const ECHO: &[u8] = b"\xba\xfd\x03\xec\xa8\x01\x74\xfb\xb2\xf8\xec\xee\xb2\xfd\x3cq\x75\xf1\xf4";

/// A directory that goes when the test ends.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `strata run` of a real-mode image, without a console unless a test says so.
pub(crate) fn strata(image: &Path) -> Command {
    let mut command = bare();
    command.arg("run").arg(image).args(["--mode", "real16", "--memory", "64K"]);
    command
}

/// `strata` alone.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub(crate) fn finish(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether the tests that run guests can; says so where not.
pub(crate) fn kvm(what: &str) -> bool {
    let usable = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !usable {
        eprintln!("not run: {what}: no usable /dev/kvm");
    }
    usable
}
