use std::fs::File;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{FileOffset, GuestMemoryMmap};

use super::*;

fn file() -> FileOffset {
    let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(1 << 20).unwrap();
    FileOffset::new(file, 0x8000)
}

#[test]
fn pieces_are_named_by_their_guest_physical_addresses() {
    let (first, second) = (file(), file());
    let fds = [&first, &second].map(|file| file.file().as_raw_fd());
    let ranges = [(GuestAddress(0), 0x1000, Some(first)), (GuestAddress(1 << 32), 0x3000, Some(second))];
    let memory = GuestMemoryMmap::<()>::from_ranges_with_files(ranges).unwrap();
    let (payload, sent) = table(&memory).unwrap();
    assert_eq!(sent, fds);
    let longs: Vec<_> =
        payload.chunks(8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(longs, [2, 0, 0x1000, 0, 0x8000, 1 << 32, 0x3000, 1 << 32, 0x8000]);
}

#[test]
fn memory_without_a_file_cannot_be_shared() {
    let ranges = [(GuestAddress(0), 0x1000, Some(file())), (GuestAddress(0x4000), 0x1000, None)];
    let memory = GuestMemoryMmap::<()>::from_ranges_with_files(ranges).unwrap();
    let error = can_share(&memory).unwrap_err();
    assert!(matches!(error, MemoryError::NotShared { start: 0x4000 }), "{error}");
    assert!(error.to_string().contains("memory.backing"));
}

#[test]
fn more_pieces_than_the_protocol_has_room_for_are_refused() {
    let with = |count| {
        let ranges = (0..count).map(|piece| (GuestAddress(piece << 20), 0x1000, Some(file())));
        can_share(&GuestMemoryMmap::<()>::from_ranges_with_files(ranges).unwrap())
    };
    assert!(with(8).is_ok());
    assert!(matches!(with(9), Err(MemoryError::TooManyPieces { pieces: 9 })));
}
