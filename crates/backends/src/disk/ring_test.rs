use std::env;
use std::fs::{self, File};
use std::process;

use super::*;

/// A file of two blocks, unlinked.
fn file(name: &str) -> Arc<LockedFile> {
    let path = env::temp_dir().join(format!("strata-ring-{name}-{}", process::id()));
    fs::write(&path, [vec![1; 4096], vec![2; 4096]].concat()).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    Arc::new(LockedFile::new(file, true).unwrap())
}

/// Reads a block from each of these offsets, all in one go; gives what came of each, by tag, with its first byte.
fn read(ring: &mut Ring, offsets: &[u64]) -> Vec<(u16, Outcome, u8)> {
    let mut buffers = vec![[0_u8; 4096]; offsets.len()];
    let part = |buffer: &mut [u8; 4096]| iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 4096 };
    let parts: Vec<_> = buffers.iter_mut().map(part).collect();
    for ((tag, part), offset) in (0..).zip(&parts).zip(offsets) {
        // SAFETY: the buffers stay until all have ended.
        unsafe { ring.push(tag, Call::Read { segments: part, count: 1, offset: *offset }) }
    }
    let mut ended = Vec::new();
    while ring.in_flight() > 0 {
        ring.wait();
        while let Some((tag, outcome)) = ring.pop() {
            ended.push((tag, outcome, buffers[usize::from(tag)][0]));
        }
    }
    ended.sort_unstable();
    ended
}

#[test]
fn a_read_that_is_alone_needs_no_ring_and_several_need_it_once() {
    let Ok(mut ring) = Ring::new(file("alone"), false) else { return };
    assert_eq!(read(&mut ring, &[4096]), [(0, 4096, 2)]);
    assert_eq!(read(&mut ring, &[0, 4096]), [(0, 4096, 1), (1, 4096, 2)]);
    assert_eq!((ring.queued, ring.in_flight()), (0, 0));
}

#[test]
fn what_is_not_there_at_once_comes_by_the_ring() {
    let Ok(mut ring) = Ring::new(file("end"), false) else { return };
    // Beyond the end nothing is read, and it is not tried again for a while.
    assert_eq!(read(&mut ring, &[8192]), [(0, 0, 0)]);
    if !ring.at_once.is_off {
        assert_eq!(ring.at_once.pause, PAUSE);
    }
    for _ in 0..2 * PAUSE {
        assert_eq!(read(&mut ring, &[0]), [(0, 4096, 1)]);
    }
    assert_eq!(ring.at_once.pause, 0);
}

#[test]
fn past_the_cache_nothing_is_tried() {
    let Ok(mut ring) = Ring::new(file("direct"), true) else { return };
    assert_eq!(read(&mut ring, &[0]), [(0, 4096, 1)]);
    assert!(ring.at_once.is_off && ring.at_once.done.is_none());
}
