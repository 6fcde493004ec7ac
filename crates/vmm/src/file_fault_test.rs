use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use strata_memory::RamSpec;
use strata_memory::vm_memory::Bytes as _;

use super::*;

/// A nameless file with these bytes.
pub(super) fn shrinking_file(bytes: &[u8]) -> File {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("strata-file-fault-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn ram() -> Ram {
    RamSpec::new(64 << 10).build().unwrap()
}

fn byte(ram: &Ram, at: u64) -> u8 {
    ram.memory().read_obj(GuestAddress(at)).unwrap()
}

#[test]
fn a_file_that_shrinks_reads_as_zeroes() {
    let (ram, file) = (ram(), shrinking_file(&[5; 0x3000]));
    let mapped = map_file(&ram, GuestAddress(0x4000), &file, 0, 0x3000).unwrap();
    assert_eq!(byte(&ram, 0x6fff), 5);
    assert_eq!((mapped.missing_pages(), mapped.state()), (0, FileState::Intact));
    file.set_len(0x1800).unwrap();
    assert_eq!(mapped.state(), FileState::Shrunk, "also before anybody has noticed");
    assert_eq!((byte(&ram, 0x4fff), byte(&ram, 0x57ff), byte(&ram, 0x5800)), (5, 5, 0));
    assert_eq!(mapped.missing_pages(), 0, "a page that the file still has in part");
    assert_eq!((byte(&ram, 0x6000), byte(&ram, 0x6fff)), (0, 0));
    assert_eq!(mapped.missing_pages(), 1);
    ram.memory().write_slice(&[8; 0x10], GuestAddress(0x6008)).unwrap();
    assert_eq!((byte(&ram, 0x6007), byte(&ram, 0x6008)), (0, 8), "and is memory as any other");
    file.set_len(0x3000).unwrap();
    assert_eq!(mapped.state(), FileState::Shrunk, "it was, and the guest's page is gone");
}

#[test]
fn pages_that_were_written_go_with_the_file_too() {
    let (ram, file) = (ram(), shrinking_file(&[5; 0x2000]));
    let mapped = map_file(&ram, GuestAddress(0x4000), &file, 0, 0x2000).unwrap();
    ram.memory().write_obj(9_u8, GuestAddress(0x5000)).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(byte(&ram, 0x5000), 0);
    ram.memory().write_obj(9_u8, GuestAddress(0x4000)).unwrap();
    assert_eq!((byte(&ram, 0x4000), byte(&ram, 0x4001)), (9, 0), "a write finds a page as well");
    assert_eq!(mapped.missing_pages(), 2);
}

#[test]
fn a_file_that_changes_is_noticed() {
    let (ram, file) = (ram(), shrinking_file(&[5; 0x1000]));
    let past = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    file.set_times(past).unwrap();
    let mapped = map_file(&ram, GuestAddress(0x4000), &file, 0, 0x1000).unwrap();
    ram.memory().write_obj(9_u8, GuestAddress(0x4000)).unwrap();
    assert_eq!(mapped.state(), FileState::Intact);
    file.write_all_at(&[6; 0x1000], 0).unwrap();
    assert_eq!(mapped.state(), FileState::Changed);
    assert_eq!((byte(&ram, 0x4000), mapped.missing_pages()), (9, 0));
    file.set_len(0x5000).unwrap();
    assert_eq!(mapped.state(), FileState::Changed, "a longer file lacks nothing");
}

#[test]
fn what_cannot_be_mapped_is_an_error_and_takes_no_place() {
    let (ram, file) = (ram(), shrinking_file(&[5; 0x1000]));
    let map = |at, len| map_file(&ram, GuestAddress(at), &file, 0, len).unwrap_err();
    for _ in 0..=table::PLACES {
        assert!(matches!(map(0x800, 0x1000), MapError::Map(MapFileError::Misaligned { .. })));
    }
    assert!(matches!(map(0, 4 << 30), MapError::TooLong { .. }));
    assert!(matches!(map(0x10_0000, 0x1000), MapError::Map(MapFileError::OutsideRam { .. })));
}

#[test]
fn places_come_back_with_the_ram() {
    let file = shrinking_file(&[5; 0x1000]);
    for _ in 0..=table::PLACES {
        let ram = ram();
        let mapped = map_file(&ram, GuestAddress(0), &file, 0, 0x1000).unwrap();
        let addr = mapped.mapping().result;
        assert!(TABLE.find(addr).is_some());
        let memory = ram.memory().clone();
        drop((ram, mapped));
        assert!(TABLE.find(addr).is_some(), "a clone of the memory is left");
        // With this the place is free again: there are fewer of them than rounds.
        drop(memory);
    }
}

#[test]
fn many_threads_may_meet_the_same_missing_pages() {
    let (ram, file) = (ram(), shrinking_file(&vec![5; 0x8000]));
    let mapped = map_file(&ram, GuestAddress(0x2000), &file, 0, 0x8000).unwrap();
    file.set_len(0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0x2000..0xa000).step_by(0x800).for_each(|at| assert_eq!(byte(&ram, at), 0)));
        }
    });
    assert!((8..=32).contains(&mapped.missing_pages()), "{}", mapped.missing_pages());
}
