#![allow(clippy::cast_possible_truncation, reason = "lengths are short here")]

use std::io::{Read as _, Write as _};

use strata_devices::virtio::net::{Net, NetConfig};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use super::*;

type PasstBench = Bench<Net<Passt, Memory>>;

const RX: usize = 0;
const TX: usize = 1;

fn bench() -> (PasstBench, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let link = Passt::from_stream(ours, None).unwrap();
    (bench_with(link), theirs)
}

pub(super) fn bench_with(link: Passt) -> PasstBench {
    let net = Net::new(&NetConfig::new("52:54:00:12:34:56".parse().unwrap()), vec![link]).unwrap();
    let workers = net.workers();
    let mut bench = Bench::new(net, workers);
    bench.start(0);
    bench
}

fn frame(len: usize, first: u8) -> Vec<u8> {
    (0..len).map(|at| first.wrapping_add((at % 253) as u8)).collect()
}

fn with_length(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

/// Sends a frame from the guest, whose memory has it in several pieces.
fn send(bench: &mut PasstBench, frame: &[u8], at: u64) {
    bench.write(at, &[&[0; HEADER], frame].concat());
    let rest = (HEADER + frame.len() - 20) as u32;
    bench.queue(TX).add(&[(at, 5), (at + 5, 15), (at + 20, rest)], &[]);
    bench.notify(1);
}

fn read_all(theirs: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = theirs.read_to_end(&mut bytes);
    bytes
}

/// Gives the guest a buffer and what has come to lie there.
fn receive(bench: &mut PasstBench, len: u32) -> Option<Vec<u8>> {
    bench.queue(RX).add(&[], &[(FREE, len)]);
    bench.notify(0);
    bench.run();
    bench.queue(RX).used().map(|(_, len)| bench.read(FREE, len as usize))
}

#[test]
fn a_frame_goes_with_its_length_before_it() {
    let (mut bench, mut theirs) = bench();
    for len in [14, 15, 1514, 60_000] {
        send(&mut bench, &frame(len, 1), FREE);
        assert_eq!(bench.run(), 1);
        assert!(read_all(&mut theirs) == with_length(&frame(len, 1)), "{len}");
    }
    assert_eq!(bench.device().counts().sent, 4);
}

#[test]
fn frames_that_passt_would_not_take_are_dropped() {
    let (mut bench, mut theirs) = bench();
    for len in [8, 13, 65_536] {
        send(&mut bench, &frame(len, 1), FREE);
        bench.run();
    }
    assert_eq!((read_all(&mut theirs), bench.device().counts().not_sent), (vec![], 3));
    assert!(bench.device().is_up());
}

#[test]
fn a_frame_of_which_the_socket_takes_a_part_is_completed_before_the_next() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, 10_000).unwrap();
    let mut bench = bench_with(Passt::from_stream(ours, None).unwrap());
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let mut was_cut = false;
    for round in 0..10_u8 {
        for part in 0..4 {
            let frame = frame(60_000, 10 * round + part);
            send(&mut bench, &frame, FREE + 0x1_0000 * u64::from(part));
            expected.extend(with_length(&frame));
        }
        while found.len() < expected.len() {
            bench.run();
            was_cut |= bench.device().with_backend(Passt::has_unsent).unwrap();
            let mut some = [0; 5000];
            match theirs.read(&mut some) {
                Ok(read) => found.extend_from_slice(&some[..read]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(found == expected, "{round}");
        while bench.queue(TX).used().is_some() {}
    }
    assert!(was_cut);
    assert_eq!(bench.device().counts().sent, 40);
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    for cut in [1, 3, 4, 5, 17, 100, 3000] {
        let (mut bench, mut theirs) = bench();
        let frames = [frame(14, 3), frame(1000, 5), frame(60, 7)];
        let stream: Vec<u8> = frames.iter().flat_map(|frame| with_length(frame)).collect();
        for _ in 0..3 {
            bench.queue(RX).add(&[], &[(FREE, 0)]);
        }
        let buffers = [FREE, FREE + 0x1000, FREE + 0x2000];
        for (index, at) in (0..).zip(buffers) {
            bench.queue(RX).descriptor(index, (at, 1526), 2, 0);
        }
        bench.notify(0);
        for piece in stream.chunks(cut) {
            theirs.write_all(piece).unwrap();
            bench.run();
        }
        for (frame, at) in frames.iter().zip(buffers) {
            let (_, len) = bench.queue(RX).used().unwrap();
            let expected = [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], &frame[..]].concat();
            assert_eq!(bench.read(at, len as usize), expected, "{cut}");
        }
    }
}

#[test]
fn the_longest_frame_arrives() {
    let (mut bench, mut theirs) = bench();
    let frame = frame(LONGEST, 9);
    theirs.write_all(&with_length(&frame)).unwrap();
    let found = receive(&mut bench, 70_000).unwrap();
    assert!(found[HEADER..] == frame);
}

#[test]
fn frames_wait_for_a_guest_without_buffers() {
    let (mut bench, mut theirs) = bench();
    for first in 0..3 {
        theirs.write_all(&with_length(&frame(100, first))).unwrap();
    }
    bench.run();
    for first in 0..3 {
        assert_eq!(receive(&mut bench, 1526).unwrap()[HEADER..], frame(100, first));
    }
}

#[test]
fn a_peer_that_sends_no_frames_loses_the_link() {
    for length in [0_u32, 13, 65_536, u32::MAX] {
        let (mut bench, mut theirs) = bench();
        theirs.write_all(&length.to_be_bytes()).unwrap();
        theirs.write_all(&[0; 100]).unwrap();
        assert_eq!((receive(&mut bench, 1526), bench.device().is_up()), (None, false), "{length}");
    }
}

#[test]
fn a_peer_that_goes_loses_the_link() {
    let (mut bench, theirs) = bench();
    bench.queue(RX).add(&[], &[(FREE, 1526)]);
    bench.notify(0);
    bench.run();
    drop(theirs);
    bench.run();
    assert!(!bench.device().is_up());

    let (mut bench, theirs) = self::bench();
    drop(theirs);
    send(&mut bench, &frame(60, 1), FREE);
    bench.run();
    assert!(!bench.device().is_up());
    assert!(bench.queue(TX).used().is_some());
}

#[test]
fn what_is_left_of_a_header_and_a_frame_is_spilled() {
    let mut spill = [9; 8];
    scatter([&[1, 2, 3], &[4, 5]], std::iter::empty::<VolatileSlice<'_>>(), &mut spill);
    assert_eq!(spill, [1, 2, 3, 4, 5, 9, 9, 9]);
    let mut memory = [0; 4];
    scatter([&[1, 2, 3], &[4, 5]], [VolatileSlice::from(&mut memory[..])].into_iter(), &mut spill);
    assert_eq!((memory, spill[0]), ([1, 2, 3, 4], 5));
}
