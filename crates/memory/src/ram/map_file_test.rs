use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use vm_memory::Bytes as _;

use super::*;
use crate::ram::mmap::memfd;
use crate::{Backing, Piece, RamSpec};

const MIB: u64 = 1 << 20;

/// A nameless file with these bytes, which may change its length.
fn file(bytes: &[u8]) -> File {
    let path =
        std::env::temp_dir().join(format!("strata-map-file-{}-{:p}", std::process::id(), &raw const bytes));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn bytes(ram: &Ram, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; len];
    ram.memory().read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

#[test]
fn a_mapped_file_is_read_and_its_last_page_filled_up_with_zeroes() {
    let ram = RamSpec::new(0x8000).build().unwrap();
    ram.memory().write_slice(&vec![0xff; 0x8000], GuestAddress(0)).unwrap();
    let file = file(&[[1; 0x1000].as_slice(), &[2; 0x1000], &[3; 0x234]].concat());
    let mapping = ram.map_file(GuestAddress(0x2000), &file, 0x1000, 0x2000).unwrap();
    drop(file);
    let host = ram.slots().next().unwrap().host_addr;
    assert_eq!((mapping.result, mapping.len, mapping.offset), (host + 0x2000, 0x2000, 0x1000));
    assert_eq!(mapping.flags, libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE);
    assert_eq!(bytes(&ram, 0x1fff, 1), [0xff], "before it");
    assert_eq!(bytes(&ram, 0x2000, 0x1000), [2; 0x1000]);
    assert_eq!(bytes(&ram, 0x3000, 0x234), [3; 0x234]);
    assert_eq!(bytes(&ram, 0x3234, 0xdcc), [0; 0xdcc]);
    assert_eq!(bytes(&ram, 0x4000, 1), [0xff], "behind it");
}

#[test]
fn writing_does_not_reach_the_file_nor_another_guest_of_it() {
    let file = file(&[7; 0x2000]);
    let rams = [RamSpec::new(0x4000).build().unwrap(), RamSpec::new(4 * MIB).build().unwrap()];
    for ram in &rams {
        ram.map_file(GuestAddress(0x1000), &file, 0, 0x2000).unwrap();
    }
    rams[0].memory().write_slice(&[9; 0x20], GuestAddress(0x1ff0)).unwrap();
    assert_eq!(bytes(&rams[0], 0x1fef, 0x22), [&[7][..], &[9; 0x20], &[7]].concat());
    assert_eq!(bytes(&rams[1], 0x1000, 0x2000), [7; 0x2000]);
    let mut whole = vec![0; 0x2000];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut whole, 0).unwrap();
    assert_eq!(whole, [7; 0x2000]);
}

#[test]
fn all_of_a_piece_may_be_mapped_and_a_piece_more_than_once() {
    let ram = RamSpec::empty().piece(Piece { start: GuestAddress(0x1000), len: 0x2000, read_only: true });
    let ram = ram.build().unwrap();
    ram.map_file(GuestAddress(0x1000), &file(&[1; 0x2000]), 0, 0x2000).unwrap();
    ram.map_file(GuestAddress(0x2000), &file(&[2; 0x1000]), 0, 0x1000).unwrap();
    assert_eq!(bytes(&ram, 0x1ffe, 4), [1, 1, 2, 2]);
}

#[test]
fn mapped_pages_are_dirty() {
    let ram = RamSpec::new(0x8000).track_dirty(true).build().unwrap();
    ram.map_file(GuestAddress(0x3000), &file(&[1; 0x2000]), 0, 0x2000).unwrap();
    assert_eq!(ram.reset_dirty(), [0x3000, 0x4000]);
}

#[test]
fn halves_of_pages_are_refused() {
    let ram = RamSpec::new(0x8000).build().unwrap();
    let file = file(&[1; 0x4000]);
    for (at, offset, len) in [(0x800, 0, 0x1000), (0, 0x10, 0x1000), (0, 0, 0xfff), (u64::MAX, 0, 0x1000)] {
        let refused = ram.map_file(GuestAddress(at), &file, offset, len);
        assert!(matches!(refused, Err(MapFileError::Misaligned { .. })), "{refused:?}");
    }
    assert!(matches!(ram.map_file(GuestAddress(0), &file, 0, 0), Err(MapFileError::Empty { at: 0 })));
}

#[test]
fn a_range_has_to_lie_in_one_piece() {
    let piece = |start, len| Piece { start: GuestAddress(start), len, read_only: false };
    let ram = RamSpec::empty().piece(piece(0, 0x2000)).piece(piece(0x2000, 0x2000)).build().unwrap();
    let file = file(&vec![1; 0x8000]);
    let top = !0xfff;
    for (at, len) in
        [(0x1000, 0x2000), (0x3000, 0x2000), (0x4000, 0x1000), (top, 0x1000), (0, top), (top, top)]
    {
        let refused = ram.map_file(GuestAddress(at), &file, 0, len);
        assert!(matches!(refused, Err(MapFileError::OutsideRam { .. })), "{at:#x} {len:#x}: {refused:?}");
    }
}

#[test]
fn shared_ram_is_refused() {
    let ram = RamSpec::new(0x4000).backing(Backing::Memfd).build().unwrap();
    let refused = ram.map_file(GuestAddress(0x1000), &file(&[1; 0x1000]), 0, 0x1000);
    assert!(matches!(refused, Err(MapFileError::Shared { at: 0x1000 })), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("copy"));
}

#[test]
fn the_file_has_to_reach_into_the_last_page() {
    let ram = RamSpec::new(0x8000).build().unwrap();
    let (full, more) = (file(&[1; 0x1000]), file(&[1; 0x1001]));
    let map = |file, offset, len| ram.map_file(GuestAddress(0), file, offset, len);
    assert!(matches!(map(&full, 0, 0x2000), Err(MapFileError::FileTooShort { has: 0x1000, needs: 0x2000 })));
    assert!(map(&more, 0, 0x2000).is_ok());
    assert!(matches!(map(&more, 0x2000, 0x1000), Err(MapFileError::FileTooShort { .. })));
    assert!(matches!(map(&more, !0xfff, 0x1000), Err(MapFileError::FileTooShort { .. })));
    assert!(matches!(map(&file(b""), 0, 0x1000), Err(MapFileError::FileTooShort { has: 0, .. })));
}

#[test]
fn what_is_not_a_file_or_cannot_be_read_is_refused() {
    let ram = RamSpec::new(0x8000).build().unwrap();
    let map = |file: &File| ram.map_file(GuestAddress(0), file, 0, 0x1000).unwrap_err();
    assert!(matches!(map(&File::open("/").unwrap()), MapFileError::NotAFile));
    assert!(matches!(map(&File::open("/dev/zero").unwrap()), MapFileError::NotAFile));
    let path = std::env::temp_dir().join(format!("strata-map-file-wo-{}", std::process::id()));
    let mut write_only = File::create(&path).unwrap();
    fs::remove_file(&path).unwrap();
    write_only.write_all(&[1; 0x1000]).unwrap();
    let error = map(&write_only);
    assert!(matches!(error, MapFileError::Map { at: 0, .. }), "{error:?}");
    assert_eq!(bytes(&ram, 0, 0x1000), [0; 0x1000], "and RAM is as it was");
}

#[test]
fn a_memory_file_can_be_mapped_too() {
    let ram = RamSpec::new(0x8000).build().unwrap();
    let mut memfd = memfd(0x1000, None).unwrap();
    memfd.write_all(b"memory").unwrap();
    ram.map_file(GuestAddress(0x1000), &memfd, 0, 0x1000).unwrap();
    assert_eq!(bytes(&ram, 0x1000, 6), b"memory");
}

/// Looks, when dropped, whether an address is still mapped.
struct Looks {
    addr: u64,
    mapped: Arc<Mutex<Option<bool>>>,
}

impl Drop for Looks {
    fn drop(&mut self) {
        *self.mapped.lock().unwrap() = Some(is_mapped(self.addr));
    }
}

fn is_mapped(addr: u64) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        (start..end).contains(&addr)
    })
}

#[test]
fn what_is_kept_goes_just_before_the_last_clone_is_unmapped() {
    let ram = RamSpec::new(4 * MIB).build().unwrap();
    let mapping = ram.map_file(GuestAddress(MIB), &file(&[1; 0x2000]), 0, 0x2000).unwrap();
    let mapped = Arc::new(Mutex::new(None));
    let looks = Looks { addr: mapping.result, mapped: Arc::clone(&mapped) };
    ram.keep(GuestAddress(MIB), looks).ok().unwrap();
    let clone = ram.memory().clone();
    drop(ram);
    assert_eq!(*mapped.lock().unwrap(), None, "a clone is left");
    drop(clone);
    assert_eq!(*mapped.lock().unwrap(), Some(true), "dropped while the memory was still there");
}

#[test]
fn what_belongs_to_no_ram_comes_back() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let ram = RamSpec::new(0x1000).build().unwrap();
    let dropped = Arc::new(AtomicBool::new(false));
    let back = ram.keep(GuestAddress(0x1000), Flag(Arc::clone(&dropped)));
    assert!(!dropped.load(SeqCst));
    assert!(back.is_err());
}
