use super::super::super::Segment;
use super::*;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

#[test]
fn bytes_come_out_as_they_went_in_around_the_ring() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 4096)]).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
    memory.write_slice(&bytes, GuestAddress(0)).unwrap();

    let mut backlog = Backlog::new(10);
    let (mut put, mut got) = (0_u64, Vec::new());
    for (append, consume) in [(7, 3), (6, 8), (8, 1), (1, 10), (0, 1), (10, 4), (4, 10)] {
        let segments = [Segment { addr: GuestAddress(put), len: append }];
        assert!(backlog.append(&memory, Buffer::new(&segments[..usize::from(append > 0)])));
        put += u64::from(append);
        let mut left = consume;
        while left > 0 && !backlog.is_empty() {
            let now = backlog.first().len().min(left);
            got.extend_from_slice(&backlog.first()[..now]);
            backlog.consume(now);
            left -= now;
        }
    }
    assert!(backlog.is_empty() && backlog.first().is_empty());
    assert_eq!(got, bytes[..got.len()]);
    assert_eq!(got.len() as u64, put);

    let segments = [Segment { addr: GuestAddress(0), len: 11 }];
    assert!(!backlog.append(&memory, Buffer::new(&segments)), "more than its size");
    assert_eq!(backlog.first(), &bytes[..10]);
}
