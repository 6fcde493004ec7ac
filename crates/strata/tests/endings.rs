//! How a run ends, seen from the shell: exit code, message, and what was printed.

mod common;

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use common::{CHATTER, ECHO, HALT, SPIN, Scratch, finish, kvm, stderr, strata};

#[test]
fn a_halt_says_so_unless_told_to_be_quiet() {
    if !kvm("halting") {
        return;
    }
    let scratch = Scratch::new("halt");
    let image = scratch.file("halt.bin", HALT);
    let output = finish(&mut strata(&image));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(10), "strata: halted\n"));
    let quiet = finish(strata(&image).arg("--quiet"));
    assert_eq!((quiet.status.code(), stderr(&quiet).as_str()), (Some(10), ""));
}

#[test]
fn the_guests_own_code_is_the_processs() {
    if !kvm("debug exit") {
        return;
    }
    let scratch = Scratch::new("exit");
    // mov al, 0x10; out 0xf4, al
    let image = scratch.file("exit.bin", b"\xb0\x10\xe6\xf4\xf4");
    let output = finish(strata(&image).args(["--debug-exit", "0xf4"]));
    assert_eq!(output.status.code(), Some(33), "{}", stderr(&output));
    assert!(stderr(&output).contains("0x10"));
}

#[test]
fn budgets_end_what_does_not_end_by_itself() {
    if !kvm("budgets") {
        return;
    }
    let scratch = Scratch::new("budgets");
    let spin = scratch.file("spin.bin", SPIN);
    let output = finish(strata(&spin).args(["--budget-wall", "200ms"]));
    assert_eq!(output.status.code(), Some(20), "{}", stderr(&output));
    let chatter = scratch.file("chatter.bin", CHATTER);
    let output = finish(strata(&chatter).args(["--budget-exits", "5"]));
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(18), &b"!!!!!"[..]));
}

#[test]
fn an_interrupt_ends_a_guest_that_never_exits() {
    if !kvm("interrupting") {
        return;
    }
    let scratch = Scratch::new("interrupt");
    let spin = scratch.file("spin.bin", SPIN);
    for signal in ["INT", "TERM", "HUP"] {
        let mut child = strata(&spin).arg("--show-ioctls").spawn().unwrap();
        // KVM_CREATE_VCPU comes after the handlers are in place.
        let mut said = child.stderr.take().unwrap();
        wait_for(&mut said, "KVM_CREATE_VCPU");
        let status =
            std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(status.unwrap().success());
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
        assert!(rest.ends_with("strata: interrupted\n"), "{rest}");
    }
}

#[test]
fn a_closed_standard_output_ends_the_run() {
    if !kvm("closed output") {
        return;
    }
    let scratch = Scratch::new("pipe");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let mut child = strata(&chatter).spawn().unwrap();
    let mut first = [0; 3];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &first), (Some(28), b"!!!"), "{}", stderr(&output));
}

#[test]
fn what_is_typed_reaches_the_guest_from_a_pipe_and_from_a_file() {
    if !kvm("serial input") {
        return;
    }
    let scratch = Scratch::new("echo");
    let echo = scratch.file("echo.bin", ECHO);
    // More than the port's FIFO and a pipe's buffer hold, so that nothing may be lost when they are full.
    let typed = [b"0123456789abcdef".repeat(64), b"q".to_vec()].concat();
    let mut child = strata(&echo).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&typed).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    assert_eq!(output.stdout, typed);

    let file = scratch.file("typed", &typed);
    let output = finish(strata(&echo).stdin(std::fs::File::open(file).unwrap()));
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(10), typed),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_end_of_input_is_not_the_end_of_the_guest() {
    if !kvm("end of input") {
        return;
    }
    let scratch = Scratch::new("eof");
    let echo = scratch.file("echo.bin", ECHO);
    let output = finish(strata(&echo).args(["--budget-wall", "300ms"]));
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(20), 0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn wait_for(stream: &mut impl std::io::Read, word: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(word) {
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "ended before {word}: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
}

#[test]
fn a_reader_that_does_not_read_cannot_hold_the_run() {
    if !kvm("blocked output") {
        return;
    }
    let scratch = Scratch::new("blocked");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let (reader, mut writer) = std::io::pipe().unwrap();
    // As much as a pipe holds: the guest's first byte waits for ever.
    writer.write_all(&vec![b'.'; 1 << 16]).unwrap();
    let output = finish(strata(&chatter).args(["--budget-wall", "200ms"]).stdout(writer));
    assert_eq!(output.status.code(), Some(20), "{}", stderr(&output));
    drop(reader);
}
