//! What is a disk, and whose.

use std::path::Path;

use strata_backends::disk::{Image, ImageOptions, OpenError};
use strata_devices::virtio::block::Disk as _;

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
        assert!(message(&error).contains("/nowhere/disk.img: there is no such file"), "{error}");
    }
}

#[test]
fn a_pipe_is_not_waited_for() {
    let path = std::env::temp_dir().join(format!("strata-pipe-{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&path).status();
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
