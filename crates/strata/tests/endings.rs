//! How a run ends, seen from the shell: exit code, message, and what was printed.

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use common::{CHATTER, ECHO, HALT, SAY_AND_SPIN, SPIN, Scratch, bare, finish, kvm, stderr, strata};

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
fn the_map_of_a_guest_that_has_ended_is_as_it_left_it() {
    if !kvm("the map of an ended guest") {
        return;
    }
    let scratch = Scratch::new("map");
    // mov dword [0x9000], 0: its own page tables are gone; hlt
    let image = scratch.file("gone.bin", b"\xc7\x04\x25\x00\x90\x00\x00\x00\x00\x00\x00\xf4");
    let map = |words: &[&str]| {
        let output = finish(bare().args(words).arg(&image).args(["--mode", "long64", "--memory", "4M"]));
        String::from_utf8(output.stdout).unwrap()
    };
    let (before, after) = (map(&["map"]), map(&["run", "--map", "--step", "1"]));
    assert!(before.contains("W+X"), "{before}");
    assert!(after.starts_with("guest-physical memory\n") && !after.contains("W+X"), "{after}");
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

/// Sends a signal, by its name.
fn kill(name: &str, child: &Child) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Starts `run`, whose guest prints `!`, and waits for that.
fn started(run: &mut Command) -> Child {
    let mut child = run.spawn().unwrap();
    wait_for(child.stdout.as_mut().unwrap(), "!");
    child
}

#[test]
fn an_interrupt_ends_a_guest_that_never_exits() {
    if !kvm("interrupting") {
        return;
    }
    let scratch = Scratch::new("interrupt");
    let spin = scratch.file("spin.bin", SAY_AND_SPIN);
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("QUIT", 3)] {
        // With input to watch, and nothing typed.
        let mut child = started(strata(&spin).stdin(Stdio::piped()));
        kill(name, &child);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        let said = stderr(&child.wait_with_output().unwrap());
        assert_eq!(said, "strata: interrupted\n");
        // With nothing to tidy up the signal itself ends it.
        let mut child = started(&mut strata(&spin));
        kill(name, &child);
        assert_eq!(child.wait().unwrap().signal(), Some(number), "{name}");
    }
}

#[test]
fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
    if !kvm("nohup") {
        return;
    }
    let scratch = Scratch::new("nohup");
    // `mov al, '!'` and `out` to COM1 before the echo.
    let echo = scratch.file("echo.bin", [b"\xba\xf8\x03\xb0!\xee", ECHO].concat());
    let mut run = Command::new("sh");
    run.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_strata"), "run"]);
    run.arg(&echo).args(["--mode", "real16", "--memory", "64K"]);
    let mut child = started(run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    kill("HUP", &child);
    child.stdin.take().unwrap().write_all(b"q").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
}

/// `strata run` of a real-mode image with ACPI, and so a power button.
fn with_button(image: &std::path::Path) -> Command {
    let mut run = bare();
    run.arg("run").arg(image).args(["--mode", "real16", "--memory", "2M", "--irqchip", "kernel"]);
    run.args(["--set", "acpi=true"]);
    run
}

#[test]
fn sigterm_asks_the_guest_to_power_off() {
    if !kvm("the power button") {
        return;
    }
    let scratch = Scratch::new("button");
    // Says `!`, then: mov dx, 0x603; poll: in al, dx; test al, al; jz poll; mov dl, 0; mov al, 5 << 2 | 0x20; out dx, al
    let code = b"\xba\xf8\x03\xb0!\xee\xba\x03\x06\xec\x84\xc0\x74\xfb\xb2\x00\xb0\x34\xee\xf4";
    let image = scratch.file("button.bin", code);
    let asked = "strata: asked the guest to power off; a second SIGTERM, more than a second later, ends it\n\
        strata: powered off\n";
    for (quiet, said) in [(&[][..], asked), (&["--quiet"], "")] {
        let child = started(with_button(&image).args(quiet));
        // Twice at once, as timeout(1) does: one press.
        let twice = "kill -s TERM $0; kill -s TERM $0 2>/dev/null; :";
        let sent = Command::new("sh").args(["-c", twice, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), said));
    }
}

#[test]
fn a_second_sigterm_or_any_other_signal_ends_a_guest_that_does_not_listen() {
    if !kvm("a guest that does not listen") {
        return;
    }
    let scratch = Scratch::new("deaf");
    let spin = scratch.file("spin.bin", SAY_AND_SPIN);
    let mut child = started(&mut with_button(&spin));
    kill("TERM", &child);
    // One within a second would be the same.
    wait_for(child.stderr.as_mut().unwrap(), "a second SIGTERM, more than a second later, ends it");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    kill("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut child = started(&mut with_button(&spin));
    kill("INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(stderr(&child.wait_with_output().unwrap()), "strata: interrupted\n");
}

#[test]
fn a_guest_that_halts_inside_kvm_is_seen_to() {
    if !kvm("a halt inside KVM") {
        return;
    }
    let scratch = Scratch::new("cli-hlt");
    let image = scratch.file("halt.bin", b"\xfa\xf4");
    let output = finish(strata(&image).args(["--irqchip", "kernel", "--cpus", "2"]));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(10), "strata: halted\n"));
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

/// The writing end of a pipe that is full and never read: a guest's first byte waits for ever.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'.'; 1 << 16]).unwrap();
    (reader, writer)
}

#[test]
fn typing_at_a_guest_whose_output_is_held_up_does_not_hold_up_strata() {
    if !kvm("typing at blocked output") {
        return;
    }
    let scratch = Scratch::new("held-up");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let (reader, writer) = full_pipe();
    let mut run = strata(&chatter);
    let mut child =
        run.args(["--budget-wall", "400ms"]).stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
    // The guest holds the port's lock by now, or soon: keep typing.
    let mut typing = child.stdin.take().unwrap();
    for _ in 0..20 {
        let _ = typing.write_all(b"x");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(20), "{}", stderr(&output));
    drop((reader, typing));
}

#[test]
fn a_full_disk_is_told_apart_from_a_closed_pipe() {
    if !kvm("a full disk") {
        return;
    }
    let scratch = Scratch::new("full");
    let chatter = scratch.file("chatter.bin", CHATTER);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = finish(strata(&chatter).stdout(full));
    assert_eq!(output.status.code(), Some(28));
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
}

#[test]
fn nobody_to_tell_is_no_reason_to_panic() {
    if !kvm("closed standard error") {
        return;
    }
    let scratch = Scratch::new("no-stderr");
    let image = scratch.file("halt.bin", HALT);
    for arguments in [&[][..], &["--show-ioctls"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = finish(strata(&image).args(arguments).stderr(writer));
        assert_eq!(output.status.code(), Some(10));
    }
}

#[test]
fn a_recorded_run_is_a_file_of_its_exits() {
    if !kvm("--record") {
        return;
    }
    let scratch = Scratch::new("record");
    let image = scratch.file("halt.bin", HALT);
    let file = scratch.path("run.cassette");
    let output = finish(strata(&image).arg("--record").arg(&file));
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "{\"strata-cassette\":1}"), "{text}");
    assert!(lines[1].contains("\"entry\"") && lines[3].contains("\"last\""), "{text}");
    assert_eq!(lines[2], "{\"vcpu\":0,\"event\":{\"exit\":\"halt\"}}");
}

/// The smallest ELF64 executable: one segment at 2 MiB, holding the whole file; the code is behind the headers.
fn elf(code: &[u8]) -> Vec<u8> {
    let at: u64 = 0x20_0000;
    let (header, size) = (64 + 56_u64, 64 + 56 + code.len() as u64);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // e_type ET_EXEC, e_machine EM_X86_64, e_version
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    // e_entry, e_phoff, e_shoff
    file.extend([at + header, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    // e_flags; e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    file.extend([0; 4]);
    file.extend([64, 56, 1, 64, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    // p_type PT_LOAD, p_flags RX; p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    file.extend([0, at, at, size, size, 0x1000].into_iter().flat_map(u64::to_le_bytes));
    file.extend(code);
    file
}

#[test]
fn an_elf_executable_starts_as_its_header_says() {
    if !kvm("an ELF executable") {
        return;
    }
    let scratch = Scratch::new("elf");
    // mov dx, 0x3f8; mov al, 'E'; out dx, al; hlt
    let image = scratch.file("kernel.elf", elf(b"\x66\xba\xf8\x03\xb0E\xee\xf4"));
    for format in ["auto", "elf64"] {
        let output = finish(bare().arg("run").arg(&image).args(["--format", format]));
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(10), &b"E"[..]), "{}", stderr(&output));
    }
    let entry = finish(bare().arg("run").arg(&image).args(["--entry", "0x200000"]));
    assert_eq!(entry.status.code(), Some(2), "{}", stderr(&entry));
}

#[test]
fn a_guest_is_told_how_much_ram_it_has_also_above_the_gap() {
    if !kvm("5 GiB of RAM") {
        return;
    }
    let scratch = Scratch::new("ram");
    let image = scratch.file("halt.bin", HALT);
    let report = scratch.path("report.json");
    let mut run = bare();
    run.arg("run")
        .arg(&image)
        .args(["--memory", "5G", "--dump", "0x17ffffff8,8"])
        .arg("--report")
        .arg(&report);
    let output = finish(&mut run);
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("\"rdi\": \"0x140000000\""), "{report}");
    // The last bytes of RAM: 2 GiB lie above 4 GiB.
    assert!(report.contains("\"0x17ffffff8\": \"0000000000000000\""), "{report}");
}
