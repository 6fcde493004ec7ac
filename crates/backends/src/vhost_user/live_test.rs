//! With each virtiofsd that this host has.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use strata_devices::virtio::feature;
use strata_devices::virtio::testing::{Bench, FREE};

use super::testing::{TempDir, memory};
use super::virtiofsd::installed;
use super::{FsError, Sandbox, Share, ShareError, VhostUserFs, Virtiofsd};

/// FUSE's requests that are made here (Linux, include/uapi/linux/fuse.h).
const LOOKUP: u32 = 1;
const MKDIR: u32 = 9;
const OPEN: u32 = 14;
const READ: u32 = 15;
const INIT: u32 = 26;
/// The inode of a file system's root.
const ROOT: u64 = 1;

/// Where answers are put.
const ANSWER: u64 = FREE + 0x1_0000;

fn each(test: &str, run: impl Fn(&Virtiofsd)) {
    let all = installed();
    if all.is_empty() {
        eprintln!("not run: {test}: virtiofsd is not installed");
    }
    for virtiofsd in &all {
        run(virtiofsd);
    }
}

/// A bench with a share; `None` if the host does not let the server shut itself in.
fn bench(virtiofsd: &Virtiofsd, dir: PathBuf, read_only: bool) -> Option<Bench<VhostUserFs>> {
    let share = Share { dir, read_only };
    for sandbox in [Sandbox::Namespace, Sandbox::Chroot] {
        let memory = memory();
        let server = virtiofsd.clone().sandbox(sandbox).start(&share).unwrap();
        match VhostUserFs::new(server, "tag") {
            Ok(device) => {
                let worker = device.worker();
                return Some(Bench::with_memory(device, vec![worker], memory));
            }
            Err(FsError::Ended { said }) => {
                eprintln!("not run: {} with {sandbox:?}: {said}", virtiofsd.program().display());
            }
            Err(error) => panic!("{error}"),
        }
    }
    None
}

/// Makes a request of the file system and gives what comes behind the header of the answer.
fn fuse(bench: &mut Bench<VhostUserFs>, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
    let len = 40 + u32::try_from(body.len()).unwrap();
    let unique = 0x1234_5678_9abc_u64;
    let mut request = [len, opcode].map(u32::to_ne_bytes).concat();
    request.extend([unique, node].map(u64::to_ne_bytes).concat());
    request.extend([0; 16]); // by root, from process 0
    request.extend(body);
    bench.write(FREE, &request);
    // Cut where no structure ends.
    let head =
        bench.queue(1).add(&[(FREE, 17), (FREE + 17, len - 17)], &[(ANSWER, 100), (ANSWER + 100, 4000)]);
    bench.notify(1);
    let mut used = None;
    bench.run_until(|bench| {
        used = bench.queue(1).used();
        used.is_some()
    });
    let (answered, written) = used.unwrap();
    assert_eq!(answered, head);
    let answer = bench.read(ANSWER, written as usize);
    assert_eq!(answer[..4], written.to_ne_bytes());
    assert_eq!(answer[8..16], unique.to_ne_bytes());
    match i32::from_ne_bytes(answer[4..8].try_into().unwrap()) {
        0 => Ok(answer[16..].to_vec()),
        error => Err(error),
    }
}

fn init(bench: &mut Bench<VhostUserFs>) {
    // Version 7.31, no read-ahead, no abilities.
    let body = [[7, 31, 0, 0].as_slice(), &[0; 12]].concat();
    let body: Vec<_> = body.into_iter().flat_map(u32::to_ne_bytes).collect();
    let answer = fuse(bench, INIT, 0, &body[..16]).unwrap();
    assert_eq!(answer[..4], 7_u32.to_ne_bytes());
}

/// The number in the first 8 bytes: an inode, a handle.
fn number(answer: &[u8]) -> u64 {
    u64::from_ne_bytes(answer[..8].try_into().unwrap())
}

fn mkdir(bench: &mut Bench<VhostUserFs>, name: &str) -> Result<Vec<u8>, i32> {
    let modes = [0o755_u32, 0].map(u32::to_ne_bytes).concat();
    fuse(bench, MKDIR, ROOT, &[&modes, name.as_bytes(), b"\0"].concat())
}

#[test]
fn a_guest_reads_a_file_and_makes_a_directory() {
    each("a file in a share", |virtiofsd| {
        let dir = TempDir::new("live,it\\s a share");
        fs::write(dir.path().join("file"), "from the host").unwrap();
        let Some(mut bench) = bench(virtiofsd, dir.path().into(), false) else { return };
        // With each set of the ring's features, and anew after a reset.
        for features in [0, feature::EVENT_IDX | feature::INDIRECT_DESC] {
            bench.start(features);
            init(&mut bench);
            let file = number(&fuse(&mut bench, LOOKUP, ROOT, b"file\0").unwrap());
            let handle = fuse(&mut bench, OPEN, file, &[0; 8]).unwrap();
            let mut read = vec![0; 40];
            read[..8].copy_from_slice(&handle[..8]);
            read[8] = 5;
            read[17] = 8;
            assert_eq!(fuse(&mut bench, READ, file, &read).unwrap(), b"the host");
            bench.run_until(|bench| bench.interrupts() > 0);
            assert_eq!(fuse(&mut bench, LOOKUP, ROOT, b"absent\0"), Err(-2));

            mkdir(&mut bench, "made").unwrap();
            assert!(dir.path().join("made").is_dir());
            fs::remove_dir(dir.path().join("made")).unwrap();
            assert_eq!(bench.status(), 0xf);
            bench.reset();
        }
    });
}

#[test]
fn a_share_for_reading_is_not_written() {
    each("a share for reading", |virtiofsd| {
        let dir = TempDir::new("read-only");
        let share = Share { dir: dir.path().into(), read_only: true };
        match virtiofsd.start(&share) {
            Err(ShareError::ReadOnly { .. }) => return,
            other => drop(other.unwrap()),
        }
        let Some(mut bench) = bench(virtiofsd, dir.path().into(), true) else { return };
        bench.start(0);
        init(&mut bench);
        assert_eq!(mkdir(&mut bench, "made"), Err(-30), "EROFS");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    });
}

/// Its process group.
fn group(bench: &Bench<VhostUserFs>) -> Pid {
    bench.device().process_group().unwrap()
}

/// Waits until none of its processes lives. Dead ones may be left for a parent that is in no hurry.
fn wait_for_end(group: Pid) {
    let lives = |process: &str| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // Behind the name, which is in parentheses: state, parent, group.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        matches!(fields[..], [state, _, of, ..] if state != "Z" && of == group.as_raw_nonzero().to_string())
    };
    let start = Instant::now();
    while fs::read_dir("/proc").unwrap().any(|entry| lives(&entry.unwrap().file_name().to_string_lossy())) {
        assert!(start.elapsed().as_secs() < 20, "it does not end");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_is_killed_takes_only_the_share_with_it() {
    each("a killed server", |virtiofsd| {
        let dir = TempDir::new("killed");
        let Some(mut bench) = bench(virtiofsd, dir.path().into(), false) else { return };
        bench.start(0);
        init(&mut bench);
        kill_process_group(group(&bench), Signal::KILL).unwrap();
        bench.run_until(Bench::needs_reset);
        bench.reset();
        bench.start(0);
        assert!(bench.needs_reset());
    });
}

#[test]
fn a_server_that_hangs_is_killed_by_the_reset() {
    each("a hanging server", |virtiofsd| {
        let dir = TempDir::new("hanging");
        let share = Share { dir: dir.path().into(), read_only: false };
        let memory = memory();
        let server = virtiofsd.clone().start(&share).unwrap();
        let server = super::Server { patience: Duration::from_millis(500), ..server };
        let Ok(device) = VhostUserFs::new(server, "tag") else {
            eprintln!("not run: a hanging server: it cannot shut itself in here");
            return;
        };
        let worker = device.worker();
        let mut bench = Bench::with_memory(device, vec![worker], memory);
        bench.start(0);
        let group = group(&bench);
        kill_process_group(group, Signal::STOP).unwrap();
        bench.reset();
        assert_eq!(bench.status(), 0);
        drop(bench);
        wait_for_end(group);
    });
}

#[test]
fn a_server_ends_with_the_device_and_with_the_thread_that_started_it() {
    each("the end of a server", |virtiofsd| {
        let dir = TempDir::new("ends");
        let Some(mut first) = bench(virtiofsd, dir.path().into(), false) else { return };
        first.start(0);
        let group = group(&first);
        test_kill_process_group(group).unwrap();
        drop(first);
        wait_for_end(group);

        let mut second = std::thread::scope(|scope| {
            let start = || {
                let share = Share { dir: dir.path().into(), read_only: false };
                let server = virtiofsd.clone().start(&share).unwrap();
                let memory = memory();
                VhostUserFs::new(server, "tag").map(|device| (device, memory))
            };
            let Ok((device, memory)) = scope.spawn(start).join().unwrap() else { return None };
            let worker = device.worker();
            Some(Bench::with_memory(device, vec![worker], memory))
        });
        if let Some(second) = &mut second {
            second.run_until(|bench| {
                bench.start(0);
                bench.needs_reset()
            });
        }
    });
}
