//! What is a disk, and whose.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use strata_backends::disk::{Image, ImageOptions, OpenError};
use strata_devices::virtio::block::{Disk as _, Op};

use crate::support::{Rig, TempFile, pattern, with_each_engine};

fn open(path: impl AsRef<Path>, read_only: bool) -> Result<Image, OpenError> {
    Image::open(path, &ImageOptions { read_only, ..ImageOptions::default() })
}

fn message(error: &OpenError) -> String {
    error.to_string()
}

#[test]
fn what_is_no_disk_is_refused_by_name() {
    for read_only in [false, true] {
        for (path, what) in [("/dev/null", "a character device"), ("/", "a directory")] {
            let message = message(&open(path, read_only).unwrap_err());
            let expected = format!("{path} is no disk: it is {what}; give a raw image or a block device");
            assert_eq!(message, expected);
        }
        let error = open("/nowhere/disk.img", read_only).unwrap_err();
        assert!(message(&error).starts_with("cannot open the disk /nowhere/disk.img (`truncate"), "{error}");
    }
}

#[test]
fn a_pipe_is_not_waited_for() {
    let path = std::env::temp_dir().join(format!("strata-pipe-{}", std::process::id()));
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()));
    for read_only in [false, true] {
        let error = open(&path, read_only).unwrap_err();
        assert!(matches!(error, OpenError::Kind { what: "a pipe or a socket", .. }), "{error}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn sizes_that_are_no_disks() {
    for len in [0, 1, 511, 513, 4097] {
        let file = TempFile::new(&vec![0; len]);
        let error = open(file.path(), false).unwrap_err();
        assert!(message(&error).contains(&format!("is {len} bytes long")), "{error}");
    }
    let file = TempFile::new(&[0; 1024]);
    assert_eq!(open(file.path(), false).unwrap().properties().len, 1024);
}

#[test]
fn a_writer_is_alone_and_readers_are_not() {
    let file = TempFile::new(&[0; 1024]);
    let writer = open(file.path(), false).unwrap();
    for read_only in [false, true] {
        let error = open(file.path(), read_only).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(message(&error).contains("is in use by another virtual machine"), "{error}");
    }
    drop(writer);
    let (one, _other) = (open(file.path(), true).unwrap(), open(file.path(), true).unwrap());
    assert!(matches!(open(file.path(), false), Err(OpenError::Locked { read_only: false, .. })));
    assert!(one.properties().read_only);
}

/// A lock of another process's kind.
fn lock(file: &File, kind: i32, start: i64) {
    let lock = libc::flock { l_type: kind as i16, l_whence: 0, l_start: start, l_len: 1, l_pid: 0 };
    // SAFETY: the kernel only reads `lock`.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }, 0);
}

#[test]
fn qemus_locks_are_understood() {
    let file = TempFile::new(&[0; 1024]);
    let qemu = || File::options().read(true).write(true).open(file.path()).unwrap();
    let reader = qemu();
    for byte in [100, 201, 203] {
        lock(&reader, libc::F_RDLCK, byte);
    }
    assert!(matches!(open(file.path(), false), Err(OpenError::Locked { read_only: false, .. })));
    drop(open(file.path(), true).unwrap());
    drop(reader);
    let writer = qemu();
    for byte in [100, 101, 201, 203] {
        lock(&writer, libc::F_RDLCK, byte);
    }
    for read_only in [false, true] {
        assert!(matches!(open(file.path(), read_only), Err(OpenError::Locked { .. })));
    }
    drop(writer);
    open(file.path(), false).unwrap();
}

#[test]
fn the_lock_stays_with_the_disks() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(1024));
        let rig = Rig::new(&file, options);
        assert!(matches!(open(file.path(), false), Err(OpenError::Locked { .. })));
        assert_eq!(rig.disk.properties().len, 1024);
        drop(rig);
        open(file.path(), false).unwrap();
    });
}

#[test]
fn a_file_that_may_not_be_written_can_be_read() {
    let file = TempFile::new(&pattern(1024));
    let mut permissions = std::fs::metadata(file.path()).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(file.path(), permissions).unwrap();
    match open(file.path(), false) {
        Err(error) => assert!(message(&error).contains("open it read-only"), "{error}"),
        Ok(_) => println!("not run: a file without permission to write: this user needs none"),
    }
    with_each_engine(|options| {
        let mut rig = Rig::new(&file, ImageOptions { read_only: true, ..options });
        rig.read(0, &[(0, 1024)]).unwrap();
        assert_eq!(rig.guest(0, 1024), pattern(1024));
    });
}

/// A block device over a file, if this user may make one.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &TempFile, block_size: &str) -> Option<Self> {
        let how = ["--find", "--show", "--sector-size", block_size];
        let output = Command::new("losetup").args(how).arg(file.path()).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| Self(path.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).output();
    }
}

#[test]
fn a_block_device_is_a_disk() {
    for block_size in [512, 4096] {
        let file = TempFile::new(&pattern(1 << 20));
        let Some(device) = Loop::new(&file, &block_size.to_string()) else {
            println!("not run: a host's block device with {block_size} bytes a block: none can be made here");
            continue;
        };
        with_each_engine(|options| {
            for direct in [false, true] {
                let image = Image::open(&device.0, &ImageOptions { direct, ..options }).unwrap();
                let properties = image.properties();
                assert_eq!((properties.len, properties.block_size), (1 << 20, block_size));
                assert!(matches!(open(&device.0, false), Err(OpenError::Locked { .. })));
                let mut rig = Rig::from_image(&image);
                rig.read(65536, &[(0, 8192)]).unwrap();
                assert!(rig.guest(0, 8192) == pattern(1 << 20)[65536..73728]);
                rig.set_guest(0, &[0x42; 8192]);
                // Not aligned in memory.
                rig.write(8192, &[(7, 4096)]).unwrap();
                rig.run(Op::Discard { offset: 16384, len: 4096 }).unwrap();
                rig.run(Op::WriteZeroes { offset: 32768, len: 8192, unmap: false, durable: true }).unwrap();
                rig.run(Op::Flush).unwrap();
                rig.read(8192, &[(0x1_0000, 4096)]).unwrap();
                rig.read(32768, &[(0x1_1000, 8192)]).unwrap();
                assert!(rig.guest(0x1_0000, 4096) == [0x42; 4096] && rig.guest(0x1_1000, 8192) == [0; 8192]);
                let half_a_block = rig.read(512, &[(0, 512)]);
                assert_eq!(half_a_block.is_err(), direct && block_size == 4096);
            }
        });
    }
}
