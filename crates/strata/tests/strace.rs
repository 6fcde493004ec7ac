//! `--show-ioctls` against the real strace.

mod common;

use std::fs;
use std::process::Command;

use common::{Scratch, finish, kvm, stderr};

/// What strace shows of the arguments that it does not decode is an address; we show `...`.
fn without_addresses(line: &str) -> String {
    let Some((head, tail)) = line.split_once(", 0x").filter(|(head, _)| head.starts_with("ioctl(")) else {
        return line.to_owned();
    };
    // KVM_SET_TSS_ADDR's argument is a number, not an address.
    if head.contains("KVM_SET_TSS_ADDR") || head.contains('{') {
        return line.to_owned();
    }
    let rest = tail.find(')').map_or("", |end| &tail[end..]);
    format!("{head}, ...{rest}")
}

/// One space before `=`, however the columns fell.
fn folded(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn our_view_of_a_run_is_straces_view() {
    if !kvm("strace comparison") {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("not run: strace comparison: strace is not installed (`cargo xtask test` installs it)");
        return;
    }
    let scratch = Scratch::new("strace");
    // 256 KiB of anonymous RAM at address 0 in slot 0: the memory set-up of QEMU's own trace.
    let image = scratch.file("halt.bin", common::HALT);
    let planned = &["--memory", "256K"][..];
    let pieces = "memory.piece=[{at=0,size=0x40000},{at=0x80000,size=\"4K\",read_only=true},{at=0x200000,size=\"4M\"}]";
    for more in [
        planned,
        &["--memory", "256K", "--irqchip", "kernel", "--pit", "--debug-exit", "0xf4"],
        &["--set", pieces, "--set", "memory.dirty_log=true", "--break", "0x1000"],
    ] {
        let exits = more.contains(&"--irqchip");
        let image = if exits { scratch.file("exit.bin", b"\xe6\xf4") } else { image.clone() };
        let trace = scratch.path("trace");
        let output = finish(
            Command::new("strace")
                .args(["-f", "-qq", "-e", "trace=ioctl,mmap", "-o"])
                .arg(&trace)
                .args([env!("CARGO_BIN_EXE_strata"), "run", "--quiet", "--show-ioctls"])
                .arg(&image)
                .args(["--mode", "real16", "--serial", "none"])
                .args(more)
                .stdin(std::process::Stdio::null()),
        );
        let ours: Vec<String> =
            stderr(&output).lines().filter(|line| !line.starts_with("open(")).map(folded).collect();
        assert!(output.status.code().is_some_and(|code| code == 10 || code == 1), "{}", stderr(&output));
        if more == planned {
            let region =
                "KVM_SET_USER_MEMORY_REGION, {slot=0, flags=0, guest_phys_addr=0, memory_size=262144, ";
            assert!(ours.iter().any(|line| line.contains(region)), "{ours:#?}");
        }

        // Of strace's view: every KVM call, and the mappings that we claim to have made.
        let real = fs::read_to_string(&trace).unwrap();
        let real: Vec<String> = real
            .lines()
            .map(|line| folded(line.split_once(' ').map_or(line, |(_pid, call)| call)))
            .map(|line| without_addresses(&line))
            .filter(|line| line.contains("KVM_") || ours.contains(line))
            .collect();
        assert_eq!(ours, real);
        // Every slot's memory lies in a mapping that was shown, and so does kvm_run.
        let shown = |start: &str| ours.iter().filter(|line| line.contains(start)).count();
        assert!(shown("mmap(") > shown("KVM_SET_USER_MEMORY_REGION"), "{ours:#?}");
    }
}
