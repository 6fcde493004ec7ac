//! The console on a real terminal: keys one by one, and everything as it was afterwards.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use common::{CHATTER, ECHO, SPIN, Scratch, kvm};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, tcgetattr};

/// A terminal: what a person holds, and what programs open.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs =
        rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (File::from(ours), theirs)
}

/// `strata` with this terminal as its own, as a shell would start it.
fn start(image: &std::path::Path, theirs: &OwnedFd, more: &[&str]) -> Child {
    Command::new("setsid")
        .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_strata"), "run"])
        .arg(image)
        .args(["--mode", "real16", "--memory", "64K"])
        .args(more)
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// All of the settings, to be compared.
fn settings(terminal: &OwnedFd) -> (InputModes, OutputModes, ControlModes, LocalModes, String) {
    let found = tcgetattr(terminal).unwrap();
    let keys = format!("{:?}", found.special_codes);
    (found.input_modes, found.output_modes, found.control_modes, found.local_modes, keys)
}

/// Waits until the terminal is raw, or is not.
fn wait_for_raw(terminal: &OwnedFd, raw: bool) {
    while settings(terminal).3.contains(LocalModes::ICANON) == raw {
        std::thread::yield_now();
    }
}

/// Reads until `word` has been seen.
fn read_until(ours: &mut File, word: &str) -> String {
    let mut seen = String::new();
    let mut byte = [0];
    while !seen.contains(word) {
        assert_eq!(ours.read(&mut byte).unwrap(), 1);
        seen.push(byte[0].into());
    }
    seen
}

fn said(child: Child) -> String {
    common::stderr(&child.wait_with_output().unwrap())
}

#[test]
fn every_key_arrives_as_it_is_typed_and_the_terminal_comes_back() {
    if !kvm("the terminal") {
        return;
    }
    let scratch = Scratch::new("tty");
    let echo = scratch.file("echo.bin", ECHO);
    let (mut ours, theirs) = terminal();
    let before = settings(&theirs);
    assert!(before.3.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    let mut child = start(&echo, &theirs, &[]);
    // Until strata has switched the terminal over, the terminal itself would echo.
    wait_for_raw(&theirs, true);
    let raw = settings(&theirs);
    assert!(!raw.3.intersects(LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN), "{raw:?}");
    assert!(!raw.0.intersects(InputModes::ICRNL | InputModes::IXON), "{raw:?}");
    assert_eq!((raw.1, raw.2), (before.1, before.2), "output is processed as before");
    // Ctrl-C, Ctrl-D, Ctrl-Q, Ctrl-S, Ctrl-V, Ctrl-Z, Ctrl-\, Return, Backspace: no newline was typed, and the guest has it.
    let keys = "\x03\x04\x11\x13\x16\x1a\x1c\r\x7fa";
    ours.write_all(keys.as_bytes()).unwrap();
    assert_eq!(read_until(&mut ours, "a"), keys);
    // One Ctrl-a for two, another for Ctrl-a a, nothing for an escape that means nothing.
    ours.write_all(b"\x01\x01b\x01ac\x01zd").unwrap();
    assert_eq!(read_until(&mut ours, "d"), "\x01b\x01cd");
    ours.write_all(b"q").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(10));
    assert_eq!(read_until(&mut ours, "q"), "q");
    assert_eq!(settings(&theirs), before);
    assert_eq!(said(child), "strata: Ctrl-a x ends the run, Ctrl-a h shows the other keys\nstrata: halted\n");
}

#[test]
fn ctrl_a_x_ends_the_run_also_at_a_guest_that_takes_nothing() {
    if !kvm("Ctrl-a x") {
        return;
    }
    let scratch = Scratch::new("ctrl-a");
    let spin = scratch.file("spin.bin", SPIN);
    for typed in [0, 20_000] {
        let (mut ours, theirs) = terminal();
        let before = settings(&theirs);
        let mut child = start(&spin, &theirs, &["--quiet"]);
        wait_for_raw(&theirs, true);
        // More than the port, the terminal and one read hold.
        ours.write_all(&vec![b'.'; typed]).unwrap();
        ours.write_all(b"\x01x").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(settings(&theirs), before);
        assert_eq!(said(child), "");
    }
}

#[test]
fn a_paste_longer_than_all_buffers_arrives_whole() {
    if !kvm("a long paste") {
        return;
    }
    let scratch = Scratch::new("paste");
    let echo = scratch.file("echo.bin", ECHO);
    let (ours, theirs) = terminal();
    // If a byte were lost, the run's end would end the reading below.
    let mut child = start(&echo, &theirs, &["--budget-wall", "100s"]);
    wait_for_raw(&theirs, true);
    drop(theirs);
    let typed = [b"0123456789abcdef".repeat(5120), b"q".to_vec()].concat();
    let mut typing = ours.try_clone().unwrap();
    let text = typed.clone();
    let typist = std::thread::spawn(move || typing.write_all(&text).unwrap());
    let mut seen = vec![0; typed.len()];
    let mut reading = ours;
    reading.read_exact(&mut seen).unwrap();
    assert!(seen == typed);
    typist.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(10));
}

#[test]
fn ctrl_a_h_says_what_the_keys_are() {
    if !kvm("Ctrl-a h") {
        return;
    }
    let scratch = Scratch::new("ctrl-a-h");
    let spin = scratch.file("spin.bin", SPIN);
    let (mut ours, theirs) = terminal();
    let mut child = start(&spin, &theirs, &["--quiet"]);
    wait_for_raw(&theirs, true);
    ours.write_all(b"\x01h\x01x").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let said = said(child);
    assert!(said.contains("Ctrl-a x ends the run, Ctrl-a Ctrl-a"), "{said}");
}

#[test]
fn signals_that_end_the_run_leave_the_terminal_as_it_was() {
    if !kvm("signals at a terminal") {
        return;
    }
    let scratch = Scratch::new("tty-signals");
    let spin = scratch.file("spin.bin", SPIN);
    for name in ["INT", "TERM", "HUP", "QUIT"] {
        let (_ours, theirs) = terminal();
        let before = settings(&theirs);
        let mut child = start(&spin, &theirs, &[]);
        wait_for_raw(&theirs, true);
        kill(name, &child);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        assert_eq!(settings(&theirs), before, "{name}");
    }
}

#[test]
fn a_stopped_run_gives_the_terminal_back_until_it_goes_on() {
    if !kvm("stopping at a terminal") {
        return;
    }
    let scratch = Scratch::new("tty-stop");
    let echo = scratch.file("echo.bin", ECHO);
    let (mut ours, theirs) = terminal();
    let before = settings(&theirs);
    let mut child = start(&echo, &theirs, &[]);
    for _ in 0..2 {
        wait_for_raw(&theirs, true);
        kill("TSTP", &child);
        while !is_stopped(&child) {
            std::thread::yield_now();
        }
        assert_eq!(settings(&theirs), before);
        kill("CONT", &child);
    }
    wait_for_raw(&theirs, true);
    ours.write_all(b"aq").unwrap();
    assert_eq!(read_until(&mut ours, "q"), "aq");
    assert_eq!(child.wait().unwrap().code(), Some(10));
    assert_eq!(settings(&theirs), before);
}

fn kill(name: &str, child: &Child) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// proc(5), `/proc/pid/stat`: the state is the letter behind the name in parentheses.
fn is_stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
}

#[test]
fn a_terminal_that_goes_away_ends_the_run() {
    if !kvm("hang-up") {
        return;
    }
    let scratch = Scratch::new("hang-up");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let (mut ours, theirs) = terminal();
    let mut child = start(&chatter, &theirs, &[]);
    read_until(&mut ours, "!!!");
    drop((ours, theirs));
    let code = child.wait().unwrap().code();
    // SIGHUP, or the write that fails, whichever is first.
    assert!(matches!(code, Some(130 | 28)), "{code:?}");
}
