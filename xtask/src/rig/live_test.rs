//! The rig as a whole, booted. Where there is no QEMU these tests say that they were not run.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::job::{Broken, Job, RunError};
use super::options::Brought;
use super::session::SessionError;
use super::*;
use crate::testing::Folder;

/// A rig without installing anything.
fn rig(what: &str, limit: u64) -> Option<Rig> {
    let machine = Machine { cpus: 1, memory_mib: 512, icount: false, limit: Duration::from_secs(limit) };
    match Rig::set_up(machine, None, &Tools::of_this_process(false)) {
        Ok(rig) => Some(rig),
        Err(error) => {
            eprintln!("not run: {what}: no rig: {}", crate::process::chain(&error));
            None
        }
    }
}

fn shell(script: &str) -> Command {
    Command { arguments: vec!["-c".into(), script.into()], ..Command::new("sh") }
}

/// Every byte, line ends of all kinds, and 100 kB.
fn hard_bytes() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend_from_slice(b"\r\n\n\r\0\x04\x11\x13\x1a\xff\xff");
    bytes.extend((0..100_000_u32).map(|number| (number * 7 % 251) as u8));
    bytes
}

/// The smallest program that asks KVM for its version (KVM API documentation, 4.1) and has that as its exit code.
fn version_asker() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: usize = 0x78;
    const CODE: &[u8] = &[
        0xb8, 2, 0, 0, 0, // mov eax, SYS_open
        0x48, 0x8d, 0x3d, 0x22, 0, 0, 0, // lea rdi, [rel path]
        0xbe, 2, 0, 0, 0, // mov esi, O_RDWR
        0x31, 0xd2, // xor edx, edx
        0x0f, 0x05, // syscall
        0x89, 0xc7, // mov edi, eax
        0xbe, 0x00, 0xae, 0, 0, // mov esi, KVM_GET_API_VERSION
        0x31, 0xd2, // xor edx, edx
        0xb8, 16, 0, 0, 0, // mov eax, SYS_ioctl
        0x0f, 0x05, // syscall
        0x89, 0xc7, // mov edi, eax
        0xb8, 60, 0, 0, 0, // mov eax, SYS_exit
        0x0f, 0x05, // syscall
    ];
    let mut file = vec![0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(0x10, &[2, 0, 62, 0, 1]); // executable, x86-64
    put(0x18, &(BASE + HEADERS as u64).to_le_bytes()); // entry
    put(0x20, &[0x40]); // segment headers
    put(0x34, &[0x40, 0, 0x38, 0, 1]); // sizes of the headers, one segment
    put(0x40, &[1, 0, 0, 0, 5]); // load, readable and executable
    put(0x50, &BASE.to_le_bytes());
    put(0x60, &[0xff]); // size in the file
    put(0x68, &[0xff]); // size in memory
    file.extend_from_slice(CODE);
    file.extend_from_slice(b"/dev/kvm\0");
    file.resize(0xff, 0);
    file
}

#[test]
fn one_command_passes_through() {
    let Some(rig) = rig("a command in the rig", 120) else { return };
    let folder = Folder::new();
    let bytes = folder.path().join("bytes");
    fs::write(&bytes, hard_bytes()).unwrap();
    let out = folder.path().join("out");
    let script = "cat /bytes; cat /bytes >&2; mkdir /out/d; cp /bytes /out/d/b; exit 7";
    let files = vec![Brought { from: bytes, to: Some("/bytes".into()) }];
    let job = Job { command: shell(script), files, out: Some(out.clone()), input: None };
    let (mut output, mut error) = (Vec::new(), Vec::new());
    let code = rig.run(&job, &mut output, &mut error).unwrap();
    assert_eq!(code, 7);
    assert!(output == hard_bytes(), "standard output, {} bytes, is another", output.len());
    assert!(error == hard_bytes(), "standard error, {} bytes, is another", error.len());
    assert!(fs::read(out.join("d/b")).unwrap() == hard_bytes(), "the file that came back is another");
}

/// Commands that share boots; the sixth panics L1, and the last runs after that all the same.
#[test]
fn many_commands_share_a_boot() {
    let Some(rig) = rig("many commands in the rig", 240) else { return };
    let folder = Folder::new();
    let asker = folder.path().join("asker");
    fs::write(&asker, version_asker()).unwrap();
    fs::set_permissions(&asker, fs::Permissions::from_mode(0o755)).unwrap();
    let commands = [
        Command {
            stdin: hard_bytes(),
            collect: vec!["/a".into(), "/no".into()],
            ..shell("tee /a; echo e >&2; exit 9")
        },
        Command::new("/not/there"),
        Command::new("no-such-program"),
        Command::new(asker),
        Command { limit: Some(Duration::from_secs(1)), ..shell("while :; do :; done") },
        shell("echo c >/proc/sysrq-trigger"),
        Command {
            folder: "/some/where".into(),
            environment: vec![("K-1".into(), "v".into())],
            ..Command::new("env")
        },
    ];
    let mut results = rig.run_many(&commands, &[]).into_iter();
    let mut next = || results.next().unwrap();
    let first = next().unwrap();
    assert!(first.code == 9 && first.output == hard_bytes() && first.error == b"e\n", "{}", first.code);
    assert!(first.files == [Some(hard_bytes()), None]);
    for _ in 0..2 {
        let missing = next().unwrap();
        assert_eq!(missing.code, 127, "{}", String::from_utf8_lossy(&missing.error));
    }
    assert_eq!(next().unwrap().code, 12, "the version of KVM's interface");
    assert_eq!(next().unwrap().code, 137, "not killed after its limit");
    let broken = next().unwrap_err();
    assert!(matches!(broken.error, RunError::Session(SessionError::Ended(_))), "{broken:?}");
    assert!(broken.tail.to_string().contains("rig: | "), "{}", broken.tail);
    let last = String::from_utf8(next().unwrap().output).unwrap();
    assert!(last.contains("PWD=/some/where\n") && last.contains("K-1=v\n"), "{last}");
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    let Some(rig) = rig("the rig's time limit", 1) else { return };
    let job = Job { command: shell("sleep 1000"), files: Vec::new(), out: None, input: None };
    let Broken { error, .. } = rig.run(&job, &mut Vec::new(), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, RunError::Session(SessionError::TimeLimit(_))), "{error:?}");
}

#[test]
fn nobody_to_read_ends_the_run() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let Some(rig) = rig("a closed output", 120) else { return };
    let job = Job { command: shell("while :; do echo x; done"), files: Vec::new(), out: None, input: None };
    let Broken { error, .. } = rig.run(&job, &mut Closed, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, RunError::Session(SessionError::PassOn(_))), "{error:?}");
}

#[test]
fn a_file_of_ours_is_a_disk_and_there_is_a_network() {
    let Some(rig) = rig("disks and a network", 120) else { return };
    let folder = Folder::new();
    let disks: Vec<_> = ["a,b", "c"].iter().map(|name| folder.file(name, "was here")).collect();
    for disk in &disks {
        fs::File::options().write(true).open(disk).unwrap().set_len(1 << 20).unwrap();
    }
    let rig = rig.with_disks(disks.clone()).with_network();
    let at = |disk: usize| disks[disk].display();
    let script = format!(
        "head -c 8 '{0}' && printf changed | dd of='{1}' conv=notrunc 2>/dev/null && [ -b '{1}' ] && ping -c 1 10.0.2.2",
        at(0),
        at(1)
    );
    let job = Job { command: shell(&script), files: Vec::new(), out: None, input: None };
    let mut output = Vec::new();
    let code = rig.run(&job, &mut output, &mut std::io::sink()).unwrap_or_else(|Broken { error, tail }| {
        panic!("{}\n{tail}", crate::process::chain(&error));
    });
    let output = String::from_utf8_lossy(&output);
    assert_eq!(code, 0, "{output}");
    assert!(output.starts_with("was here") && output.contains(" 0% packet loss"), "{output}");
    assert_eq!(&fs::read(&disks[0]).unwrap()[..8], b"was here");
    assert_eq!(&fs::read(&disks[1]).unwrap()[..8], b"changede");
}

#[test]
fn passt_serves_in_an_emulated_host_with_a_network() {
    let what = "passt in the rig";
    let Some(passt) = Tools::of_this_process(false).find("passt") else {
        eprintln!("not run: {what}: no passt");
        return;
    };
    let Some(rig) = rig(what, 120) else { return };
    let variants = [passt.with_extension("avx2"), passt].into_iter().filter(|path| path.is_file());
    let files = variants.map(|from| Brought { from, to: None }).collect();
    // It says that it could not tell a system's log; what counts is that it listens.
    let script = "passt -s /tmp/passt.sock 2>/dev/null && [ -S /tmp/passt.sock ]";
    let job = Job { command: shell(script), files, out: None, input: None };
    let code =
        rig.with_network().run(&job, &mut std::io::sink(), &mut std::io::sink()).map_err(|it| it.error);
    assert_eq!(code.unwrap(), 0);
}
