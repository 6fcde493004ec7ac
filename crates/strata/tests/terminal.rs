//! The console on a real terminal: keys one by one, and everything as it was afterwards.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use common::{CHATTER, ECHO, SPIN, Scratch, kvm};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

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
fn start(image: &std::path::Path, theirs: &OwnedFd) -> Child {
    Command::new("setsid")
        .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_strata"), "run"])
        .arg(image)
        .args(["--mode", "real16", "--memory", "64K"])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn local_modes(terminal: &OwnedFd) -> LocalModes {
    tcgetattr(terminal).unwrap().local_modes
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

#[test]
fn keys_arrive_one_by_one_and_the_terminal_comes_back() {
    if !kvm("the terminal") {
        return;
    }
    let scratch = Scratch::new("tty");
    let echo = scratch.file("echo.bin", ECHO);
    let (mut ours, theirs) = terminal();
    let before = local_modes(&theirs);
    assert!(before.contains(LocalModes::ICANON | LocalModes::ECHO));
    let mut child = start(&echo, &theirs);
    // Until strata has switched the terminal over, the terminal itself would echo.
    while local_modes(&theirs).contains(LocalModes::ECHO) {
        std::thread::yield_now();
    }
    ours.write_all(b"a").unwrap();
    assert_eq!(read_until(&mut ours, "a"), "a", "no newline was typed, and the guest has it");
    ours.write_all(b"q").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(10));
    assert_eq!(read_until(&mut ours, "q"), "q");
    assert_eq!(local_modes(&theirs), before);
}

#[test]
fn ctrl_c_ends_the_run_and_the_terminal_comes_back() {
    if !kvm("Ctrl-C") {
        return;
    }
    let scratch = Scratch::new("ctrl-c");
    let spin = scratch.file("spin.bin", SPIN);
    let (mut ours, theirs) = terminal();
    let before = local_modes(&theirs);
    let mut child = start(&spin, &theirs);
    while local_modes(&theirs).contains(LocalModes::ICANON) {
        std::thread::yield_now();
    }
    ours.write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(local_modes(&theirs), before);
}

#[test]
fn a_terminal_that_goes_away_ends_the_run() {
    if !kvm("hang-up") {
        return;
    }
    let scratch = Scratch::new("hang-up");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let (mut ours, theirs) = terminal();
    let mut child = start(&chatter, &theirs);
    read_until(&mut ours, "!!!");
    drop((ours, theirs));
    let code = child.wait().unwrap().code();
    // SIGHUP, or the write that fails, whichever is first.
    assert!(matches!(code, Some(130 | 28)), "{code:?}");
}
