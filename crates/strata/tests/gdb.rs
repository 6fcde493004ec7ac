//! Debugging a guest, with a client that says what the test tells it to: on any host, whatever its KVM can do for a
//! debugger.

mod common;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use common::gdb::{Client, Debugged};
use common::{HALT, SPIN, Scratch, bare, finish, kvm, stderr, strata};

/// Counts to five in AX and at 0x500:
///
/// `7c00: xor ax, ax; 7c02: inc ax; 7c03: mov [0x500], ax; 7c06: cmp ax, 5; 7c09: jne 0x7c02; 7c0b: hlt`
const COUNT: &[u8] = b"\x31\xc0\x40\xa3\x00\x05\x3d\x05\x00\x75\xf7\xf4";
/// 64-bit code whose exception finds no handler: `lidt [rip + 2]; ud2`, and zeroes behind it.
const DIE: &[u8] = b"\x0f\x01\x1d\x02\x00\x00\x00\x0f\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

/// Registers of `i8086` by gdb's numbers.
const EAX: u32 = 0;
const EIP: u32 = 8;

#[test]
fn breakpoints_watchpoints_and_steps_stop_where_they_should() {
    if !kvm("debugging") {
        return;
    }
    let scratch = Scratch::new("gdb-stops");
    let (image, socket) = (scratch.file("count.bin", COUNT), scratch.path("gdb"));
    let run = Debugged::start(strata(&image).arg("--wait"), &socket);
    let mut gdb = Client::connect(&socket);
    assert_eq!(gdb.register(EIP), 0x7c00);
    // By whatever means.
    assert_eq!(gdb.ask("Z0,7c03,1"), "OK");
    assert_eq!(gdb.ask("vCont;c"), "T05thread:01;swbreak:;");
    assert_eq!((gdb.register(EIP), gdb.register(EAX)), (0x7c03, 1));
    assert_eq!(gdb.ask("m7c03,1"), "a3", "nothing of it is to be seen");
    assert_eq!((gdb.ask("z0,7c03,1"), gdb.ask("vCont;s:1")), ("OK".into(), "T05thread:01;".into()));
    assert_eq!((gdb.register(EIP), gdb.ask("m500,2")), (0x7c06, "0100".into()));
    assert_eq!(gdb.ask("Z2,500,2"), "OK");
    assert_eq!(gdb.ask("vCont;c"), "T05thread:01;watch:0500;");
    assert_eq!((gdb.register(EIP), gdb.ask("m500,2")), (0x7c06, "0200".into()));
    assert_eq!((gdb.ask("z2,500,2"), gdb.ask("Z1,7c0b,1")), ("OK".into(), "OK".into()));
    assert_eq!(gdb.ask("vCont;c"), "T05thread:01;hwbreak:;");
    assert_eq!((gdb.register(EIP), gdb.register(EAX)), (0x7c0b, 5));
    // It can be sent back, with other values.
    assert_eq!((gdb.ask("P8=027c0000"), gdb.ask("P0=03000000")), ("OK".into(), "OK".into()));
    assert_eq!(gdb.ask("vCont;c"), "T05thread:01;hwbreak:;");
    assert_eq!(gdb.register(EAX), 5);
    assert_eq!(
        (gdb.ask("M500,2:3412"), gdb.ask("m500,2"), gdb.ask("m10000,1")),
        ("OK".into(), "3412".into(), "E0e".into())
    );
    assert_eq!(gdb.ask("D"), "OK");
    let (status, said) = run.end();
    assert_eq!(status.code(), Some(10), "{said}");
    assert!(said.contains("the debugger has detached, and the guest goes on"), "{said}");
    assert!(!socket.exists());
}

#[test]
fn more_breakpoints_than_the_processor_has_are_no_limit() {
    if !kvm("breakpoints") {
        return;
    }
    let scratch = Scratch::new("gdb-many");
    let (image, socket) = (scratch.file("count.bin", COUNT), scratch.path("gdb"));
    let _run = Debugged::start(strata(&image).arg("--wait"), &socket);
    let mut gdb = Client::connect(&socket);
    for at in [0x7d00, 0x7d01, 0x7d02, 0x7d03, 0x7d04, 0x7c09] {
        assert_eq!(gdb.ask(&format!("Z0,{at:x},1")), "OK");
    }
    assert_eq!(gdb.ask("vCont;c"), "T05thread:01;swbreak:;");
    assert_eq!((gdb.register(EIP), gdb.register(EAX)), (0x7c09, 1));
    assert_eq!(gdb.ask("z0,7c09,1"), "OK");
    gdb.send("k");
}

#[test]
fn a_guest_that_spins_is_stopped_by_ctrl_c_and_goes_on() {
    if !kvm("Ctrl-C") {
        return;
    }
    let scratch = Scratch::new("gdb-spin");
    let (image, socket) = (scratch.file("spin.bin", SPIN), scratch.path("gdb"));
    let mut run = Debugged::start(strata(&image).args(["--cpus", "2", "--irqchip", "kernel"]), &socket);
    let mut gdb = Client::connect(&socket);
    assert_eq!((gdb.ask("qfThreadInfo"), gdb.register(EIP)), ("m01,02".into(), 0x7c00));
    for _ in 0..3 {
        gdb.send("vCont;c");
        std::io::Write::write_all(&mut gdb.0, b"\x03").unwrap();
        assert_eq!(gdb.packet(), "T02thread:01;");
        assert_eq!(gdb.ask("vCont;s:1"), "T05thread:01;");
    }
    assert_eq!(gdb.ask("Hg2"), "OK");
    assert_ne!(gdb.register(EIP), 0x7c00, "the other one has not been started");
    // A client that vanishes leaves it as it is, which another one finds.
    drop(gdb);
    assert!(run.line().contains("a debugger is connected"));
    assert!(run.line().contains("stands still until the next: target remote"));
    let mut gdb = Client::connect(&socket);
    assert_eq!(gdb.register(EIP), 0x7c00);
    gdb.send("vKill;1");
    assert_eq!(gdb.packet(), "OK");
    let (status, said) = run.end();
    assert_eq!(status.code(), Some(130), "{said}");
}

#[test]
fn a_death_is_seen_before_the_end() {
    if !kvm("a triple fault") {
        return;
    }
    let scratch = Scratch::new("gdb-die");
    let (image, socket) = (scratch.file("die.bin", DIE), scratch.path("gdb"));
    let mut command = bare();
    command.arg("run").arg(&image).args(["--mode", "long64", "--wait"]);
    let run = Debugged::start(&mut command, &socket);
    let mut gdb = Client::connect(&socket);
    gdb.send("vCont;c");
    assert_eq!(gdb.line(), "vCPU 0: triple fault; going on ends the machine\n");
    assert_eq!(gdb.packet(), "T0bthread:01;");
    assert_eq!(gdb.ask("m100000,2"), "0f01");
    gdb.send("vCont;c");
    assert_eq!(gdb.line(), "the machine has ended: triple fault\n");
    assert_eq!(gdb.packet(), "W0e");
    assert_eq!(run.end().0.code(), Some(14));
}

#[test]
fn nobody_connects_and_nothing_changes() {
    if !kvm("a debugger's socket") {
        return;
    }
    let scratch = Scratch::new("gdb-nobody");
    let (image, socket) = (scratch.file("halt.bin", HALT), scratch.path("gdb"));
    // One that nobody listens at is replaced.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (status, said) = Debugged::start(&mut strata(&image), &socket).end();
    assert_eq!((status.code(), said.as_str(), socket.exists()), (Some(10), "strata: halted\n", false));
    let open = finish(strata(&image).args(["--gdb", "0.0.0.0:0"]));
    assert_eq!(open.status.code(), Some(10));
    assert!(stderr(&open).contains("whoever reaches this address controls the guest"), "{}", stderr(&open));
    let own = finish(strata(&image).args(["--gdb", "0"]));
    assert!(stderr(&own).contains("target remote 127.0.0.1:") && !stderr(&own).contains("whoever"));
}

#[test]
fn what_is_wrong_with_the_address_is_said() {
    if !kvm("a debugger's address") {
        return;
    }
    let scratch = Scratch::new("gdb-wrong");
    let image = scratch.file("halt.bin", HALT);
    let file = scratch.file("precious", "a file");
    for (address, expected) in [
        (file.as_os_str().to_str().unwrap(), "is no socket: choose another path"),
        ("99999", "write a port as in 1234"),
        ("/nowhere/gdb", "cannot listen for a debugger at /nowhere/gdb"),
    ] {
        let output = finish(strata(&image).args(["--gdb", address]));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    assert_eq!(fs::read(&file).unwrap(), b"a file");
    let alone = finish(strata(&image).arg("--wait"));
    assert_eq!(alone.status.code(), Some(2), "there is nothing to wait for");
}

#[test]
fn garbage_and_a_second_client_are_turned_away() {
    if !kvm("garbage") {
        return;
    }
    let scratch = Scratch::new("gdb-garbage");
    let (image, socket) = (scratch.file("spin.bin", SPIN), scratch.path("gdb"));
    let mut run = Debugged::start(&mut strata(&image), &socket);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut noise = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let _ = std::io::Write::write_all(&mut noise, &[b'x'; 10_000]);
    assert!(matches!(noise.read(&mut [0]), Ok(0) | Err(_)));
    assert!(run.line().contains("no debugger has connected, and was turned away"));
    let mut gdb = Client::connect(&socket);
    assert!(run.line().contains("a debugger is connected"));
    let mut second = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)));
    assert!(run.line().contains("a second debugger was turned away"));
    // What this host can do is for whoever reads the test's output.
    let host = gdb.monitor("host");
    eprint!("{host}");
    assert!(host.starts_with("single steps: yes"));
    gdb.send("k");
    assert_eq!(run.end().0.code(), Some(130));
}
