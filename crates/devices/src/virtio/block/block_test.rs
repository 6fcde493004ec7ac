use std::sync::Arc;

use super::super::testing::Memory;
use super::support::*;
use super::testing::{Asked, DISCARDED, TestDisk};
use super::*;
use crate::NoIrq;

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
