//! Sessions of the real gdb, as a person would have them.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::gdb::Debugged;
use common::{SPIN, Scratch, bare, kvm, strata};

/// Whether the tests can run; says so where not.
fn tools(what: &str) -> bool {
    let is_there = |tool: &&str| {
        let mut command = Command::new(tool);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    match ["gdb", "nasm", "ld"].iter().find(|tool| !is_there(tool)) {
        Some(missing) => eprintln!("not run: {what}: no {missing}"),
        None => return kvm(what),
    }
    false
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The guest with symbols and line numbers.
fn guest(scratch: &Scratch) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gdb_sessions/guest.asm");
    let (object, image) = (scratch.path("guest.o"), scratch.path("guest.elf"));
    succeeds(Command::new("nasm").args(["-f", "elf64", "-g", "-F", "dwarf", "-o"]).args([&object, &source]));
    let addresses = ["-Ttext=0x100000", "-Tdata=0x102000", "-z", "noseparate-code"];
    succeeds(Command::new("ld").args(addresses).arg("-o").args([&image, &object]));
    image
}

/// What gdb prints in a session of these commands. It has a minute.
fn session(socket: &Path, symbols: Option<&Path>, commands: &[&str]) -> String {
    // In one stream, so that what it prints stays in order: some of it goes to standard error.
    let mut gdb = Command::new("sh");
    gdb.args(["-c", "exec timeout 60 gdb -nx -batch \"$@\" 2>&1", "sh", "-ex", "set width 0", "-ex"]);
    gdb.arg(format!("target remote {}", socket.display()));
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.args(symbols).stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() != Some(124), "gdb did not end: {printed}");
    printed
}

/// Looks for these, one after the other.
fn contains(printed: &str, expected: &[&str]) {
    let mut rest = printed;
    for piece in expected {
        let at =
            rest.find(piece).unwrap_or_else(|| panic!("no {piece:?} from here on: {rest}\nin: {printed}"));
        rest = &rest[at + piece.len()..];
    }
}

fn start(image: &Path, socket: &Path) -> Debugged {
    let mut command = bare();
    command.arg("run").arg(image).args(["--wait", "--debug-exit", "0xf4"]);
    Debugged::start(&mut command, socket)
}

#[test]
fn symbols_breakpoints_and_steps() {
    if !tools("gdb: symbols") {
        return;
    }
    let scratch = Scratch::new("gdb-symbols");
    let (image, socket) = (guest(&scratch), scratch.path("gdb"));
    let run = start(&image, &socket);
    let printed = session(
        &socket,
        Some(&image),
        &[
            "info registers rip cr0 efer",
            "break count",
            "continue",
            "backtrace",
            "stepi",
            "next",
            "x/gx &counter",
            "finish",
            "hbreak done",
            "continue 3",
            "delete 1",
            "continue",
            "set $rcx = 7",
            "print $rcx",
            "continue",
        ],
    );
    contains(
        &printed,
        &[
            "_start () at",
            "0x100000 <_start>",
            "[ PE ET NE WP PG ]",
            "[ LME LMA NXE ]",
            "Breakpoint 1, count () at",
            "#0  count () at",
            "#1  0x0000000000100011 in again () at",
            "mov     [rel counter], rcx",
            "ret",
            "0x102000:\t0x0000000000000001",
            "again () at",
            "Breakpoint 1, count () at",
            "Breakpoint 2, done () at",
            "$1 = 7",
            "the machine has ended: debug exit with value 0x7",
            "exited with code 017",
        ],
    );
    assert_eq!(run.end().0.code(), Some(15));
}

#[test]
fn watchpoints_registers_and_memory() {
    if !tools("gdb: watchpoints") {
        return;
    }
    let scratch = Scratch::new("gdb-watch");
    let (image, socket) = (guest(&scratch), scratch.path("gdb"));
    let run = start(&image, &socket);
    let printed = session(
        &socket,
        Some(&image),
        &[
            "watch *(long *)&counter",
            "continue",
            "continue",
            "delete",
            "set $xmm3.v2_int64[1] = 0x1234",
            "print /x $xmm3.v2_int64",
            "print /x $mxcsr",
            "print /x $fctrl",
            "set $fs_base = 0x5000",
            "print /x $fs_base",
            "print $cr4",
            "print $cs",
            "set var *(long *)&counter = 77",
            "print *(long *)&counter",
            "x/gx 0xffff800000000000",
            "monitor tables 0x102000",
            "monitor phys on",
            "x/gx 0x102000",
            "monitor phys off",
            "monitor nonsense",
            "detach",
        ],
    );
    contains(
        &printed,
        &[
            "ardware watchpoint 1",
            "Old value = 0",
            "New value = 1",
            "Old value = 1",
            "New value = 2",
            "{0x0, 0x1234}",
            "0x1f80",
            "0x37f",
            "0x5000",
            "[ PAE ]",
            "= 8",
            "= 77",
            "Cannot access memory at address 0xffff800000000000",
            "0x102000 is physical 0x102000",
            "addresses are physical",
            "0x000000000000004d",
            "addresses are linear",
            "there is no `monitor nonsense`",
            "detached]",
        ],
    );
    assert_eq!(run.end().0.code(), Some(11), "it went on");
}

#[test]
fn threads_and_sixteen_bit_code() {
    if !tools("gdb: threads") {
        return;
    }
    let scratch = Scratch::new("gdb-threads");
    let (image, socket) = (scratch.file("spin.bin", SPIN), scratch.path("gdb"));
    let run = Debugged::start(strata(&image).args(["--cpus", "2", "--irqchip", "kernel", "--wait"]), &socket);
    let printed = session(
        &socket,
        None,
        &[
            "info threads",
            "x/i $pc",
            "stepi",
            "thread 2",
            "print /x $cs_base",
            "info registers eip",
            "set architecture i386",
            "x/i 0x7c00",
            "kill",
        ],
    );
    contains(
        &printed,
        &[
            "(vCPU 0 runs)",
            "(vCPU 1 is off)",
            "=> 0x7c00:\tjmp    0x7c00",
            "0x00007c00 in",
            "Switching to thread 2",
            "0xffff0000",
            "0x7c00:\tjmp    0x7c00",
            "killed]",
        ],
    );
    assert_eq!(run.end().0.code(), Some(130));
}
