use std::fs::{self, File};
use std::io::Write as _;
use std::sync::Arc;

use vm_memory::Bytes as _;

use super::*;
use crate::{Backing, HugePageSize, Piece, RamSpec};

const MIB: u64 = 1 << 20;

fn piece(start: u64, len: u64) -> Piece {
    Piece { start: GuestAddress(start), len, read_only: false }
}

fn fill(ram: &Ram, at: u64, len: usize) {
    ram.memory().write_slice(&vec![0xaa; len], GuestAddress(at)).unwrap();
}

fn bytes(ram: &Ram, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x55; len];
    ram.memory().read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn nameless_file() -> File {
    let name = format!("strata-discard-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file
}

/// How much of the mapping that starts at `addr` is resident, in KiB.
fn resident(addr: u64) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (_, mapping) = smaps.split_once(&format!("\n{addr:x}-")).expect("a mapping of its own");
    let line = mapping.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn discarded_memory_is_zero_and_its_neighbours_stay() {
    for backing in [Backing::Anonymous, Backing::Memfd] {
        let ram = RamSpec::new(0x8000).backing(backing).build().unwrap();
        fill(&ram, 0, 0x8000);
        ram.discard(GuestAddress(0x2000), 0x3000).unwrap();
        assert_eq!(bytes(&ram, 0x1ffe, 4), [0xaa, 0xaa, 0, 0]);
        assert_eq!(bytes(&ram, 0x2000, 0x3000), [0; 0x3000]);
        assert_eq!(bytes(&ram, 0x4ffe, 4), [0, 0, 0xaa, 0xaa]);
        fill(&ram, 0x2000, 0x3000);
        assert_eq!(bytes(&ram, 0x4000, 2), [0xaa, 0xaa], "it can be written again");
        ram.discard(GuestAddress(0x2000), 0x1000).unwrap();
        ram.discard(GuestAddress(0x2000), 0x1000).unwrap();
        ram.discard(GuestAddress(0x2000), 0).unwrap();
        assert_eq!(bytes(&ram, 0x2000, 1), [0], "twice is once");
    }
}

#[test]
fn the_resident_set_shrinks() {
    // In a file, so that no neighbour is merged with the mapping.
    for backing in [Backing::Memfd, Backing::File(Arc::new(nameless_file()))] {
        if let Backing::File(file) = &backing {
            file.set_len(8 * MIB).unwrap();
        }
        let ram = RamSpec::new(8 * MIB).backing(backing).build().unwrap();
        let host_addr = ram.slots().next().unwrap().host_addr;
        fill(&ram, 0, 8 << 20);
        assert_eq!(resident(host_addr), 8 << 10);
        ram.discard(GuestAddress(MIB), 6 * MIB).unwrap();
        assert_eq!(resident(host_addr), 2 << 10);
    }
    let ram = RamSpec::new(8 * MIB).build().unwrap();
    fill(&ram, 0, 8 << 20);
    assert_eq!(present(&ram, 0, 8 * MIB), 2048);
    ram.discard(GuestAddress(MIB), 6 * MIB).unwrap();
    assert_eq!((present(&ram, 0, 8 * MIB), present(&ram, MIB, 6 * MIB)), (512, 0));
}

/// How many pages of a range are there (Linux, Documentation/admin-guide/mm/pagemap.rst: bit 63).
fn present(ram: &Ram, at: u64, len: u64) -> usize {
    use std::os::unix::fs::FileExt as _;
    let first = (ram.slots().next().unwrap().host_addr + at) / PAGE_SIZE;
    let mut entries = vec![0; usize::try_from(len / PAGE_SIZE * 8).unwrap()];
    File::open("/proc/self/pagemap").unwrap().read_exact_at(&mut entries, first * 8).unwrap();
    entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
}

#[test]
fn a_shared_file_gets_a_hole_and_keeps_its_length() {
    use std::os::unix::fs::MetadataExt as _;
    let file = Arc::new(nameless_file());
    file.set_len(4 * MIB).unwrap();
    let ram = RamSpec::empty().piece(piece(0, MIB)).piece(piece(2 * MIB, 3 * MIB));
    let ram = ram.backing(Backing::File(Arc::clone(&file))).build().unwrap();
    fill(&ram, 2 * MIB, 3 << 20);
    fill(&ram, 0, 1 << 20);
    let before = file.metadata().unwrap();
    ram.discard(GuestAddress(2 * MIB), MIB).unwrap();
    let after = file.metadata().unwrap();
    assert_eq!(after.len(), before.len());
    assert!(after.blocks() < before.blocks());
    assert_eq!(bytes(&ram, MIB - 2, 2), [0xaa; 2], "the piece before it lies before it in the file");
    assert_eq!(bytes(&ram, 3 * MIB - 2, 4), [0, 0, 0xaa, 0xaa]);
}

#[test]
fn what_a_file_was_mapped_over_reads_as_the_file_again() {
    let mut file = nameless_file();
    file.write_all(&[7; 0x2000]).unwrap();
    let ram = RamSpec::new(0x8000).build().unwrap();
    fill(&ram, 0, 0x8000);
    ram.map_file(GuestAddress(0x3000), &file, 0, 0x2000).unwrap();
    fill(&ram, 0x3000, 0x1000);
    ram.discard(GuestAddress(0x2000), 0x4000).unwrap();
    assert_eq!(bytes(&ram, 0x2000, 0x1000), [0; 0x1000]);
    assert_eq!(bytes(&ram, 0x3000, 0x2000), [7; 0x2000]);
    assert_eq!(bytes(&ram, 0x5000, 0x1000), [0; 0x1000]);
}

#[test]
fn a_range_may_reach_over_pieces_but_not_over_a_gap() {
    let spec = RamSpec::empty().piece(piece(0x1000, 0x2000)).piece(piece(0x3000, 0x2000));
    let ram = spec.piece(piece(0x6000, 0x1000)).build().unwrap();
    for (at, len) in [(0x1000, 0x4000), (0x6000, 0x1000)] {
        fill(&ram, at, len);
    }
    let top = !0xfff;
    for (at, len) in [
        (0, 0x2000),
        (0x4000, 0x2000),
        (0x4000, 0x3000),
        (0x5000, 0x1000),
        (0x6000, 0x2000),
        (top, 0x1000),
        (0x1000, top),
        (top, top),
    ] {
        let refused = ram.discard(GuestAddress(at), len);
        assert!(matches!(refused, Err(DiscardError::OutsideRam { .. })), "{at:#x} {len:#x}: {refused:?}");
    }
    assert_eq!(bytes(&ram, 0x1000, 0x4000), [0xaa; 0x4000], "nothing was discarded");
    ram.discard(GuestAddress(0x2000), 0x2000).unwrap();
    let [kept, gone] = [[0xaa; 0x1000], [0; 0x1000]];
    assert_eq!(bytes(&ram, 0x1000, 0x4000), [kept, gone, gone, kept].concat());
}

#[test]
fn halves_of_pages_are_refused() {
    let ram = RamSpec::new(0x8000).build().unwrap();
    for (at, len) in [(0x800, 0x1000), (0, 0xfff), (u64::MAX, 0x1000), (0x1000, u64::MAX)] {
        let refused = ram.discard(GuestAddress(at), len);
        assert!(matches!(refused, Err(DiscardError::Misaligned { .. })), "{refused:?}");
    }
}

#[test]
fn what_the_guest_cannot_write_stays() {
    let rom = Piece { start: GuestAddress(0x2000), len: 0x2000, read_only: true };
    let ram = RamSpec::empty().piece(piece(0, 0x2000)).piece(rom).build().unwrap();
    fill(&ram, 0, 0x4000);
    for (at, len) in [(0x2000, 0x1000), (0x1000, 0x2000)] {
        let refused = ram.discard(GuestAddress(at), len);
        assert!(matches!(refused, Err(DiscardError::ReadOnly { .. })), "{refused:?}");
    }
    assert_eq!(bytes(&ram, 0, 0x4000), [0xaa; 0x4000]);
}

#[test]
fn discarded_pages_are_dirty() {
    let ram = RamSpec::new(0x8000).track_dirty(true).build().unwrap();
    ram.discard(GuestAddress(0x3000), 0x2000).unwrap();
    assert_eq!(ram.reset_dirty(), [0x3000, 0x4000]);
}

#[test]
fn of_huge_pages_only_whole_ones_are_given_back() {
    let spec = RamSpec::new(6 * MIB).backing(Backing::HugePages { size: HugePageSize::M2 });
    let Ok(ram) = spec.build() else {
        eprintln!("not run: discarding huge pages: fewer than three free huge pages of 2 MiB");
        return;
    };
    fill(&ram, 0, 6 << 20);
    ram.discard(GuestAddress(2 * MIB), MIB).unwrap();
    assert_eq!(bytes(&ram, 2 * MIB, 1), [0xaa], "half a huge page stays");
    ram.discard(GuestAddress(MIB), 4 * MIB).unwrap();
    assert_eq!((bytes(&ram, 2 * MIB - 1, 2), bytes(&ram, 4 * MIB - 1, 2)), (vec![0xaa, 0], vec![0, 0xaa]));
}

#[test]
#[allow(unsafe_code, reason = "nothing safe makes a file that cannot be punched")]
fn what_the_kernel_refuses_is_an_error_that_says_what_is_needed() {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    // SAFETY: the name is a C string, and the descriptor is new, so this is its only owner.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"sealed".as_ptr(), libc::MFD_ALLOW_SEALING)) };
    file.set_len(0x4000).unwrap();
    let file = Arc::new(file);
    let ram = RamSpec::new(0x4000).backing(Backing::File(Arc::clone(&file))).build().unwrap();
    fill(&ram, 0, 0x4000);
    // SAFETY: this command takes an integer. The seal leaves the mapping as it is, and forbids holes.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_FUTURE_WRITE) };
    assert_eq!(sealed, 0);
    let error = ram.discard(GuestAddress(0x1000), 0x1000).unwrap_err();
    assert!(matches!(error, DiscardError::Refused { at: 0x1000, .. }), "{error:?}");
    assert!(error.to_string().contains("punch holes"), "{error}");
    assert_eq!(bytes(&ram, 0x1000, 0x1000), [0xaa; 0x1000]);
}
