//! Kernels through the binary: what a person sees of unpacking, and of a file that changes while its guest runs.

mod common;
#[path = "../../vmm/tests/common/kernels.rs"]
mod kernels;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use common::{Scratch, bare, finish, kvm, stderr};
use kernels::{AT, packed, vmlinux};

/// `mov dx, 0x600; mov al, 0x34; out dx, al; hlt`: S5 into the sleep control register.
const POWER_OFF: &[u8] = b"\x66\xba\x00\x06\xb0\x34\xee\xf4";

fn strata(scratch: &Scratch, kernel: &[u8]) -> Command {
    let mut command = bare();
    command.arg("run").arg(scratch.file("kernel", kernel)).args(["--memory", "16M", "--budget-wall", "60s"]);
    command
}

#[test]
fn a_packed_kernel_is_unpacked_once_and_kept() {
    if !kvm("a packed kernel") {
        return;
    }
    let scratch = Scratch::new("kept");
    // Large enough to be worth keeping.
    let kernel = packed(&vmlinux(&[POWER_OFF, &vec![0xf4; 0x1_2000]].concat()));
    let caches = |name: &str| scratch.path(name).join("strata/kernels");
    for _ in 0..2 {
        let output = finish(strata(&scratch, &kernel).env("XDG_CACHE_HOME", scratch.path("cache")));
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), "strata: powered off\n"));
        let kept = fs::read_dir(caches("cache")).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
        assert_eq!(kept.filter(fs::Metadata::is_file).count(), 1);
    }
    // Nowhere to keep it: the guest starts all the same, and it is said why the next one will not start sooner.
    let nowhere: [(&[(&str, &str)], &str); 3] = [
        (&[], "set HOME or XDG_CACHE_HOME"),
        (&[("HOME", "/proc/strata")], "/proc/strata/.cache/strata/kernels"),
        (&[("XDG_CACHE_HOME", "/proc/version")], "/proc/version/strata/kernels"),
    ];
    for (variables, why) in nowhere {
        let mut command = strata(&scratch, &kernel);
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").envs(variables.iter().copied());
        let output = finish(&mut command);
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(0), 2), "{said}");
        assert!(said.contains(why) && said.ends_with("strata: powered off\n"), "{said}");
    }
}

/// Where the kernel goes on after it has been typed at, and where that is in its file.
const FAR: u64 = 0x4_0000;
const FAR_IN_FILE: u64 = 0x2000 + FAR;

/// A kernel of 512 KiB, which the guest's RAM maps: it prints `!`, waits until something is typed, and powers off at
/// [`FAR`].
fn waits() -> Vec<u8> {
    // mov dx, 0x3f8; mov al, '!'; out dx, al; mov dl, 0xfd; wait: in al, dx; test al, 1; jz wait; mov eax, ..
    let mut code = b"\x66\xba\xf8\x03\xb0!\xee\xb2\xfd\xec\xa8\x01\x74\xfb\xb8".to_vec();
    code.extend(u32::try_from(AT + FAR).unwrap().to_le_bytes());
    code.extend(b"\xff\xe0"); // jmp rax
    code.resize(usize::try_from(FAR).unwrap(), 0xf4);
    code.extend(POWER_OFF);
    code.resize(512 << 10, 0xf4);
    vmlinux(&code)
}

/// Does something to the kernel's file while the guest waits, then types; the exit code and standard error.
fn meddled(scratch: &Scratch, meddle: impl Fn(&File), arguments: &[&str]) -> (i32, String) {
    let mut command = strata(scratch, &waits());
    // Of long ago, so that every change shows, however coarse the file system's clock.
    let kernel = File::options().write(true).open(scratch.path("kernel")).unwrap();
    kernel.set_modified(std::time::UNIX_EPOCH).unwrap();
    let mut child = command.args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0]).unwrap();
    meddle(&kernel);
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), stderr(&output))
}

#[test]
fn a_guest_that_fails_on_a_changed_file_is_not_to_blame() {
    if !kvm("a kernel's file that changes") {
        return;
    }
    let scratch = Scratch::new("meddled");
    let report = scratch.path("report.json");
    for more in [&[][..], &["--report", report.to_str().unwrap()]] {
        let (code, said) = meddled(&scratch, |_| {}, more);
        assert_eq!((code, said.as_str()), (0, "strata: powered off\n"));
        let cut = |file: &File| file.set_len(0x3000).unwrap();
        let (code, said) = meddled(&scratch, cut, more);
        assert!([22, 24, 26].contains(&code), "{code}: {said}");
        assert!(said.contains("\nstrata: the kernel's or the initrd's file was cut off"), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        // `ud2`, and no IDT.
        let (code, said) =
            meddled(&scratch, |file| file.write_all_at(b"\x0f\x0b", FAR_IN_FILE).unwrap(), more);
        assert_eq!(code, 14, "{said}");
        assert!(
            said.contains("triple fault\nstrata: the kernel's or the initrd's file was changed"),
            "{said}"
        );
        if !more.is_empty() {
            let report = fs::read_to_string(&report).unwrap();
            assert!(report.contains("\"accused\": false"), "{report}");
        }
        // It did what it would have done, and that was no failure.
        let (code, said) =
            meddled(&scratch, |file| file.write_all_at(POWER_OFF, FAR_IN_FILE + 0x100).unwrap(), more);
        assert_eq!((code, said.as_str()), (0, "strata: powered off\n"));
        let (_, said) = meddled(&scratch, cut, &[more, &["--quiet"]].concat());
        assert_eq!(said, "");
    }
}
