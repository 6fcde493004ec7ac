//! What the whole-machine tests share.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod elf;
pub(crate) mod gdb;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

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

/// 64-bit code that prints `!`, and then dies of `ud2`, since it has no IDT.
///
/// `mov dx, 0x3f8; mov al, '!'; out dx, al; ud2`
pub(crate) const DIE: &[u8] = b"\x66\xba\xf8\x03\xb0!\xee\x0f\x0b";
/// 64-bit code for 0x10000 and two vCPUs: `2` is printed by the second one, then `1` by the first, which leaves 0 at port 0xf4.
///
/// First: `mov edi, 0xfee00300; mov dword [rdi+0x10], 1<<24; mov dword [rdi], 0xc4500; mov dword [rdi], 0xc4611;
/// wait: pause; cmp byte [0x11100], 1; jne wait; mov dx, 0x3f8; mov al, '1'; out dx, al; mov al, 0; out 0xf4, al`
const FIRST: &[u8] =
    b"\xbf\x00\x03\xe0\xfe\xc7\x47\x10\x00\x00\x00\x01\xc7\x07\x00\x45\x0c\x00\xc7\x07\x11\x46\x0c\x00\
    \xf3\x90\x80\x3c\x25\x00\x11\x01\x00\x01\x75\xf4\x66\xba\xf8\x03\xb0\x31\xee\xb0\x00\xe6\xf4";
/// Second, at 0x11000: `mov dx, 0x3f8; mov al, '2'; out dx, al; mov ax, 0x1100; mov ds, ax; mov byte [0x100], 1; hlt`
const SECOND: &[u8] = b"\xba\xf8\x03\xb0\x32\xee\xb8\x00\x11\x8e\xd8\xc6\x06\x00\x01\x01\xf4";

/// A guest of two vCPUs, which both print and then end with exit code 1.
pub(crate) fn two(scratch: &Scratch) -> Command {
    let mut code = FIRST.to_vec();
    code.resize(0x1000, 0);
    code.extend(SECOND);
    let mut command = long(&scratch.file("two.bin", code));
    command.args(["--load-at", "0x10000", "--cpus", "2", "--irqchip", "kernel", "--debug-exit", "0xf4"]);
    command
}

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

/// `strata run` of a 64-bit image.
pub(crate) fn long(image: &Path) -> Command {
    command("run", image, &["--mode", "long64", "--memory", "4M"])
}

/// A command of `strata` for an image.
pub(crate) fn command(name: &str, image: &Path, arguments: &[&str]) -> Command {
    let mut command = bare();
    command.arg(name).arg(image).args(arguments);
    command
}

/// Sends a signal, by its name.
pub(crate) fn kill(name: &str, child: &Child) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Waits until a file holds what `done` wants of it, as a run writes it.
pub(crate) fn wait_until(path: &Path, done: impl Fn(&str) -> bool) {
    while !fs::read(path).is_ok_and(|bytes| done(&String::from_utf8_lossy(&bytes))) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
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
