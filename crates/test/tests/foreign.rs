//! The runner with guests that know nothing of it: a few bytes in real mode.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Prints `ok`, a line, and writes 0x10 to port 0xf4: mov dx, 0x3f8; mov al, CHARACTER; out dx, al; ..; mov al, 0x10;
/// out 0xf4, al; jmp $
const GOOD: &[u8] = b"\xba\xf8\x03\xb0o\xee\xb0k\xee\xb0\n\xee\xb0\x10\xe6\xf4\xeb\xfe";
/// The same, but 0x11.
const BAD: &[u8] = b"\xba\xf8\x03\xb0o\xee\xb0k\xee\xb0\n\xee\xb0\x11\xe6\xf4\xeb\xfe";
/// Prints `ok` and goes round for ever.
const ENDLESS: &[u8] = b"\xba\xf8\x03\xb0o\xee\xb0k\xee\xb0\n\xee\xeb\xfe";
const HLT: &[u8] = b"\xf4";

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("deps")).unwrap();
        Self(path)
    }

    fn image(&self, name: &str, code: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, code).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn has_kvm(what: &str) -> bool {
    match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => true,
        Err(why) => {
            println!("not run: {what}: cannot open /dev/kvm: {why}");
            false
        }
    }
}

fn runner(options: &[&str], image: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata-test"));
    command.args(["--set", "mode=real16", "--memory", "64K", "--timeout", "10s"]);
    command.args(options).arg(image).args(arguments).env_remove("CARGO_MANIFEST_DIR");
    command.output().unwrap()
}

/// The exit code, standard output and standard error.
fn run(options: &[&str], image: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = runner(options, image, arguments);
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn the_exit_port_decides_and_the_output_is_shown() {
    if !has_kvm("foreign guests") {
        return;
    }
    let folder = Folder::new("exit-port");
    let (good, bad) = (folder.image("good", GOOD), folder.image("bad", BAD));
    assert_eq!(run(&[], &good, &[]), (0, "ok\n".into(), String::new()));
    let (code, out, error) = run(&[], &bad, &[]);
    assert_eq!((code, out.as_str()), (35, "ok\n"));
    assert_eq!(error, "strata-test: the guest ended with 0x11 at its debug-exit port\n");
    assert_eq!(run(&["--map", "35=0"], &bad, &[]).0, 0);
    assert_eq!(run(&["--success", "35"], &bad, &[]).0, 0);
    assert_eq!(run(&["--success", "35"], &good, &[]).0, 33);
}

#[test]
fn another_exit_port_can_be_had() {
    if !has_kvm("another exit port") {
        return;
    }
    let folder = Folder::new("other-port");
    // Nobody is at 0xf4, so it goes round for ever.
    let (code, _, error) =
        run(&["--debug-exit", "0x501", "--timeout", "200ms"], &folder.image("good", GOOD), &[]);
    assert_eq!(code, 20, "{error}");
    // mov dx, 0x501; mov al, 0x10; out dx, al
    let other = folder.image("other", b"\xba\x01\x05\xb0\x10\xee\xf4");
    assert_eq!(run(&["--debug-exit", "0x501"], &other, &[]).0, 0);
}

#[test]
fn a_line_of_output_decides_where_it_is_asked_for() {
    if !has_kvm("--expect") {
        return;
    }
    let folder = Folder::new("expect");
    let endless = folder.image("endless", ENDLESS);
    assert_eq!(run(&["--expect", "^ok$"], &endless, &[]), (0, "ok\n".into(), String::new()));
    let (code, _, error) = run(&["--expect", "^done$"], &folder.image("good", GOOD), &[]);
    assert_eq!(code, 1);
    assert!(error.ends_with("no line of its output has \"^done$\"\n"), "{error}");
}

#[test]
fn other_ends_have_the_codes_of_strata_run() {
    if !has_kvm("other ends") {
        return;
    }
    let folder = Folder::new("ends");
    let (code, _, error) = run(&[], &folder.image("hlt", HLT), &[]);
    assert_eq!(code, 10);
    let said = "strata-test: the guest ended: halted\nits last exits:\n  0x7c00             hlt";
    assert!(error.starts_with(said) && error.lines().count() == 3, "{error}");
    let endless = folder.image("endless", ENDLESS);
    let (code, _, error) = run(&["--timeout", "100ms"], &endless, &[]);
    assert_eq!(code, 20);
    assert!(error.contains("the guest was ended after 100ms: its time was up"), "{error}");
}

#[test]
fn what_cargo_made_to_be_a_test_is_one_test() {
    let folder = Folder::new("one-test");
    let kernel = folder.image("deps/kernel-0123456789abcdef", BAD);
    assert_eq!(
        run(&[], &kernel, &["--list", "--format", "terse"]),
        (0, "kernel: test\n".into(), String::new())
    );
    assert_eq!(
        run(&[], &kernel, &["--list", "--format", "terse", "--ignored"]),
        (0, String::new(), String::new())
    );
    if !has_kvm("a foreign test") {
        return;
    }
    let (code, out, _) = run(&[], &kernel, &["kernel", "--exact", "--nocapture"]);
    assert_eq!(code, 101);
    assert!(out.starts_with("\nrunning 1 test\nok\ntest kernel ... FAILED\n"), "{out}");
    let (code, out, _) = run(&["--map", "35=0"], &kernel, &[]);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = run(&[], &kernel, &["other"]);
    assert!(code == 0 && out.contains("0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out;"), "{out}");
}

#[test]
fn a_host_without_kvm_is_said_to_be_one() {
    let folder = Folder::new("no-kvm");
    let (code, _, error) = run(&["--set", "kvm=/dev/no-kvm"], &folder.image("good", GOOD), &[]);
    assert_eq!(code, 4);
    assert!(error.contains("/dev/no-kvm does not exist") && error.contains("`strata doctor`"), "{error}");
}

#[test]
fn an_interrupt_ends_the_machines_and_names_their_tests() {
    if !has_kvm("an interrupt") {
        return;
    }
    let folder = Folder::new("interrupt");
    let kernel = folder.image("deps/kernel", ENDLESS);
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata-test"));
    command.args(["--set", "mode=real16", "--memory", "64K"]).arg(kernel);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Once the guest has written, it runs.
    let mut seen = Vec::new();
    let mut out = child.stdout.take().unwrap();
    while !seen.ends_with(b"ok\n") {
        let mut byte = [0];
        out.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    let pid = i32::try_from(child.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "strata-test: interrupted while these tests ran: kernel\n");
}
