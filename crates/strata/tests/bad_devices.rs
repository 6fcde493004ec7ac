//! Devices that cannot be had: said before the guest runs, with exit code 2, by a message that names what and what to do.

mod common;

use common::{HALT, Scratch, finish, stderr, strata};

/// Runs a guest with these options; gives what is said, after a look at the exit code.
#[track_caller]
fn refused(scratch: &Scratch, arguments: &[&str], words: &[&str]) {
    let image = scratch.file("halt.bin", HALT);
    let output = finish(strata(&image).args(["--irqchip", "kernel"]).args(arguments));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {word:?} is not in: {said}");
    }
    assert!(said.lines().count() == 1 || said.contains("--help"), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn disks() {
    let scratch = Scratch::new("bad-disks");
    let path = |name: &str, content: &[u8]| scratch.file(name, content).display().to_string();
    let disk = |spec: &str, words: &[&str]| refused(&scratch, &["--disk", spec], words);
    disk("/absent.img", &["/absent.img", "No such file"]);
    disk(&scratch.path("").display().to_string(), &["bad-disks"]);
    disk(&path("odd.img", &[0; 1000]), &["odd.img", "512"]);
    disk(&path("empty.img", b""), &["empty.img"]);
    disk("/dev/zero", &["/dev/zero"]);
    let good = path("good.img", &[0; 4096]);
    disk(&format!("{good},rw"), &["rw", "ro, cache="]);
    disk(&format!("{good},queues=0"), &["1 to 64 queues"]);
    disk(&format!("{good},serial=123456789012345678901"), &["20"]);
    // A disk that is written by one guest is nobody else's.
    refused(&scratch, &["--disk", &good, "--disk", &good], &["good.img"]);
    refused(&scratch, &["--disk", &format!("{good},ro"), "--disk", &good], &["good.img"]);
}

#[test]
fn networks_and_sockets() {
    let scratch = Scratch::new("bad-networks");
    refused(&scratch, &["--net", "bridge"], &["bridge", "user, tap=NAME or fd=N"]);
    refused(&scratch, &["--net", "tap=a-name-of-some-length"], &["15 bytes"]);
    refused(&scratch, &["--net", "fd=99"], &["no descriptor 99"]);
    refused(&scratch, &["--net", "fd=0"], &["no descriptor 0"]);
    // One of strata's own, by mistake, and twice.
    refused(&scratch, &["--net", "fd=3", "--net", "fd=3"], &["3"]);
    refused(&scratch, &["--net", "user,queues=2"], &["one pair"]);
    refused(&scratch, &["--net", "user,mac=01:00:00:00:00:00"], &["one network card"]);
    refused(&scratch, &["--vsock", "2:/tmp/v"], &["2 is no guest's context ID", "3"]);
    refused(&scratch, &["--vsock", "3:/absent/v"], &["/absent/v"]);
    let file = scratch.file("file", "").display().to_string();
    refused(&scratch, &["--vsock", &format!("3:{file}")], &[&file]);
    assert!(std::path::Path::new(&file).exists(), "what is no socket is left alone");
}

#[test]
fn shares_and_consoles() {
    let scratch = Scratch::new("bad-shares");
    refused(&scratch, &["--share", "/tmp"], &["DIR:TAG"]);
    refused(&scratch, &["--share", "/absent:tag"], &[]);
    refused(&scratch, &["--console", "stdio"], &["several consoles", "devices.serial"]);
    refused(&scratch, &["--console", "file=/absent/file"], &["/absent/file"]);
    refused(&scratch, &["--console", "unix=/absent/socket"], &["/absent/socket"]);
    refused(&scratch, &["--console", "pty,name=a/b"], &["a/b"]);
}

#[test]
fn devices_need_interrupts_and_there_are_sixteen() {
    let scratch = Scratch::new("bad-many");
    let image = scratch.file("halt.bin", HALT);
    let output = finish(strata(&image).args(["--rng", "--irqchip", "none"]));
    assert!(stderr(&output).contains("a virtio device needs `irqchip"), "{}", stderr(&output));
    let many: Vec<_> = (0..17)
        .flat_map(|n| {
            let disk = scratch.file(&format!("{n}.img"), [0; 512]);
            ["--disk".to_owned(), disk.display().to_string()]
        })
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    refused(&scratch, &many, &["17 virtio devices", "16"]);
}
