//! What the host does to a disk.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};

use strata_backends::disk::{Image, ImageOptions};
use strata_devices::virtio::Buffer;
use strata_devices::virtio::block::{Disk as _, Op};

use crate::support::{MIB, Rig, TempFile, pattern, segments, with_each_engine};

#[test]
fn a_file_that_became_shorter_is_an_error_where_it_ends() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(64 << 10));
        let mut rig = Rig::new(&file, options);
        file.set_len(10_000);
        rig.set_guest(0, &[0x5a; 16384]);
        let error = rig.read(8192, &[(0, 4096)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(rig.guest(4096, 100), [0x5a; 100], "nothing behind the buffer");
        let error = rig.read(32768, &[(8192, 512)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(rig.guest(8192, 512), [0x5a; 512]);
        rig.read(4096, &[(0, 4096)]).unwrap();
        // Writing there makes it whole again.
        rig.write(32768, &[(8192, 512)]).unwrap();
        rig.read(8192, &[(0, 4096)]).unwrap();
        assert_eq!(rig.guest(1808, 2288), [0; 2288]);
    });
}

#[test]
fn no_guard_of_memory_is_kept_longer_than_needed() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(MIB));
        let mut rig = Rig::new(&file, options);
        rig.read(0, &[(0, 4096)]).unwrap();
        assert_eq!(Arc::strong_count(&rig.memory), 1);
        let segments = segments(&[(0, 65536)]);
        for tag in 0..rig.disk.depth() {
            let into = Buffer::new(&segments);
            rig.disk.submit(tag, Op::Read { offset: 0, into }, &rig.memory.clone());
        }
        assert_eq!(Arc::strong_count(&rig.memory), 1 + usize::from(rig.disk.depth()));
        rig.disk.drain();
        assert_eq!(Arc::strong_count(&rig.memory), 1);
        assert!(rig.disk.completed().is_none(), "what was in flight is forgotten");
        rig.read(0, &[(0, 4096)]).unwrap();
        // Dropped in mid-flight.
        rig.disk.submit(0, Op::Read { offset: 0, into: Buffer::new(&segments) }, &rig.memory.clone());
        rig.disk.commit();
        let memory = Arc::clone(&rig.memory);
        drop(rig);
        assert_eq!(Arc::strong_count(&memory), 1);
    });
}

/// A reset comes on another thread than that of the worker, which may be asleep or gone.
#[test]
fn another_thread_can_wait_for_what_is_in_flight() {
    with_each_engine(|options| {
        for (direct, stays) in [(false, true), (false, false), (true, true), (true, false)] {
            let file = TempFile::new(&pattern(MIB));
            let options = ImageOptions { direct, ..options };
            if let Err(why) = Image::open(file.path(), &options) {
                println!("not run: O_DIRECT: {why}");
                continue;
            }
            for _ in 0..20 {
                let rig = Arc::new(Mutex::new(Rig::new(&file, options)));
                let memory = Arc::clone(&rig.lock().unwrap().memory);
                let (started, has_started) = mpsc::channel();
                let (end, ends) = mpsc::channel::<()>();
                let worker = {
                    let rig = Arc::clone(&rig);
                    std::thread::spawn(move || {
                        let mut rig = rig.lock().unwrap();
                        let memory = Arc::clone(&rig.memory);
                        for tag in 0..32 {
                            let segments = segments(&[(u64::from(tag) * 32768, 32768)]);
                            let into = Buffer::new(&segments);
                            rig.disk.submit(tag, Op::Read { offset: u64::from(tag) * 32768, into }, &memory);
                        }
                        rig.disk.commit();
                        drop((rig, memory));
                        started.send(()).unwrap();
                        if stays {
                            ends.recv().unwrap();
                        }
                    })
                };
                has_started.recv().unwrap();
                let mut rig = rig.lock().unwrap();
                rig.disk.drain();
                assert_eq!(Arc::strong_count(&memory), 2, "the rig's and this");
                rig.set_guest(0, &vec![0x55; MIB]);
                let _ = end.send(());
                worker.join().unwrap();
                assert!(rig.guest(0, MIB).iter().all(|&byte| byte == 0x55));
                rig.read(0, &[(0, 4096)]).unwrap();
            }
        }
    });
}

#[test]
fn tags_that_make_no_sense_do_no_harm() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(8192));
        let mut rig = Rig::new(&file, options);
        let memory = rig.memory.clone();
        rig.disk.submit(60_000, Op::Flush, &memory);
        rig.disk.submit(1, Op::Flush, &memory);
        rig.disk.submit(1, Op::Flush, &memory);
        let done = rig.wait(1);
        assert_eq!(done.len(), 1);
    });
}

/// A file system of 1 MiB, if this user may make one.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn new(name: &str) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("strata-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let this = Self(path);
        let how = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let mounted = Command::new("mount").args(how).arg(&this.0).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(this)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_host_is_an_error_and_the_disk_lives() {
    let Some(full) = Tmpfs::new("full") else {
        println!("not run: a disk on a full file system: this user cannot mount one");
        return;
    };
    with_each_engine(|options| {
        let file = TempFile::in_directory(full.path(), &[]);
        file.set_len(4 * MIB as u64);
        let mut rig = Rig::new(&file, options);
        rig.set_guest(0, &vec![1; MIB]);
        // It has room for some of it.
        let error = rig.write(0, &[(0, 2 * MIB as u32)]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        rig.read(0, &[(0, 4096)]).unwrap();
        rig.run(Op::Discard { offset: 0, len: MIB as u64 }).unwrap();
        rig.write(0, &[(0, 4096)]).unwrap();
        rig.run(Op::Flush).unwrap();
    });
}

#[test]
fn a_file_system_without_zeros_has_them_written() {
    // tmpfs punches holes but cannot zero a range.
    let Some(tmpfs) = Tmpfs::new("zeros") else {
        println!("not run: zeros on a file system that has none: this user cannot mount one");
        return;
    };
    with_each_engine(|options| {
        let file = TempFile::in_directory(tmpfs.path(), &pattern(MIB * 3 / 4));
        let mut rig = Rig::new(&file, options);
        let op = |offset, len| Op::WriteZeroes { offset, len, unmap: false, durable: false };
        // More than one call writes; and the second time it is known.
        rig.run(op(512, 400_000 / 512 * 512)).unwrap();
        rig.run(op(500 * 1024, 512)).unwrap();
        let mut expected = pattern(MIB * 3 / 4);
        expected[512..512 + 400_000 / 512 * 512].fill(0);
        expected[500 * 1024..500 * 1024 + 512].fill(0);
        assert!(file.read() == expected);
    });
}
