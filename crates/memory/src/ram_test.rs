use std::env;
use std::path::PathBuf;

use vm_memory::{Bytes, GuestAddress};

use super::*;

const MIB: u64 = 1 << 20;

fn piece(start: u64, len: u64, read_only: bool) -> Piece {
    Piece { start: GuestAddress(start), len, read_only }
}

/// A file in the temporary directory, removed when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, len: u64) -> Self {
        let file = Self(env::temp_dir().join(format!("strata-memory-{}-{name}", std::process::id())));
        File::create(&file.0).unwrap().set_len(len).unwrap();
        file
    }

    fn open(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }

    /// Whether this process maps it.
    fn is_mapped(&self) -> bool {
        fs::read_to_string("/proc/self/maps").unwrap().contains(self.0.to_str().unwrap())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn ram_starts_zeroed_and_keeps_what_is_written() {
    let ram = RamSpec::new(64 << 10).build().unwrap();
    let mut bytes = [1; 0x1000];
    ram.memory().read_slice(&mut bytes, GuestAddress(0xf000)).unwrap();
    assert_eq!(bytes, [0; 0x1000]);
    ram.memory().write_obj(0x1234_5678_u32, GuestAddress(0xfffc)).unwrap();
    assert_eq!(ram.memory().read_obj::<u32>(GuestAddress(0xfffc)).unwrap(), 0x1234_5678);
    assert!(ram.memory().write_obj(0_u32, GuestAddress(0xfffd)).is_err(), "a byte beyond the end");
}

#[test]
fn slots_say_what_a_hypervisor_has_to_know() {
    let spec = RamSpec::empty().piece(piece(0x10_0000, 0x2000, true)).piece(piece(0x1000, 0x4000, false));
    let ram = spec.build().unwrap();
    let slots: Vec<Slot> = ram.slots().collect();
    assert_eq!(
        slots.iter().map(|slot| (slot.index, slot.start, slot.len, slot.read_only)).collect::<Vec<_>>(),
        [(0, 0x1000, 0x4000, false), (1, 0x10_0000, 0x2000, true)]
    );
    for slot in &slots {
        let host = ram.memory().get_host_address(GuestAddress(slot.start)).unwrap();
        assert_eq!(slot.host_addr, host as u64);
    }
    assert_eq!(ram.size(), 0x6000);
    assert_eq!(ram.pieces().len(), 2);
}

#[test]
fn read_only_pieces_are_writable_from_this_side() {
    let ram = RamSpec::empty().piece(piece(0, 0x1000, true)).build().unwrap();
    ram.memory().write_slice(b"rom", GuestAddress(0)).unwrap();
}

#[test]
fn a_small_piece_is_one_plain_mmap() {
    let ram = RamSpec::new(256 << 10).build().unwrap();
    let [mapping] = ram.mappings() else { panic!("{:?}", ram.mappings()) };
    assert_eq!(
        *mapping,
        Mapping {
            asked_addr: 0,
            len: 256 << 10,
            prot: libc::PROT_READ | libc::PROT_WRITE,
            flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            fd: -1,
            offset: 0,
            result: ram.slots().next().unwrap().host_addr,
        }
    );
}

#[test]
fn large_pieces_are_placed_for_huge_pages_whatever_backs_them() {
    for backing in [Backing::Anonymous, Backing::Memfd] {
        let spec = RamSpec::empty()
            .piece(piece(0x1000, 2 * MIB, false))
            .piece(piece(16 * MIB, 3 * MIB, false))
            .piece(piece(1 << 32, 2 * MIB - 0x1000, false))
            .backing(backing.clone());
        let ram = spec.build().unwrap();
        for slot in ram.slots().take(2) {
            assert_eq!(slot.host_addr % (2 * MIB), slot.start % (2 * MIB), "{backing:?}: {slot:x?}");
        }
        for slot in ram.slots() {
            // First and last byte are there, and no piece is another one's.
            ram.memory().write_obj(slot.index + 1, GuestAddress(slot.start)).unwrap();
            ram.memory().write_obj(slot.index + 10, GuestAddress(slot.start + slot.len - 4)).unwrap();
        }
        for slot in ram.slots() {
            let first: u32 = ram.memory().read_obj(GuestAddress(slot.start)).unwrap();
            let last: u32 = ram.memory().read_obj(GuestAddress(slot.start + slot.len - 4)).unwrap();
            assert_eq!((first, last), (slot.index + 1, slot.index + 10), "{backing:?}");
        }
    }
}

#[test]
fn every_slot_lies_in_a_logged_mapping() {
    let spec = RamSpec::empty().piece(piece(0, 4 * MIB, false)).piece(piece(8 * MIB, 0x1000, false));
    for backing in [Backing::Anonymous, Backing::Memfd] {
        let ram = spec.clone().backing(backing).build().unwrap();
        for slot in ram.slots() {
            let inside = |mapping: &&Mapping| {
                let end = mapping.result + mapping.len;
                mapping.prot != libc::PROT_NONE
                    && mapping.result <= slot.host_addr
                    && slot.host_addr + slot.len <= end
            };
            assert_eq!(ram.mappings().iter().filter(inside).count(), 1, "{:x?}", ram.mappings());
        }
    }
}

#[test]
fn a_memory_file_is_shared_and_known_to_vm_memory() {
    let spec = RamSpec::empty().piece(piece(0, 0x1000, false)).piece(piece(0x10_0000, 4 * MIB, false));
    let ram = spec.backing(Backing::Memfd).build().unwrap();
    let offsets: Vec<u64> = ram.memory().iter().map(|region| region.file_offset().unwrap().start()).collect();
    assert_eq!(offsets, [0, 0x1000]);
    ram.memory().write_slice(b"shared", GuestAddress(0x10_0000)).unwrap();

    let mut seen = [0; 6];
    let region = ram.memory().find_region(GuestAddress(0)).unwrap();
    let file = region.file_offset().unwrap().file();
    std::os::unix::fs::FileExt::read_exact_at(file, &mut seen, 0x1000).unwrap();
    assert_eq!(&seen, b"shared");
}

#[test]
fn a_backing_file_is_written_through_and_unmapped_with_the_last_clone() {
    let file = TempFile::new("through", 3 * MIB);
    let ram = RamSpec::new(3 * MIB).backing(file.open()).build().unwrap();
    let memory = ram.memory().clone();
    drop(ram);
    assert!(file.is_mapped());
    memory.write_slice(b"kept", GuestAddress(3 * MIB - 4)).unwrap();
    drop(memory);
    assert!(!file.is_mapped());
    assert!(fs::read(&file.0).unwrap().ends_with(b"kept"));
}

#[test]
fn a_backing_file_that_cannot_serve_is_refused() {
    let file = TempFile::new("short", 0xfff);
    let error = RamSpec::new(0x1000).backing(file.open()).build().unwrap_err();
    assert!(matches!(error, RamError::FileTooSmall { has: 0xfff, needs: 0x1000 }), "{error}");

    let file = TempFile::new("read-only", 0x1000);
    let error = RamSpec::new(0x1000).backing(File::open(&file.0).unwrap()).build().unwrap_err();
    assert!(
        matches!(&error, RamError::Map { source, .. } if source.raw_os_error() == Some(libc::EACCES)),
        "{error}"
    );
}

#[test]
fn a_build_that_fails_half_way_leaves_nothing_mapped() {
    let file = TempFile::new("half", 0x1000);
    let mut log = Vec::new();
    let source = Source::File { file: FileOffset::new(file.open(), 0), hugetlb: false };
    let placed = mmap::place(&piece(0, 0x1000, false), source, &mut log).unwrap();
    assert!(file.is_mapped());
    drop(placed);
    assert!(!file.is_mapped());
}

#[test]
fn huge_pages_nobody_reserved_are_an_error_that_says_how_many() {
    // 2^40 bytes of them: no host sets that many aside.
    let spec = RamSpec::empty().piece(piece(1 << 32, 1 << 40, false));
    for (size, expected) in [(HugePageSize::M2, 1 << 19), (HugePageSize::G1, 1 << 10)] {
        let error = spec.clone().backing(Backing::HugePages { size }).build().unwrap_err();
        assert!(
            matches!(error, RamError::HugePagesUnavailable { needs, .. } if needs == expected),
            "{error}"
        );
    }
}

#[test]
fn reserved_huge_pages_back_ram() {
    let RamError::HugePagesUnavailable { free, .. } =
        huge_pages_unavailable(HugePageSize::M2, 0, std::io::Error::from_raw_os_error(libc::ENOMEM))
    else {
        panic!("not the error it is named for")
    };
    if free.is_none_or(|free| free < 2) {
        eprintln!("not run: RAM on huge pages: fewer than two free huge pages of 2 MiB");
        return;
    }
    let spec = RamSpec::new(4 * MIB).backing(Backing::HugePages { size: HugePageSize::M2 });
    let ram = spec.build().unwrap();
    ram.memory().write_obj(7_u8, GuestAddress(4 * MIB - 1)).unwrap();
    assert_eq!(ram.mappings().len(), 1);
    assert_eq!(ram.slots().next().unwrap().host_addr % (2 * MIB), 0);
    assert_eq!(ram.memory().find_region(GuestAddress(0)).unwrap().is_hugetlbfs(), Some(true));
}

#[test]
fn transparent_huge_pages_are_asked_for_only_on_demand() {
    assert!(!RamSpec::new(4 * MIB).build().unwrap().huge_pages_advised());
    let ram = RamSpec::new(4 * MIB).transparent_huge_pages(true).build().unwrap();
    let host_has_them = fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap();
    assert_eq!(ram.huge_pages_advised(), host_has_them);
}

#[test]
fn own_writes_are_tracked_by_page_over_all_pieces() {
    let spec =
        RamSpec::empty().piece(piece(0x1000, 0x4000, false)).piece(piece(0x100_0000, 0x10_0000, false));
    let ram = spec.track_dirty(true).build().unwrap();
    assert_eq!(ram.dirty_pages(), Vec::<u64>::new());
    ram.memory().write_slice(&[1; 2], GuestAddress(0x2fff)).unwrap();
    ram.memory().write_obj(1_u8, GuestAddress(0x10f_ffff)).unwrap();
    let _: u8 = ram.memory().read_obj(GuestAddress(0x1000)).unwrap();
    let expected = [0x2000, 0x3000, 0x10f_f000];
    assert_eq!(ram.dirty_pages(), expected);
    assert_eq!(ram.clone().reset_dirty(), expected);
    assert_eq!(ram.dirty_pages(), Vec::<u64>::new());
    ram.memory().write_obj(1_u8, GuestAddress(0x1000)).unwrap();
    assert_eq!(ram.dirty_pages(), [0x1000]);
}

#[test]
fn without_tracking_nothing_is_dirty() {
    let ram = RamSpec::new(0x1000).build().unwrap();
    ram.memory().write_obj(1_u8, GuestAddress(0)).unwrap();
    assert_eq!(ram.dirty_pages(), Vec::<u64>::new());
    assert_eq!(ram.reset_dirty(), Vec::<u64>::new());
}

#[test]
fn ram_can_be_used_from_any_thread() {
    let ram = RamSpec::new(0x1000).build().unwrap();
    let memory = ram.memory().clone();
    std::thread::spawn(move || memory.write_obj(5_u8, GuestAddress(9)).unwrap()).join().unwrap();
    assert_eq!(ram.memory().read_obj::<u8>(GuestAddress(9)).unwrap(), 5);
}

#[test]
fn devices_do_not_reach_what_is_read_only() {
    let piece = |start, read_only| Piece { start: GuestAddress(start), len: 0x2000, read_only };
    let spec = RamSpec::empty().piece(piece(0, false)).piece(piece(0x2000, true)).piece(piece(0x8000, false));
    let ram = spec.build().unwrap();
    let devices = ram.device_memory();
    for (address, reached) in [(0x1000, true), (0x2000, false), (0x3fff, false), (0x8000, true)] {
        assert_eq!(devices.write_obj(1_u8, GuestAddress(address)).is_ok(), reached, "{address:#x}");
        assert!(ram.memory().write_obj(2_u8, GuestAddress(address)).is_ok());
    }
    // It is the same memory.
    assert_eq!(devices.read_obj::<u8>(GuestAddress(0x8000)).unwrap(), 2);
}
