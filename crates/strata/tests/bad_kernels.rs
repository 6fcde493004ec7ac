//! Kernels, initrds and settings that cannot be: each is a named error before KVM is opened, and nothing is left behind.
//!
//! The device node of KVM that every run names does not exist. A run that got as far as that would end with code 4.

mod common;
#[path = "../../vmm/tests/common/kernels.rs"]
mod kernels;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Scratch, bare, finish, stderr};
use kernels::{AT, elf, load, multiboot, note, pvh, vmlinux, vmlinux_of};

/// `hlt`.
const CODE: &[u8] = b"\xf4";

/// `strata run` of this kernel, on a host without KVM, with a cache of its own.
fn strata(scratch: &Scratch, kernel: &Path) -> Command {
    let mut command = bare();
    command.arg("run").arg(kernel).args(["--kvm", "/nonexistent/kvm"]);
    command.env("XDG_CACHE_HOME", scratch.path("cache"));
    command
}

/// It ended with code 2 and one line of its own that has these words.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(said.starts_with("strata: ") && said.ends_with('\n') && said.lines().count() == 1, "{said}");
    assert!(!said.contains("panicked") && !said.contains("KVM"), "{said}");
    assert!(output.stdout.is_empty());
}

/// Runs this kernel with these arguments: it is refused with these words, and no cache was made for it.
struct Refusal(Scratch);

impl Refusal {
    fn new(name: &str) -> Self {
        Self(Scratch::new(name))
    }

    fn file(&self, kernel: impl AsRef<[u8]>) -> PathBuf {
        self.0.file("kernel", kernel)
    }

    #[track_caller]
    fn of(&self, kernel: impl AsRef<[u8]>, arguments: &[&str], words: &[&str]) {
        self.at(&self.file(kernel), arguments, words);
    }

    #[track_caller]
    fn at(&self, kernel: &Path, arguments: &[&str], words: &[&str]) {
        refused(&finish(strata(&self.0, kernel).args(arguments)), words);
        assert!(!self.0.path("cache").exists(), "something was kept");
    }

    /// Gets as far as KVM, which is not there.
    #[track_caller]
    fn accepts(&self, kernel: impl AsRef<[u8]>, arguments: &[&str]) {
        let output = finish(strata(&self.0, &self.file(kernel)).args(arguments));
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(stderr(&output).contains("/nonexistent/kvm"), "{}", stderr(&output));
    }
}

/// With `bytes` at `at`.
fn spoiled(mut kernel: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    kernel[at..at + bytes.len()].copy_from_slice(bytes);
    kernel
}

#[test]
fn what_these_tests_spoil_is_good() {
    let run = Refusal::new("good");
    for kernel in
        [vmlinux(CODE), pvh(CODE), multiboot(CODE), kernels::classic(CODE), elf(AT, &[load(AT, CODE)])]
    {
        run.accepts(kernel, &[]);
    }
    run.accepts(kernels::packed(&vmlinux(&vec![0x90; 0x1_2000])), &[]);
    assert!(run.0.path("cache/strata/kernels").is_dir());
}

#[test]
fn files_that_are_no_kernel() {
    let run = Refusal::new("no-kernel");
    run.of("", &[], &["the image is empty", "was it built?"]);
    run.of("", &["--initrd", "/nonexistent"], &["the image is empty"]);
    run.of("", &["--format", "linux"], &["the image is empty"]);
    run.at(&run.0.path("absent"), &[], &["cannot read the image", "absent", "No such file"]);
    run.at(&run.0.path(""), &[], &["is a directory, not a regular file"]);
    run.at(Path::new("/dev/zero"), &[], &["/dev/zero is a device, not a regular file"]);
    let fifo = run.0.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    run.at(&fifo, &[], &["fifo is a FIFO, not a regular file"]);
    let _socket = std::os::unix::net::UnixListener::bind(run.0.path("socket")).unwrap();
    run.at(&run.0.path("socket"), &[], &["cannot read the image", "socket"]);
    run.of(kernels::gzip(&vmlinux(CODE)), &[], &["compressed by gzip", "gunzip"]);
    run.of("#!/bin/sh\nexec vmlinuz\n", &[], &["a script"]);
    run.of("070701", &[], &["a cpio archive", "initrd"]);
    run.accepts("#!", &["--format", "flat"]);
}

#[test]
fn kernels_for_other_processors() {
    let run = Refusal::new("foreign");
    let good = vmlinux(CODE);
    let is = |at: usize, value: u8, words: &[&str]| run.of(spoiled(good.clone(), at, &[value]), &[], words);
    is(kernels::E_MACHINE, 183, &["machine 183", "x86-64"]);
    is(kernels::E_MACHINE, 3, &["machine 3", "x86-64"]);
    is(kernels::EI_DATA, 2, &["not little-endian"]);
    is(kernels::EI_CLASS, 1, &["not 64-bit (class 1)", "x86-64"]);
    let only32 = spoiled(spoiled(good.clone(), kernels::EI_CLASS, &[1]), kernels::E_MACHINE, &[3]);
    run.of(only32, &[], &["not 64-bit", "x86-64"]);
    let mut arm64 = spoiled(vec![0; 0x1000], 0, b"MZ");
    arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
    run.of(arm64, &["--cmdline", "quiet"], &["a Linux kernel for arm64", "x86-64"]);
    let classic = kernels::classic(CODE);
    for classic in [classic.clone(), kernels::packed(&good)] {
        let old = spoiled(classic.clone(), kernels::XLOADFLAGS, &[0]);
        run.of(old, &[], &["cannot load the kernel", "32-bit processors only", "CONFIG_64BIT"]);
    }
    let old = spoiled(classic.clone(), kernels::VERSION, &[0x0a]);
    run.of(old, &["--boot-protocol", "classic"], &["boot protocol 2.10", "newer kernel"]);
    run.of(spoiled(classic, kernels::LOADFLAGS, &[0]), &[], &["zImage"]);
}

#[test]
fn kernels_that_were_cut_off() {
    let run = Refusal::new("truncated");
    let good = vmlinux(&vec![0x90; 0x1_2000]);
    run.of(&good[..0x20], &[], &["inside its header, after 32 of 64 bytes", "copied completely"]);
    run.of(&good[..0x50], &[], &["inside its program headers"]);
    run.of(&good[..good.len() - 1], &[], &["inside segment 1", "copied completely"]);
    run.of(&good[..good.len() - 1], &["--memory", "4M"], &["inside segment 1"]);
    let classic = kernels::classic(&vec![0x90; 0x1_2000]);
    run.of(&classic[..0x100], &["--cmdline", "quiet"], &["cut off in its header"]);
    run.of(&classic[..classic.len() - 1], &[], &["the kernel ends after", "copied completely"]);
    let packed = kernels::packed(&good);
    run.of(&packed[..packed.len() - 0x100], &[], &["the kernel ends after", "copied completely"]);
    let multiboot = multiboot(CODE);
    run.of(&multiboot[..0x18], &["--format", "multiboot"], &["inside its multiboot header"]);
}

#[test]
fn kernels_that_are_damaged() {
    let run = Refusal::new("damaged");
    let good = vmlinux(CODE);
    run.of(spoiled(good.clone(), kernels::EI_VERSION, &[7]), &[], &["version 7", "damaged"]);
    run.of(spoiled(good.clone(), kernels::E_PHENTSIZE, &[32]), &[], &["32 bytes instead of 56", "damaged"]);
    run.of(spoiled(good.clone(), kernels::E_TYPE, &[3]), &[], &["type 3", "fixed address"]);
    run.of(elf(AT, &[note("Linux", 0x101, &[])]), &[], &["no segment to load"]);
    run.of(elf(5, &[note("Linux", 0x101, &[]), load(AT, CODE)]), &[], &["entry 0x5", "no segment"]);
    let small = kernels::Segment { memory_size: 1, ..load(AT, &[0; 9]) };
    run.of(vmlinux_of(&[small]), &[], &["segment 1", "0x9 bytes in the file but only 0x1"]);
    run.of(
        elf(0, &[note("Xen", 18, &[1; 3]), load(AT, CODE)]),
        &[],
        &["PVH entry", "[01, 01, 01]", "damaged"],
    );
    let classic = kernels::classic(CODE);
    run.of(spoiled(classic.clone(), kernels::INIT_SIZE, &[0; 4]), &[], &["asks for 0x0 bytes", "damaged"]);
    let outside = spoiled(classic, kernels::PAYLOAD_LENGTH, &[0, 0, 1]);
    run.of(outside, &[], &["payload outside its code", "damaged"]);
}

/// Where the payload of [`kernels::packed`] begins in the file.
const PAYLOAD: usize = kernels::CODE + 0x210;

#[test]
fn compressed_kernels_that_cannot_be_unpacked() {
    let scratch = Scratch::new("packed");
    let run = |kernel: &[u8], arguments: &[&str], words: &[&str]| {
        let kernel = scratch.file("kernel", kernel);
        refused(&finish(strata(&scratch, &kernel).args(arguments)), words);
        assert!(!scratch.path("cache").exists(), "something was kept");
    };
    let good = kernels::packed(&vmlinux(&vec![0x90; 0x1_2000]));
    let end = PAYLOAD + kernels::gzip(&vmlinux(&vec![0x90; 0x1_2000])).len();
    // In the middle of what is compressed, in its checksum, and in its size.
    run(&spoiled(good.clone(), PAYLOAD + 0x3000, &[1]), &[], &["gzip payload is damaged", "classic"]);
    run(&spoiled(good.clone(), end - 8, &[1; 4]), &[], &["gzip payload is damaged"]);
    run(&spoiled(good.clone(), end - 4, &[1; 4]), &["--memory", "32M"], &["gzip payload is damaged"]);
    // More than the guest has room for, and more than any kernel has: known before it is unpacked.
    let huge = spoiled(good.clone(), end - 4, &[0, 0, 0, 2]);
    run(&huge, &["--memory", "16M"], &["takes 32 MiB", "16 MiB of RAM", "more memory"]);
    let bomb = spoiled(good.clone(), end - 4, &[0xff; 4]);
    run(&bomb, &[], &["unpacks to 0xffffffff", "is it one?"]);
    // A file that is larger than what it could become is not even read.
    let sparse = |len: u64, words: &[&str]| {
        let kernel = scratch.file("sparse", &good);
        fs::File::options().write(true).open(&kernel).unwrap().set_len(len).unwrap();
        refused(&finish(&mut strata(&scratch, &kernel)), words);
    };
    sparse(1 << 40, &["0x10000000000 bytes", "is it one?"]);
    sparse(600 << 20, &["takes 600 MiB", "512 MiB of RAM"]);
    // What it unpacks to is wrong.
    let arm = kernels::packed(&spoiled(vmlinux(CODE), kernels::E_MACHINE, &[183]));
    let arm = scratch.file("kernel", arm);
    refused(&finish(&mut strata(&scratch, &arm)), &["machine 183"]);
}

#[test]
fn segments_where_they_cannot_lie() {
    let run = Refusal::new("segments");
    let also = |at: u64| vmlinux_of(&[load(AT, CODE), load(at, &[0; 0x20])]);
    run.of(also(0x4000_0000), &["--memory", "16M"], &["segment 2", "0x40000000", "RAM"]);
    run.of(also(0xff_fff0), &["--memory", "16M"], &["segment 2", "0xfffff0-0x100000f", "RAM"]);
    run.of(also(u64::MAX - 7), &[], &["segment 2", "RAM"]);
    run.of(also(0xfee0_0000), &["--memory", "4G"], &["segment 2", "0xfee00000", "RAM"]);
    run.of(also(AT), &[], &["segment 1", "segment 2", "overlap"]);
    // Our own tables, each by its name.
    run.of(also(0x500), &[], &["the GDT", "segment 2", "overlap"]);
    run.of(also(0x6800), &[], &["the zero page", "segment 2", "overlap"]);
    run.of(also(0x9000), &[], &["the page tables", "segment 2", "overlap"]);
    run.of(also(0x2_0000), &[], &["the command line", "segment 2", "overlap"]);
    run.of(also(0xe_0000), &[], &["segment 2", "0xe0000", "not in usable RAM"]);
    run.of(also(0xf_fff0), &[], &["segment 2", "not in usable RAM"]);
    let info = |at: u64| kernels::pvh_of(&[load(AT, CODE), load(at, &[0; 0x20])]);
    run.of(info(0x2_1000), &[], &["the boot information", "segment 2", "overlap"]);
    run.of(info(0xe_0000), &[], &["segment 2", "not in usable RAM"]);
    run.of(kernels::multiboot_at(0x2_1000, CODE), &[], &["the boot information", "the image", "overlap"]);
    run.of(kernels::multiboot_at(0xe_0000, CODE), &[], &["the image", "not in usable RAM"]);
    let classic = kernels::classic(CODE);
    let high = spoiled(classic.clone(), kernels::PREF_ADDRESS, &[0, 0, 0, 0x70]);
    run.of(high, &[], &["the kernel at 0x70000000", "RAM"]);
    let low = spoiled(classic.clone(), kernels::PREF_ADDRESS, &[0, 0, 1]);
    run.of(low, &[], &["the kernel at 0x10", "not in usable RAM"]);
    let greedy = spoiled(classic, kernels::INIT_SIZE, &[0, 0, 0, 0x70]);
    run.of(greedy, &[], &["the kernel at", "RAM"]);
}

#[test]
fn tables_and_images_keep_clear_of_each_other() {
    let run = Refusal::new("acpi-flat");
    let acpi = ["--set", "acpi=true", "--irqchip", "kernel"];
    run.accepts(CODE, &acpi);
    run.of(
        CODE,
        &[&acpi[..], &["--load-at", "0xe0010"]].concat(),
        &["the ACPI tables", "the image", "overlap"],
    );
    run.of(
        CODE,
        &[&acpi[..], &["--load-at", "0xffff0"]].concat(),
        &["the reset vector", "the image", "overlap"],
    );
    let elf = elf(AT, &[load(AT, CODE), load(0xe_0000, CODE)]);
    run.of(elf, &acpi, &["the ACPI tables", "segment 1", "overlap"]);
    let small = [&acpi[..], &["--memory", "64K", "--mode", "real16"]].concat();
    run.of(CODE, &small, &["the ACPI tables", "first MiB", "more memory"]);
}

#[test]
fn initrds_that_cannot_be() {
    let run = Refusal::new("initrd");
    let kernel = vmlinux(CODE);
    let with = |path: &Path, more: &[&str], words: &[&str]| {
        for kernel in [kernel.clone(), pvh(CODE), multiboot(CODE), kernels::classic(CODE)] {
            run.of(kernel, &[&["--initrd", path.to_str().unwrap()], more].concat(), words);
        }
    };
    with(&run.0.path("absent"), &[], &["cannot read the initrd", "absent", "No such file"]);
    with(&run.0.path(""), &[], &["the initrd", "is a directory"]);
    with(&run.0.file("empty", ""), &[], &["the initrd is empty", "was it built?"]);
    let fifo = run.0.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    with(&fifo, &[], &["the initrd", "is a FIFO"]);
    let sparse = run.0.file("sparse", "");
    let grow = |len: u64| fs::File::options().write(true).open(&sparse).unwrap().set_len(len).unwrap();
    grow(20 << 30);
    with(&sparse, &[], &["the initrd of 0x500000000 bytes", "more memory"]);
    // There are 15 MiB above the first one, in which the kernel lies.
    grow((15 << 20) - 0x1000);
    with(
        &sparse,
        &["--memory", "16M"],
        &["the initrd of 0xeff000 bytes", "beside the kernel", "more memory"],
    );
}

#[test]
fn command_lines_that_cannot_be() {
    let run = Refusal::new("cmdline");
    // What Linux is told of PCI has room behind 2029 bytes, and is left out where there are more.
    let long = "x".repeat(2048);
    for len in [2029, 2030, 2047] {
        run.accepts(vmlinux(CODE), &["--cmdline", &long[..len]]);
    }
    for kernel in [vmlinux(CODE), kernels::classic(CODE), kernels::packed(&vmlinux(CODE))] {
        run.of(kernel, &["--cmdline", &long], &["2048 bytes", "no more than 2047", "shorten"]);
    }
    let page = "x".repeat(4096);
    for kernel in [pvh(CODE), multiboot(CODE)] {
        run.of(kernel, &["--cmdline", &page], &["4096 bytes", "no more than 4095"]);
    }
    // An argument has no NUL; a configuration may.
    let nul = ["--set", r#"cmdline="quiet\u0000splash""#];
    run.of(vmlinux(CODE), &nul, &["NUL at byte 5"]);
    run.of(kernels::packed(&vmlinux(CODE)), &nul, &["NUL at byte 5"]);
}

#[test]
fn settings_that_the_image_would_never_see() {
    let run = Refusal::new("never-seen");
    let bare = elf(AT, &[load(AT, CODE)]);
    for image in [CODE, &bare] {
        run.of(image, &["--initrd", "/nonexistent"], &["`initrd` is for kernels", "leave it out"]);
        run.of(image, &["--cmdline", "quiet"], &["`cmdline` is for kernels", "leave it out"]);
    }
    for kernel in [bare, vmlinux(CODE), pvh(CODE), multiboot(CODE), kernels::packed(&vmlinux(CODE))] {
        for (option, value) in [("--mode", "real16"), ("--load-at", "0x1000"), ("--entry", "0x1000")] {
            run.of(&kernel, &[option, value], &["is for flat images", "leave it out"]);
        }
        run.of(&kernel, &["--set", "paging={tables_at=0,map=[]}"], &["`paging` is for flat images"]);
    }
}

#[test]
fn formats_and_protocols_that_are_not_the_images() {
    let run = Refusal::new("formats");
    run.of(CODE, &["--format", "zimage"], &["setting format", "zimage", "flat, elf64, linux"]);
    run.of(CODE, &["--boot-protocol", "quick"], &["setting boot_protocol", "quick", "unpacked", "classic"]);
    run.of(CODE, &["--format", "linux"], &["no Linux kernel", "neither an ELF file nor a bzImage"]);
    run.of(CODE, &["--format", "bzimage"], &["no bzImage"]);
    run.of(CODE, &["--format", "elf64"], &["no ELF file"]);
    run.of(CODE, &["--format", "pvh"], &["no ELF file"]);
    run.of(CODE, &["--format", "multiboot"], &["no multiboot header"]);
    run.of(vmlinux(CODE), &["--format", "pvh"], &["no PVH entry", "CONFIG_PVH"]);
    run.of(vmlinux(CODE), &["--format", "multiboot"], &["no multiboot header"]);
    run.of(vmlinux(CODE), &["--format", "bzimage"], &["no bzImage"]);
    run.of(kernels::classic(CODE), &["--format", "elf64"], &["no ELF file"]);
    run.accepts(elf(AT, &[load(AT, CODE)]), &["--format", "linux"]);
    run.of(pvh(CODE), &["--format", "elf64"], &["the entry 0x0 lies in no segment"]);
}

#[test]
fn memory_that_is_too_small_or_in_the_wrong_place() {
    let run = Refusal::new("memory");
    let kernel = vmlinux(CODE);
    run.of(&kernel, &["--memory", "0"], &["size 0", "at least one page"]);
    run.of(&kernel, &["--memory", "64K"], &["the ACPI tables", "more memory"]);
    run.of(&kernel, &["--memory", "1M"], &["segment 1", "more memory"]);
    run.of(&kernel, &["--memory", "100001"], &["misaligned"]);
    let large = kernels::Segment { memory_size: 53 << 20, ..load(AT, CODE) };
    run.of(vmlinux_of(std::slice::from_ref(&large)), &["--memory", "4M"], &["segment 1", "more memory"]);
    run.accepts(vmlinux_of(&[large]), &["--memory", "56M"]);
    let pieces = |pieces: &str| format!("memory.piece=[{pieces}]");
    let set = |text: &str| -> Vec<String> { vec!["--set".into(), pieces(text)] };
    let with = |text: &str, words: &[&str]| {
        let arguments = set(text);
        run.of(&kernel, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), words);
    };
    with("{at=0x100000,size=\"15M\"}", &["the ACPI tables", "first MiB"]);
    with("{at=0,size=\"1M\"},{at=0x100000,size=\"15M\",read_only=true}", &["segment 1", "not in usable RAM"]);
    with("{at=0,size=\"1M\"},{at=0x800000,size=\"1M\"}", &["segment 1", "RAM"]);
    with("{at=0,size=\"4M\"},{at=0x1000,size=\"4K\"}", &["overlap"]);
    let both = set("{at=0,size=\"16M\"}");
    run.of(&kernel, &["--memory", "16M", &both[0], &both[1]], &["exclude each other"]);
    run.accepts(&kernel, &[&both[0], &both[1]]);
    // A ROM may hold the tables, and RAM lie around it.
    let rom =
        set("{at=0,size=\"640K\"},{at=0xe0000,size=\"128K\",read_only=true},{at=0x100000,size=\"15M\"}");
    run.accepts(&kernel, &[&rom[0], &rom[1]]);
}

#[test]
fn machines_that_contradict_themselves() {
    let run = Refusal::new("machines");
    let kernel = kernels::packed(&vmlinux(CODE));
    run.of(&kernel, &["--cpus", "0"], &["0 vCPUs", "1 to 255"]);
    run.of(&kernel, &["--cpus", "256"], &["256 vCPUs", "1 to 255"]);
    run.of(&kernel, &["--cpus=-1"], &["setting cpus"]);
    run.of(&kernel, &["--cpus", "99999999999"], &["setting cpus"]);
    run.of(&kernel, &["--cpus", "2", "--irqchip", "none"], &["2 vCPUs need `irqchip = \"kernel\"`"]);
    run.of(&kernel, &["--set", "acpi=true", "--irqchip", "none"], &["ACPI needs `irqchip = \"kernel\"`"]);
    run.of(&kernel, &["--pit", "--irqchip", "none"], &["the PIT needs"]);
    run.of(&kernel, &["--cpu", "pentium"], &["setting cpu", "pentium", "x86-64-v2"]);
    run.of(&kernel, &["--set", "registers.rzx=1"], &["rzx", "rax"]);
    run.accepts(vmlinux(CODE), &["--irqchip", "none"]);
    run.accepts(vmlinux(CODE), &["--cpus", "255"]);
}

#[test]
fn configuration_files_name_kernels_beside_them() {
    let scratch = Scratch::new("kernel-config");
    let run = |text: &str, words: &[&str]| {
        let file = scratch.file("machine.toml", format!("kvm = \"/nonexistent/kvm\"\n{text}"));
        refused(&finish(bare().args(["run", "--config"]).arg(file)), words);
    };
    scratch.file("kernel", vmlinux(CODE));
    run("image = \"nokernel\"", &["cannot read the image", "nokernel"]);
    run("image = \"kernel\"\ninitrd = \"noinitrd\"", &["cannot read the initrd", "noinitrd"]);
    let said = |text: &str, words: &[&str]| {
        let file = scratch.file("machine.toml", text);
        let output = finish(bare().args(["run", "--config"]).arg(file));
        assert_eq!(output.status.code(), Some(2));
        assert!(words.iter().all(|word| stderr(&output).contains(word)), "{}", stderr(&output));
    };
    said("kernel = \"vmlinuz\"", &["machine.toml", "line 1", "kernel", "image"]);
    said("boot_protocol = \"efi\"", &["line 1", "efi", "classic"]);
    said("cmdline = 7", &["line 1", "string"]);
    said("memory.backing = \"floppy\"", &["line 1", "floppy", "memfd"]);
    said("acpi = \"yes\"", &["line 1", "boolean"]);
}

#[test]
fn no_report_is_begun_of_what_does_not_run() {
    let run = Refusal::new("no-report");
    let (report, record) = (run.0.path("report.json"), run.0.path("record.json"));
    let files = ["--report", report.to_str().unwrap(), "--record", record.to_str().unwrap()];
    run.of(&vmlinux(CODE)[..0x50], &files, &["inside its program headers"]);
    run.accepts(vmlinux(CODE), &files);
    assert!(!report.exists() && !record.exists());
}

#[test]
fn huge_pages_that_the_host_lacks_are_the_hosts() {
    let pages = Path::new("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages");
    if !fs::read_to_string(pages).is_ok_and(|free| free.trim() == "0") {
        eprintln!("not run: huge pages that are missing: this host has some, or knows none of this size");
        return;
    }
    let run = Refusal::new("huge");
    let kernel = run.file(vmlinux(CODE));
    let huge = ["--memory", "1G", "--set", "memory.backing=hugetlb-1g"];
    let output = finish(strata(&run.0, &kernel).args(huge));
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("nr_hugepages"), "{}", stderr(&output));
}
