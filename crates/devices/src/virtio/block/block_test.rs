use std::sync::Arc;

use proptest::prelude::*;

use super::super::rate::Limit;
use super::super::testing::{Bench, FREE, Memory};
use super::testing::{Asked, Control, DEPTH, DISCARDED, TestDisk};
use super::*;
use crate::NoIrq;

/// Of the disks here, in bytes: 64 sectors and a piece that is none.
const LEN: usize = 64 * 512 + 100;

type Device = Block<Memory, TestDisk>;

fn bench_of(disks: Vec<TestDisk>, options: BlockOptions) -> (Bench<Device>, Control) {
    let control = disks[0].control();
    let device = Block::new(disks, options).unwrap();
    let workers = device.workers();
    (Bench::new(device, workers), control)
}

/// A device with all features, started.
fn bench() -> (Bench<Device>, Control) {
    let data = (0..LEN).map(|at| (at / 512) as u8).collect();
    let serial = "disk-1".parse().unwrap();
    let (mut bench, control) =
        bench_of(vec![TestDisk::new(data)], BlockOptions { serial, ..BlockOptions::default() });
    bench.start(feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES);
    (bench, control)
}

/// Where requests' parts lie: headers, statuses, data.
const HEADERS: u64 = FREE;
const STATUSES: u64 = FREE + 0x1000;
const DATA: u64 = FREE + 0x1_0000;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// Writes a header and makes a request of it, with this data.
fn add(bench: &mut Bench<Device>, slot: u64, (kind, sector): (u32, u64), data: &[(u64, u32)]) {
    let mut header = u64::from(kind).to_le_bytes().to_vec();
    header.extend(sector.to_le_bytes());
    let header_at = HEADERS + 16 * slot;
    bench.write(header_at, &header);
    let status_at = STATUSES + slot;
    bench.write(status_at, &[0xff]);
    let (mut readable, mut writable) = (vec![(header_at, 16)], vec![]);
    if matches!(kind, IN | GET_ID) { &mut writable } else { &mut readable }.extend(data);
    writable.push((status_at, 1));
    bench.queue(0).add(&readable, &writable);
}

/// Makes one request and gives its status and the length used.
fn one(bench: &mut Bench<Device>, what: (u32, u64), data: &[(u64, u32)]) -> (u8, u32) {
    add(bench, 0, what, data);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    let (_, written) = bench.queue(0).used().unwrap();
    (bench.read(STATUSES, 1)[0], written)
}

fn ranges(bench: &Bench<Device>, ranges: &[(u64, u32, u32)]) -> (u64, u32) {
    let mut bytes = vec![];
    for (sector, count, flags) in ranges {
        bytes.extend(sector.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    }
    bench.write(DATA, &bytes);
    (DATA, bytes.len() as u32)
}

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

#[test]
fn says_what_it_is() {
    let (mut bench, _) = bench();
    assert_eq!(bench.register(8), 2);
    let always = feature::SEG_MAX | feature::BLK_SIZE | feature::TOPOLOGY;
    let all = always | feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES;
    assert_eq!(bench.offered() & !super::super::feature::OF_RING, all);
    assert_eq!(u64::from_le_bytes(bench.config(0)), 64);
    assert_eq!(u32::from_le_bytes(bench.config(12)), 62);
    assert_eq!(u32::from_le_bytes(bench.config(20)), 512);
    assert_eq!(bench.config(34), 1_u16.to_le_bytes());
    assert_eq!((u32::from_le_bytes(bench.config(40)), u32::from_le_bytes(bench.config(44))), (16, 8));
    assert_eq!(bench.config(56), [1, 0, 0, 0, 0, 0, 0, 0], "nothing is behind it");
}

#[test]
fn says_how_large_its_blocks_are() {
    let properties = Properties {
        block_size: 1024,
        physical_block_size: 8192,
        has_cache: false,
        ..Properties::plain(LEN as u64)
    };
    let disk = TestDisk::with(vec![0; LEN], properties);
    let (mut bench, _) = bench_of(vec![disk.clone(), disk], BlockOptions::default());
    let own = bench.offered() & !super::super::feature::OF_RING;
    assert_eq!(own, feature::SEG_MAX | feature::BLK_SIZE | feature::TOPOLOGY | feature::MQ);
    assert_eq!(u32::from_le_bytes(bench.config(20)), 1024);
    assert_eq!(bench.config(24), [3, 0, 8, 0]);
    assert_eq!(bench.config(34), [2, 0]);
}

#[test]
fn bears_what_a_guest_does_to_it() {
    let memory: Memory = bench().0.memory().clone();
    let make = || {
        let device = Block::new(vec![TestDisk::new(vec![0; LEN])], BlockOptions::default()).unwrap();
        std::sync::Mutex::new(super::super::VirtioMmio::new(device, Arc::clone(&memory), Arc::new(NoIrq)))
    };
    crate::conformance::check("virtio-block", super::super::VirtioMmio::LEN, make).unwrap();
}

#[test]
fn serial_numbers_are_short_and_printable() {
    assert_eq!("12345678901234567890".parse::<Serial>().unwrap().as_bytes(), b"12345678901234567890");
    assert_eq!(format!("{:?}", "a b".parse::<Serial>().unwrap()), "a b");
    for wrong in ["123456789012345678901", "\n", "ä"] {
        assert_eq!(wrong.parse::<Serial>(), Err(SerialError));
    }
}

#[test]
fn there_is_no_device_without_a_disk() {
    assert!(Block::<Memory, TestDisk>::new(vec![], BlockOptions::default()).is_err());
}

#[test]
fn what_is_written_is_read() {
    let (mut bench, control) = bench();
    assert_eq!(one(&mut bench, (IN, 3), &[(DATA, 1024)]), (OK, 1025));
    assert_eq!(bench.read(DATA, 1024), [[3; 512], [4; 512]].concat());
    bench.write(DATA, &[9; 1024]);
    // However it is cut into descriptors.
    assert_eq!(one(&mut bench, (OUT, 62), &[(DATA, 100), (DATA, 924)]), (OK, 1));
    assert_eq!(control.data()[62 * 512..64 * 512], [9; 1024]);
    assert_eq!(one(&mut bench, (IN, 62), &[(DATA + 2000, 1), (DATA + 3000, 511)]), (OK, 513));
    assert_eq!((bench.read(DATA + 2000, 2), bench.read(DATA + 3510, 2)), (vec![9, 0], vec![9, 0]));
}

#[test]
fn header_and_status_may_share_descriptors_with_data() {
    let (mut bench, control) = bench();
    let mut request = vec![1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    request.extend([7; 512]);
    bench.write(DATA, &request);
    bench.queue(0).add(&[(DATA, 7), (DATA + 7, 521)], &[(STATUSES, 1)]);
    bench.write(DATA + 1024, &[0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    bench.queue(0).add(&[(DATA + 1024, 16)], &[(DATA + 2048, 513)]);
    bench.notify(0);
    bench.run();
    assert_eq!((bench.queue(0).used(), bench.queue(0).used()), (Some((0, 1)), Some((3, 513))));
    assert_eq!(control.data()[5 * 512..6 * 512], [7; 512]);
    assert_eq!(bench.read(DATA + 2048, 513), [vec![7; 512], vec![OK]].concat());
}

#[test]
fn the_serial_number_is_20_bytes() {
    let (mut bench, _) = bench();
    assert_eq!(one(&mut bench, (GET_ID, 0), &[(DATA, 20)]), (OK, 21));
    assert_eq!(bench.read(DATA, 20), b"disk-1\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bench.write(DATA, &[0xff; 30]);
    assert_eq!(one(&mut bench, (GET_ID, 0), &[(DATA, 30)]), (OK, 20), "the status is behind a gap");
    assert_eq!(bench.read(DATA + 18, 4), [0, 0, 0xff, 0xff]);
    assert_eq!(one(&mut bench, (GET_ID, 0), &[(DATA + 100, 3)]), (OK, 4));
    assert_eq!(bench.read(DATA + 100, 4), b"dis\0");
}

#[test]
fn flushes_discards_and_zeros() {
    let (mut bench, control) = bench();
    assert_eq!(one(&mut bench, (FLUSH, 0), &[]), (OK, 1));
    let data = ranges(&bench, &[(1, 1, 0), (0, 0, 0), (4, 2, 0)]);
    assert_eq!(one(&mut bench, (DISCARD, 0), &[data]), (OK, 1));
    let data = ranges(&bench, &[(7, 1, 1), (9, 1, 0)]);
    assert_eq!(one(&mut bench, (WRITE_ZEROES, 0), &[data]), (OK, 1));
    let asked = [
        Asked::Flush,
        Asked::Discard(512, 512),
        Asked::Discard(4 * 512, 1024),
        Asked::WriteZeroes(7 * 512, 512, true, false),
        Asked::WriteZeroes(9 * 512, 512, false, false),
    ];
    assert_eq!(control.asked(), asked);
    let firsts: Vec<_> = control.data().chunks(512).map(|sector| sector[0]).take(10).collect();
    assert_eq!(firsts, [0, DISCARDED, 2, 3, DISCARDED, DISCARDED, 6, 0, 8, 0]);
}

#[test]
fn writes_are_durable_for_a_driver_that_does_not_flush() {
    let (mut bench, control) = bench();
    for (features, durable) in [(feature::FLUSH, false), (0, true), (feature::FLUSH, false)] {
        bench.start(features | feature::WRITE_ZEROES);
        one(&mut bench, (OUT, 0), &[(DATA, 512)]);
        let data = ranges(&bench, &[(7, 1, 0)]);
        one(&mut bench, (WRITE_ZEROES, 0), &[data]);
        let asked = [Asked::Write(0, 512, durable), Asked::WriteZeroes(7 * 512, 512, false, durable)];
        assert_eq!(control.asked(), asked);
    }
}

#[test]
fn bad_requests_are_answered_and_reach_no_disk() {
    let (mut bench, control) = bench();
    let transfers = [(64, 512), (63, 1024), (u64::MAX, 512), (1 << 55, 512), (u64::MAX / 512, 512), (0, 511)];
    for (sector, len) in transfers {
        assert_eq!(one(&mut bench, (IN, sector), &[(DATA, len)]), (IOERR, 0), "{sector} {len}");
        assert_eq!(one(&mut bench, (OUT, sector), &[(DATA, len)]), (IOERR, 1), "{sector} {len}");
    }
    // As far as sectors go, though the file is longer; and nothing of something.
    assert_eq!(one(&mut bench, (IN, 64), &[]), (OK, 1));
    assert_eq!(one(&mut bench, (IN, 65), &[]), (IOERR, 1));
    for kind in [2, 3, 5, 9, 10, 12, 14, u32::MAX] {
        assert_eq!(one(&mut bench, (kind, 0), &[]), (UNSUPP, 1), "{kind}");
    }
    let too_many = vec![(0, 1, 0); 17];
    for (kind, list, status) in [
        (DISCARD, &[(64, 1, 0)][..], IOERR),
        (DISCARD, &[(u64::MAX, 1, 0)], IOERR),
        (DISCARD, &[(0, u32::MAX, 0)], IOERR),
        (DISCARD, &[(0, 1, 1)], UNSUPP),
        (DISCARD, &[(0, 1, 0), (64, 1, 0)], IOERR),
        (DISCARD, &too_many, IOERR),
        (DISCARD, &[(0, 0, 0)], OK),
        (DISCARD, &[], OK),
        (WRITE_ZEROES, &[(64, 1, 0)], IOERR),
        (WRITE_ZEROES, &[(0, 1, 2)], UNSUPP),
        (WRITE_ZEROES, &[(0, (1 << 16) + 1, 0)], IOERR),
    ] {
        let data = ranges(&bench, list);
        assert_eq!(one(&mut bench, (kind, 0), &[data]).0, status, "{kind} {list:?}");
    }
    for kind in [DISCARD, WRITE_ZEROES] {
        assert_eq!(one(&mut bench, (kind, 0), &[(DATA, 17)]).0, IOERR);
    }
    assert_eq!(control.asked(), []);
}

#[test]
fn requests_without_a_header_or_a_status() {
    let (mut bench, control) = bench();
    bench.queue(0).add(&[(HEADERS, 15)], &[(STATUSES, 1)]);
    bench.queue(0).add(&[], &[(STATUSES + 1, 1)]);
    bench.queue(0).add(&[(HEADERS, 16)], &[]);
    bench.notify(0);
    bench.run();
    assert_eq!(bench.queue(0).used(), Some((0, 1)));
    assert_eq!(bench.queue(0).used(), Some((2, 1)));
    assert_eq!(bench.queue(0).used(), Some((3, 0)));
    assert_eq!(bench.read(STATUSES, 2), [IOERR, IOERR]);
    assert!(!bench.needs_reset() && control.asked().is_empty());
}

#[test]
fn what_was_not_negotiated_is_unsupported() {
    let (mut bench, control) = bench();
    bench.start(0);
    let data = ranges(&bench, &[(0, 1, 0)]);
    assert_eq!(one(&mut bench, (DISCARD, 0), &[data]), (UNSUPP, 1));
    assert_eq!(one(&mut bench, (WRITE_ZEROES, 0), &[data]), (UNSUPP, 1));
    assert_eq!(control.asked(), []);
}

#[test]
fn a_read_only_disk_is_not_written() {
    let properties = Properties {
        read_only: true,
        discard_granularity: Some(512),
        writes_zeros: true,
        ..Properties::plain(LEN as u64)
    };
    let (mut bench, control) =
        bench_of(vec![TestDisk::with(vec![1; LEN], properties)], BlockOptions::default());
    let offered = bench.offered();
    assert_eq!(offered & (feature::RO | feature::FLUSH | feature::DISCARD), feature::RO);
    bench.start(feature::RO);
    assert_eq!(one(&mut bench, (OUT, 0), &[(DATA, 512)]), (IOERR, 1));
    assert_eq!(one(&mut bench, (IN, 0), &[(DATA, 512)]), (OK, 513));
    assert_eq!(control.asked(), [Asked::Read(0, 512)]);
}

#[test]
fn errors_of_the_host_reach_the_guest() {
    let (mut bench, control) = bench();
    // EIO, ENOSPC, EOPNOTSUPP.
    for (errno, status) in [(5, IOERR), (28, IOERR), (95, UNSUPP)] {
        control.fail(&[Some(errno), Some(errno), Some(errno)]);
        assert_eq!(one(&mut bench, (IN, 0), &[(DATA, 512)]), (status, 0));
        assert_eq!(one(&mut bench, (OUT, 0), &[(DATA, 512)]), (status, 1));
        assert_eq!(one(&mut bench, (FLUSH, 0), &[]), (status, 1));
    }
    // One of several ranges is enough.
    let data = ranges(&bench, &[(0, 1, 0), (1, 1, 0), (2, 1, 0)]);
    for fails in [[Some(5), None, None], [None, Some(5), None], [None, None, Some(5)]] {
        control.fail(&fails);
        assert_eq!(one(&mut bench, (DISCARD, 0), &[data]), (IOERR, 1));
    }
    assert_eq!(one(&mut bench, (DISCARD, 0), &[data]), (OK, 1));
}

#[test]
fn a_batch_is_one_commit_and_one_interrupt() {
    let (mut bench, control) = bench();
    bench.queue(0).size = 64;
    bench.start(0);
    for slot in 0..DEPTH.into() {
        add(&mut bench, slot, (IN, slot), &[(DATA + 512 * slot, 512)]);
    }
    bench.notify(0);
    assert_eq!((bench.run(), control.commits()), (1, 1));
}

#[test]
fn requests_beyond_the_depth_wait_in_the_ring() {
    let (mut bench, control) = bench();
    bench.queue(0).size = 128;
    bench.start(feature::DISCARD);
    control.hold(true);
    for slot in 0..40 {
        add(&mut bench, slot, (IN, slot), &[(DATA + 512 * slot, 512)]);
    }
    bench.notify(0);
    assert_eq!((bench.run(), control.held()), (0, usize::from(DEPTH)));
    // Each that ends makes room for one, and is answered.
    for done in 1..=40_u64 {
        control.release(usize::from(done % 3 == 0));
        assert_eq!(bench.run(), 1);
        let (head, written) = bench.queue(0).used().unwrap();
        assert_eq!(written, 513);
        assert_eq!(bench.read(STATUSES + u64::from(head) / 3, 1), [OK]);
        assert!(bench.queue(0).used().is_none());
        assert_eq!(control.held() as u64, (40 - done).min(DEPTH.into()));
    }
    for slot in 0..40 {
        assert_eq!(bench.read(DATA + 512 * slot, 512), [slot as u8; 512]);
    }
    // A request of several operations waits until there is room for all.
    add(&mut bench, 0, (IN, 0), &[(DATA, 512)]);
    let list = ranges(&bench, &[(0, 1, 0); 16]);
    bench.write(DATA + 0x8000, &bench.read(DATA, 256));
    add(&mut bench, 1, (DISCARD, 0), &[(DATA + 0x8000, list.1)]);
    bench.notify(0);
    bench.run();
    assert_eq!(control.held(), 1);
    control.release(0);
    assert_eq!((bench.run(), control.held()), (1, 16));
    for _ in 0..16 {
        assert!(bench.queue(0).used().is_none_or(|used| used.1 == 513));
        control.release(0);
        bench.run();
    }
    assert_eq!(bench.queue(0).used().unwrap().1, 1);
}

#[test]
fn a_reset_waits_for_what_is_in_flight() {
    let (mut bench, control) = bench();
    control.hold(true);
    add(&mut bench, 0, (IN, 1), &[(DATA, 512)]);
    add(&mut bench, 1, (OUT, 2), &[(DATA + 512, 512)]);
    bench.notify(0);
    bench.run();
    assert_eq!(control.held(), 2);
    bench.reset();
    assert_eq!(control.held(), 0);
    bench.write(DATA, &[0x55; 1024]);
    assert_eq!(bench.run(), 0, "nobody hears of what was before the reset");
    assert_eq!(bench.read(DATA, 1024), [0x55; 1024]);
    // All of its room is there again.
    control.hold(false);
    bench.start(0);
    for slot in 0..5 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    bench.run();
    assert_eq!((0..5).filter(|_| bench.queue(0).used().is_some()).count(), 5);
}

#[test]
fn a_reset_with_requests_behind() {
    let (mut bench, control) = bench();
    bench.queue(0).size = 128;
    bench.start(0);
    control.hold(true);
    for slot in 0..30 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    bench.run();
    bench.start(0);
    assert_eq!((bench.run(), control.held()), (0, 0));
    bench.notify(0);
    assert_eq!((bench.run(), control.held()), (0, 0), "the new ring is empty");
}

#[test]
fn a_broken_ring_asks_for_a_reset_and_what_is_in_flight_ends() {
    let (mut bench, control) = bench();
    control.hold(true);
    add(&mut bench, 0, (IN, 1), &[(DATA, 512)]);
    bench.notify(0);
    bench.run();
    bench.queue(0).set_available(1000);
    bench.notify(0);
    bench.run();
    assert!(bench.needs_reset());
    control.release(0);
    assert_eq!(bench.run(), 0);
    bench.start(0);
    control.hold(false);
    assert_eq!(one(&mut bench, (IN, 1), &[(DATA, 512)]), (OK, 513));
}

#[test]
fn each_queue_has_its_own_worker() {
    let disk = TestDisk::new(vec![1; LEN]);
    let (mut bench, control) = bench_of(vec![disk.clone(), disk], BlockOptions::default());
    assert_eq!(bench.device().workers().len(), 2);
    bench.start(feature::MQ);
    control.hold(true);
    bench.write(HEADERS, &[0; 16]);
    for queue in 0..2 {
        bench.queue(queue).add(&[(HEADERS, 16)], &[(DATA, 512), (STATUSES, 1)]);
        bench.notify(queue as u32);
    }
    assert_eq!((bench.run(), control.held()), (0, 2));
    control.release(1);
    bench.run();
    assert_eq!((bench.queue(0).used(), bench.queue(1).used()), (None, Some((0, 513))));
    control.release(0);
    bench.run();
    assert_eq!(bench.queue(0).used(), Some((0, 513)));
    // A driver may leave some alone.
    bench.start_with(feature::MQ, |queue| queue == 1);
    bench.queue(1).add(&[(HEADERS, 16)], &[(DATA, 512), (STATUSES, 1)]);
    bench.notify(0);
    bench.notify(1);
    bench.run();
    assert_eq!(control.held(), 1);
}

#[test]
fn a_limit_holds_requests_back_until_time_has_passed() {
    let operations = Some(Limit { per_second: 1000, burst: 1 });
    let limits = RateLimits { operations, ..RateLimits::default() };
    let (mut bench, control) =
        bench_of(vec![TestDisk::new(vec![1; LEN])], BlockOptions { limits, ..BlockOptions::default() });
    bench.start(0);
    for slot in 0..5 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    let mut done = 0;
    let start = std::time::Instant::now();
    bench.run_until(|bench| {
        done += usize::from(bench.queue(0).used().is_some());
        done == 5
    });
    assert!(start.elapsed().as_millis() >= 4, "four had to wait");
    assert_eq!(control.asked().len(), 5);
}

#[test]
fn a_limit_does_not_hold_up_a_reset_or_errors() {
    let bandwidth = Some(Limit { per_second: 0, burst: 512 });
    let limits = RateLimits { bandwidth, ..RateLimits::default() };
    let (mut bench, control) =
        bench_of(vec![TestDisk::new(vec![1; LEN])], BlockOptions { limits, ..BlockOptions::default() });
    bench.start(0);
    for slot in 0..2 {
        add(&mut bench, slot, (IN, slot), &[(DATA, 512)]);
    }
    bench.notify(0);
    bench.run();
    assert_eq!(control.asked().len(), 1);
    bench.start(0);
    assert_eq!(one(&mut bench, (FLUSH, 0), &[]), (OK, 1), "no bytes are left, but this needs none");
}

#[test]
fn a_ring_that_is_never_empty_lets_others_have_their_turn() {
    let (mut bench, _) = bench();
    // 16 descriptors: at most 5 requests at once, so that many rounds are needed.
    for round in 0..100_u64 {
        for slot in 0..5 {
            add(&mut bench, slot, (IN, (round + slot) % 64), &[(DATA, 512)]);
        }
        bench.notify(0);
        assert_eq!(bench.run(), 1);
        assert_eq!((0..6).filter(|_| bench.queue(0).used().is_some()).count(), 5);
    }
}

/// What a driver does in the test against the model.
#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64, u8),
    Read(u64, u64),
    Zero(u64, u64),
    Fail,
    Release(usize),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0_u64..66, 1_u64..8);
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|((at, count), byte)| Step::Write(at, count, byte)),
        4 => place().prop_map(|(at, count)| Step::Read(at, count)),
        2 => place().prop_map(|(at, count)| Step::Zero(at, count)),
        1 => Just(Step::Fail),
        3 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A driver that waits for each answer sees a plain array of bytes, whatever happens in between.
    #[test]
    fn is_an_array_of_bytes(steps in prop::collection::vec(step(), 1..40), holds: bool) {
        let (mut bench, control) = bench();
        let mut model = control.data();
        model.truncate(64 * 512);
        control.hold(holds);
        for step in steps {
            let (what, data, at, count) = match step {
                Step::Write(at, count, byte) => {
                    bench.write(DATA, &vec![byte; 512 * count as usize]);
                    ((OUT, at), (DATA, 512 * count as u32), at, count)
                }
                Step::Read(at, count) => ((IN, at), (DATA, 512 * count as u32), at, count),
                Step::Zero(at, count) => {
                    ((WRITE_ZEROES, 0), ranges(&bench, &[(at, count as u32, 1)]), at, count)
                }
                Step::Fail => {
                    control.fail(&[Some(5)]);
                    ((FLUSH, 0), (DATA, 0), 0, 0)
                }
                Step::Release(place) => {
                    control.release(place);
                    continue;
                }
                Step::Reset => {
                    bench.start(feature::FLUSH | feature::WRITE_ZEROES);
                    continue;
                }
            };
            let data = if data.1 == 0 { vec![] } else { vec![data] };
            add(&mut bench, 0, what, &data);
            bench.notify(0);
            bench.run();
            control.release(0);
            bench.run();
            prop_assert!(bench.queue(0).used().is_some());
            let status = bench.read(STATUSES, 1)[0];
            let place = 512 * at as usize..512 * (at + count) as usize;
            match what.0 {
                FLUSH => prop_assert_eq!(status, IOERR),
                _ if at + count > 64 => prop_assert_eq!(status, IOERR),
                IN => {
                    prop_assert_eq!(status, OK);
                    prop_assert_eq!(&bench.read(DATA, place.len())[..], &model[place]);
                }
                OUT => model[place].copy_from_slice(&bench.read(DATA, 512 * count as usize)),
                _ => model[place].fill(0),
            }
        }
        prop_assert_eq!(&control.data()[..64 * 512], &model[..]);
    }
}
