//! Core dumps: of a guest that died, and at SIGUSR1 of one that runs.

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use common::gdb::Debugged;
use common::{DIE, HALT, SAY_AND_SPIN, Scratch, finish, kill, kvm, long, stderr, strata};

/// What readelf says of a core dump; `None` where it is not installed.
fn readelf(what: &str, path: &Path) -> Option<String> {
    let Ok(output) = Command::new("readelf").arg(what).arg(path).output() else {
        eprintln!("not run: readelf {what}: binutils are not installed");
        return None;
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A run whose guest has printed `!`, and what it says.
struct Running {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Running {
    fn start(run: &mut Command) -> Self {
        let mut child = run.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Self { child, said }
    }

    /// Asks for a dump, and gives what is said of it.
    fn dump(&mut self) -> String {
        kill("USR1", &self.child);
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Interrupts it; gives the exit code and the rest of what it said.
    fn end(mut self) -> (Option<i32>, String) {
        kill("INT", &self.child);
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

#[test]
fn a_guest_that_died_leaves_a_core_dump() {
    if !kvm("a core dump") {
        return;
    }
    let scratch = Scratch::new("core");
    let image = scratch.file("die.bin", DIE);
    let path = scratch.file("guest.core", "an older one");
    let output = finish(long(&image).arg("--core").arg(&path));
    assert_eq!(output.status.code(), Some(14), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.ends_with(&format!("strata: core dump: {}\n", path.display())), "{said}");
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"\x7fELF\x02\x01\x01"));
    assert!(bytes.windows(DIE.len()).any(|window| window == DIE), "the guest's code is in it");
    // A guest's memory has its secrets.
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    if let Some(headers) = readelf("-hl", &path) {
        assert!(headers.contains("CORE (Core file)") && headers.contains("LOAD"), "{headers}");
    }
    let gdb = Command::new("gdb")
        .args(["-q", "-nx", "-batch", "-ex", "set architecture i386:x86-64", "-ex"])
        .arg(format!("core-file {}", path.display()))
        .args(["-ex", "x/2i 0x100006", "-ex", "info threads"])
        .stdin(Stdio::null())
        .output();
    let Ok(gdb) = gdb else {
        eprintln!("not run: gdb on a core dump: gdb is not installed");
        return;
    };
    let found = String::from_utf8_lossy(&gdb.stdout).into_owned();
    assert!(found.contains("ud2") && found.contains("out "), "{found}{}", stderr(&gdb));
}

#[test]
fn a_guest_that_ends_well_leaves_none() {
    if !kvm("no core dump") {
        return;
    }
    let scratch = Scratch::new("no-core");
    let image = scratch.file("halt.bin", HALT);
    let path = scratch.file("guest.core", "an older one");
    let output = finish(strata(&image).arg("--core").arg(&path));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(10), "strata: halted\n"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "an older one");
}

#[test]
fn a_quiet_run_writes_it_all_the_same() {
    if !kvm("a quiet core dump") {
        return;
    }
    let scratch = Scratch::new("quiet-core");
    let image = scratch.file("die.bin", DIE);
    let path = scratch.path("guest.core");
    for recorder in [&[][..], &["--no-recorder"]] {
        let output = finish(long(&image).arg("--quiet").args(recorder).arg("--core").arg(&path));
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(14), ""));
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_place_where_none_can_be_written_is_refused_before_the_guest_runs() {
    if !kvm("a bad place for a core dump") {
        return;
    }
    let scratch = Scratch::new("core-place");
    let image = scratch.file("say.bin", SAY_AND_SPIN);
    let file = scratch.file("file", "");
    for (path, code, part) in [
        (scratch.path("absent/guest.core"), 4, "No such file"),
        (file.join("guest.core"), 4, "Not a directory"),
        ("/dev/null".into(), 2, "could be replaced"),
        (scratch.path(""), 2, "could be replaced"),
        ("..".into(), 2, "could be replaced"),
    ] {
        let output = finish(strata(&image).arg("--core").arg(&path));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.starts_with("strata: cannot write ") && said.contains(part), "{said}");
        assert!(output.stdout.is_empty(), "it ran");
    }
}

#[test]
fn sigusr1_writes_one_as_often_as_it_comes_and_the_guest_goes_on() {
    if !kvm("core dumps on demand") {
        return;
    }
    let scratch = Scratch::new("on-demand");
    let image = scratch.file("say.bin", SAY_AND_SPIN);
    let path = scratch.path("guest.core");
    for more in [&[][..], &["--cpus", "2", "--irqchip", "kernel", "--memory", "2M"]] {
        let mut run = Running::start(strata(&image).args(more).arg("--core").arg(&path));
        for _ in 0..2 {
            let said = run.dump();
            let begin = format!("strata: core dump: {}; the guest stood still for ", path.display());
            assert!(said.starts_with(&begin), "{said}");
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes.starts_with(b"\x7fELF\x02"));
            if let Some(notes) = readelf("-n", &path) {
                let cpus = if more.is_empty() { 1 } else { 2 };
                assert_eq!(notes.matches("NT_PRSTATUS").count(), cpus, "{notes}");
            }
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(run.end(), (Some(130), "strata: interrupted\n".to_owned()));
        assert!(!path.exists(), "an interrupt is no abnormal end");
    }
}

#[test]
fn a_guest_goes_on_after_a_dump() {
    if !kvm("going on after a dump") {
        return;
    }
    let scratch = Scratch::new("goes-on");
    let echo = scratch.file("echo.bin", [b"\xba\xf8\x03\xb0!\xee", common::ECHO].concat());
    let path = scratch.path("guest.core");
    let mut run = Running::start(strata(&echo).stdin(Stdio::piped()).arg("--core").arg(&path));
    assert!(run.dump().contains("core dump"));
    std::io::Write::write_all(&mut run.child.stdin.take().unwrap(), b"q").unwrap();
    assert_eq!(run.line(), "strata: halted\n");
    assert_eq!(run.child.wait().unwrap().code(), Some(10));
}

#[test]
fn a_disk_that_is_full_is_said_and_the_guest_goes_on() {
    if !kvm("a full disk for core dumps") {
        return;
    }
    let scratch = Scratch::new("core-full");
    let image = scratch.file("say.bin", SAY_AND_SPIN);
    let path = scratch.file("guest.core", "an older one");
    // No file may be longer than 4 KiB: what writes more gets an error, as on a full disk.
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let mut run = Command::new("sh");
    run.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_strata"), "run"]).arg(&image);
    run.args(["--mode", "real16", "--memory", "64K", "--core"]).arg(&path);
    let mut run = Running::start(run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    for _ in 0..2 {
        let said = run.dump();
        assert!(said.contains("no core dump at ") && said.contains("free some space"), "{said}");
    }
    assert_eq!(run.end(), (Some(130), "strata: interrupted\n".to_owned()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "an older one");
    let left = std::fs::read_dir(scratch.path("")).unwrap().count();
    assert_eq!(left, 2, "nothing else is left behind");
}

#[test]
fn a_debugger_that_is_attached_is_in_the_way_and_is_told_of() {
    if !kvm("a core dump beside a debugger") {
        return;
    }
    let scratch = Scratch::new("core-gdb");
    let image = scratch.file("say.bin", SAY_AND_SPIN);
    let path = scratch.path("guest.core");
    let socket = scratch.path("socket");
    let mut run = Debugged::start(strata(&image).args(["--wait", "--core"]).arg(&path), &socket);
    kill("USR1", &run.child);
    let said = run.line();
    assert_eq!(said, "strata: no core dump while a debugger is attached: detach it first\n");
    kill("INT", &run.child);
    let (status, said) = run.end();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(!path.exists() && !socket.exists(), "{said}");
}
