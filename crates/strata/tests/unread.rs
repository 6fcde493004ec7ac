//! Pipes that nobody reads: they hold nothing up that a signal could not end.

mod common;

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use common::{CHATTER, HALT, SPIN, Scratch, bare, finish, kvm, stderr, strata};

/// The writing end of a pipe that is full and never read.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'.'; 1 << 16]).unwrap();
    (reader, writer)
}

fn kill(name: &str, child: &Child) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// A line of `/proc/pid/status`, as a number: the masks of signals (proc(5)).
fn signals(child: &Child, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let digits = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    u64::from_str_radix(digits.trim(), 16).unwrap()
}

/// SIGTERM's bit: it is 15, and bit 0 is signal 1.
const TERM: u64 = 1 << 14;

/// Waits until SIGTERM is blocked in the main thread, or is not.
fn wait_for_term(child: &Child, blocked: bool) {
    while (signals(child, "SigBlk:") & TERM != 0) != blocked {
        std::thread::yield_now();
    }
}

#[test]
fn a_last_message_that_nobody_reads_can_be_interrupted() {
    if !kvm("a full standard error") {
        return;
    }
    let scratch = Scratch::new("unread-last");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let (reader, writer) = full_pipe();
    let mut run = strata(&chatter);
    run.stdin(Stdio::piped()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = run.spawn().unwrap();
    wait_for_term(&child, true);
    kill("INT", &child);
    // It has ended the run, and the message about it waits.
    wait_for_term(&child, false);
    kill("TERM", &child);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    drop(reader);
}

#[test]
fn the_event_loop_waits_for_no_reader() {
    if !kvm("messages of the event loop") {
        return;
    }
    let scratch = Scratch::new("unread-loop");
    // A guest with a power button that does not listen, and a message each for the button and the end.
    let spin = scratch.file("spin.bin", SPIN);
    let (reader, writer) = full_pipe();
    let mut run = bare();
    run.arg("run").arg(&spin).args(["--mode", "real16", "--memory", "2M", "--irqchip", "kernel"]);
    run.args(["--set", "acpi=true"]).stderr(writer);
    let mut child = run.spawn().unwrap();
    wait_for_term(&child, true);
    kill("TERM", &child);
    // Once the loop has taken it, it would be at its message.
    while signals(&child, "ShdPnd:") & TERM != 0 {
        std::thread::yield_now();
    }
    kill("INT", &child);
    wait_for_term(&child, false);
    kill("KILL", &child);
    child.wait().unwrap();
    drop(reader);
}

/// The options that write files.
const FILES: [&str; 2] = ["--report", "--record"];

fn fifo(scratch: &Scratch, name: &str) -> std::path::PathBuf {
    let path = scratch.path(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn a_fifo_without_a_reader_is_refused() {
    if !kvm("a FIFO without a reader") {
        return;
    }
    let scratch = Scratch::new("fifo-unread");
    let image = scratch.file("chatter.bin", CHATTER);
    let path = fifo(&scratch, "fifo");
    for option in FILES {
        let output = finish(strata(&image).arg(option).arg(&path));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("fifo: nobody reads it"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_fifo_that_is_read_takes_a_report_and_a_recording() {
    if !kvm("a FIFO that is read") {
        return;
    }
    let scratch = Scratch::new("fifo-read");
    let image = scratch.file("halt.bin", HALT);
    for (option, begins) in FILES.into_iter().zip(["{\n  \"stop\"", "{\"strata-cassette\":1}\n"]) {
        let path = fifo(&scratch, option);
        // Opened for both, so that the opening does not wait; a report fits into the pipe.
        let mut reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let output = finish(strata(&image).arg(option).arg(&path));
        assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
        let mut read = vec![0; begins.len()];
        std::io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), begins);
    }
}

/// Waits until a pipe holds about as much as it can.
fn wait_until_full(reader: impl std::os::fd::AsFd) {
    while rustix::io::ioctl_fionread(&reader).unwrap() < 60 << 10 {
        std::thread::yield_now();
    }
}

#[test]
fn a_recording_that_nobody_reads_can_be_interrupted() {
    if !kvm("a recording that nobody reads") {
        return;
    }
    let scratch = Scratch::new("unread-record");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let path = fifo(&scratch, "fifo");
    let reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut run = strata(&chatter);
    let mut child = run.arg("--record").arg(&path).stdout(Stdio::null()).spawn().unwrap();
    wait_for_term(&child, true);
    wait_until_full(&reader);
    kill("INT", &child);
    wait_for_term(&child, false);
    kill("TERM", &child);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn a_log_of_calls_that_nobody_reads_can_be_interrupted() {
    if !kvm("a log of calls that nobody reads") {
        return;
    }
    let scratch = Scratch::new("unread-log");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut run = strata(&chatter);
    run.args(["--show-ioctls", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(writer);
    let mut child = run.spawn().unwrap();
    wait_until_full(&reader);
    kill("INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
