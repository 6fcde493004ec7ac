//! What a person sees who got something wrong: a message that names it, and exit code 2 (4 for a host that cannot).

mod common;

use std::os::unix::process::CommandExt as _;

use common::{HALT, Scratch, bare, finish, stderr, strata};

#[track_caller]
fn refused(output: &std::process::Output, code: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn options_that_make_no_sense() {
    let scratch = Scratch::new("options");
    let image = scratch.file("halt.bin", HALT);
    let run = |arguments: &[&str]| finish(strata(&image).args(arguments));
    refused(&run(&["--frobnicate"]), 2, &["--frobnicate"]);
    refused(&run(&["--memory", "lots"]), 2, &["memory.size", "64K, 256M"]);
    refused(&run(&["--memory", "0"]), 2, &["RAM"]);
    refused(&run(&["--mode", "long32"]), 2, &["mode", "long64"]);
    refused(&run(&["--cpus", "0"]), 2, &["0 vCPUs"]);
    refused(&run(&["--cpus", "2"]), 2, &["irqchip"]);
    refused(&run(&["--cpus", "two"]), 2, &["setting cpus"]);
    refused(&run(&["--cpu", "i486"]), 2, &["setting cpu", "i486", "host, x86-64-v2 or x86-64-v3"]);
    refused(&run(&["--budget-wall", "soon"]), 2, &["5s"]);
    refused(&run(&["--break", "zz"]), 2, &["zz", "write an address"]);
    refused(&run(&["--break", "1,2,3,4,5"]), 2, &["5 breakpoints"]);
    refused(&run(&["--set", "colour"]), 2, &["KEY=VALUE"]);
    refused(&run(&["--set", "colour=red"]), 2, &["setting colour", "unknown field"]);
    refused(&run(&["--dump", "0x10"]), 2, &["ADDRESS,LENGTH"]);
    refused(&run(&["--set", "registers.rzx=1"]), 2, &["rzx"]);
    refused(&finish(bare().arg("fly")), 2, &["fly"]);
    refused(&finish(bare().arg("run")), 2, &["no image"]);
}

#[test]
fn images_that_cannot_be_run() {
    let scratch = Scratch::new("images");
    let run = |path: &std::path::Path| finish(&mut strata(path));
    refused(&run(&scratch.path("absent")), 2, &["absent", "No such file"]);
    refused(&run(&scratch.path("")), 2, &["not a regular file"]);
    refused(&run(&scratch.file("empty", "")), 2, &["empty"]);
    refused(&run(&scratch.file("big", vec![0x90; 70_000])), 2, &["0x7c00-0x18d6f", "more memory"]);
    refused(&run(&scratch.file("high", vec![0x90; 60_000])), 2, &["flat image"]);
    let sparse = scratch.file("sparse", "");
    std::fs::File::options().write(true).open(&sparse).unwrap().set_len(20 << 30).unwrap();
    refused(&run(&sparse), 2, &["does not lie in RAM"]);
    refused(&run(&scratch.file("elf", b"\x7fELF")), 2, &["ELF image"]);
    let fifo = scratch.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    refused(&run(&fifo), 2, &["not a regular file"]);
}

#[test]
fn configuration_files_that_are_wrong() {
    let scratch = Scratch::new("configs");
    let run = |text: &str| {
        let file = scratch.file("machine.toml", text);
        finish(bare().args(["run", "--config"]).arg(file))
    };
    refused(&run("cpus = 1\nclours = 2\n"), 2, &["machine.toml", "line 2", "clours"]);
    let unparsed = run("cpus 1");
    refused(&unparsed, 2, &["machine.toml", "line 1"]);
    assert!(!stderr(&unparsed).ends_with("\n\n"));
    refused(&run("image = \"nowhere.bin\""), 2, &["nowhere.bin"]);
    refused(&finish(bare().args(["run", "--config", "/dev/zero"])), 2, &["/dev/zero", "1 MiB"]);
    refused(&finish(bare().args(["run", "--config", "/nonexistent.toml"])), 2, &["/nonexistent.toml"]);
}

#[test]
fn host_cpus_that_cannot_be_had() {
    let scratch = Scratch::new("pins");
    let image = scratch.file("halt.bin", HALT);
    let run = |more: &[&str]| finish(strata(&image).args(more));
    refused(&run(&["--cpus", "3", "--irqchip", "kernel", "--pin", "0,0"]), 2, &["2 host CPUs", "3 vCPUs"]);
    refused(&run(&["--pin", "60000"]), 2, &["host CPU 60000", "may run on"]);
    refused(&run(&["--pin", "two"]), 2, &["0-3,6"]);
}

#[test]
fn baselines_that_the_host_lacks() {
    if !common::kvm("guests of the named CPU baselines") {
        return;
    }
    let scratch = Scratch::new("baselines");
    let image = scratch.file("halt.bin", HALT);
    for baseline in ["x86-64-v2", "x86-64-v3"] {
        let output = finish(strata(&image).args(["--cpu", baseline]));
        let can = finish(bare().args(["doctor", "--cpuid", baseline])).status.code();
        if can == Some(0) {
            assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
        } else {
            refused(&output, 4, &["the guest its CPU", "lacks part of", baseline, "use ", " here"]);
        }
    }
}

#[test]
fn hosts_without_a_usable_kvm() {
    let scratch = Scratch::new("hosts");
    let image = scratch.file("halt.bin", HALT);
    let run = |kvm: &str| finish(strata(&image).args(["--kvm", kvm]));
    refused(&run("/nonexistent/kvm"), 4, &["does not exist", "modprobe"]);
    refused(&run("/dev/null"), 4, &["not a KVM device"]);
    let locked = scratch.file("locked", "");
    let mut as_nobody = strata(&image);
    as_nobody.arg("--kvm").arg(&locked);
    if is_root() {
        as_nobody.uid(65534);
    } else {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(&locked, mode).unwrap();
    }
    refused(&finish(&mut as_nobody), 4, &["no permission", "usermod -aG kvm"]);
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_the_guest_runs() {
    if !common::kvm("a report that cannot be written") {
        return;
    }
    let scratch = Scratch::new("report");
    let image = scratch.file("chatter.bin", common::CHATTER);
    let output = finish(strata(&image).args(["--report", "/nonexistent/report.json"]));
    refused(&output, 4, &["/nonexistent/report.json"]);
    assert!(output.stdout.is_empty());
}

#[test]
fn help_fits_and_names_every_option() {
    let help = finish(bare().args(["run", "--help"]));
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for option in
        ["--config", "--set", "--memory", "--budget-wall", "--report", "--show-ioctls", "debug-exit port"]
    {
        assert!(text.contains(option), "{option} is not in: {text}");
    }
    for said in
        ["a Linux kernel, PVH", "512M for a kernel", "none, kernel, or auto", "run vmlinuz", "power button"]
    {
        assert!(text.contains(said), "{said} is not in: {text}");
    }
    // The numbers of the table's columns, and whether they go up.
    let table =
        text.lines().skip_while(|line| *line != "Exit codes:").skip(1).take_while(|line| !line.is_empty());
    let (left, right): (Vec<_>, Vec<_>) = table.map(|line| (line[..5].trim(), line[36..39].trim())).unzip();
    let codes =
        ["0", "2", "4", "10", "12", "14", "16", "18", "20", "22", "24", "26", "28", "30", "130", "odd"];
    assert_eq!([left, right].concat(), codes);
}

/// Without asking a crate: root can read what nobody may.
fn is_root() -> bool {
    std::fs::read("/proc/self/status").unwrap().windows(7).any(|window| window == b"Uid:\t0\t")
}
