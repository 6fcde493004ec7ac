use vm_memory::GuestMemoryMmap;

use super::*;

const SEGMENTS: [Segment; 3] = [
    Segment { addr: GuestAddress(0x100), len: 4 },
    Segment { addr: GuestAddress(0x200), len: 1 },
    Segment { addr: GuestAddress(0x300), len: 5 },
];

/// A byte for each of a buffer's addresses.
fn addresses(buffer: Buffer<'_>) -> Vec<u64> {
    let bytes = buffer.segments().flat_map(|segment| (segment.addr.0..).take(segment.len as usize));
    bytes.collect()
}

#[test]
fn cut_anywhere_the_parts_are_the_whole() {
    let whole = Buffer::new(&SEGMENTS);
    let all = addresses(whole);
    assert_eq!(all.len() as u64, whole.len());
    for at in 0..=12 {
        for from_end in [false, true] {
            let (one, other) = if from_end { whole.split_last(at) } else { whole.split_at(at) };
            assert_eq!(one.len() + other.len(), 10);
            assert_eq!([addresses(one), addresses(other)].concat(), all, "{at}");
            // And once more.
            let (two, three) = other.split_at(2);
            assert_eq!([addresses(one), addresses(two), addresses(three)].concat(), all, "{at}");
        }
    }
}

#[test]
fn copies_what_there_is_room_for() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let buffer = Buffer::new(&SEGMENTS);
    assert_eq!(buffer.write(&memory, b"0123456789abc"), 10);
    let mut bytes = [0; 12];
    assert_eq!(buffer.split_at(3).1.read(&memory, &mut bytes), 7);
    assert_eq!(&bytes, b"3456789\0\0\0\0\0");
    let slices: Vec<_> = buffer.slices(&memory, Permissions::Read).map(|slice| slice.len()).collect();
    assert_eq!(slices, [4, 1, 5]);
}

#[test]
fn ends_where_memory_does() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x201)]).unwrap();
    assert_eq!(Buffer::new(&SEGMENTS).write(&memory, &[1; 10]), 5);
    assert_eq!(Buffer::new(&SEGMENTS).read(&memory, &mut [0; 10]), 5);
}
