//! A driver of block devices, for their tests.

#![allow(clippy::cast_possible_truncation, reason = "numbers here are small")]

use super::super::testing::{Bench, FREE, Memory};
use super::testing::{Control, TestDisk};
use super::{Block, BlockOptions, feature};

/// Of the disks here, in bytes: 64 sectors and a piece that is none.
pub(super) const LEN: usize = 64 * 512 + 100;

pub(super) type Device = Block<Memory, TestDisk>;

pub(super) fn bench_of(disks: Vec<TestDisk>, options: BlockOptions) -> (Bench<Device>, Control) {
    let control = disks[0].control();
    let device = Block::new(disks, options).unwrap();
    let workers = device.workers();
    (Bench::new(device, workers), control)
}

/// A device with all features, started.
pub(super) fn bench() -> (Bench<Device>, Control) {
    let data = (0..LEN).map(|at| (at / 512) as u8).collect();
    let serial = "disk-1".parse().unwrap();
    let (mut bench, control) =
        bench_of(vec![TestDisk::new(data)], BlockOptions { serial, ..BlockOptions::default() });
    bench.start(feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES);
    (bench, control)
}

/// Where requests' parts lie: headers, statuses, data.
pub(super) const HEADERS: u64 = FREE;
pub(super) const STATUSES: u64 = FREE + 0x1000;
pub(super) const DATA: u64 = FREE + 0x1_0000;

pub(super) const IN: u32 = 0;
pub(super) const OUT: u32 = 1;
pub(super) const FLUSH: u32 = 4;
pub(super) const GET_ID: u32 = 8;
pub(super) const DISCARD: u32 = 11;
pub(super) const WRITE_ZEROES: u32 = 13;

/// Writes a header and makes a request of it, with this data.
pub(super) fn add(bench: &mut Bench<Device>, slot: u64, (kind, sector): (u32, u64), data: &[(u64, u32)]) {
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
pub(super) fn one(bench: &mut Bench<Device>, what: (u32, u64), data: &[(u64, u32)]) -> (u8, u32) {
    add(bench, 0, what, data);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    let (_, written) = bench.queue(0).used().unwrap();
    (bench.read(STATUSES, 1)[0], written)
}

pub(super) fn ranges(bench: &Bench<Device>, ranges: &[(u64, u32, u32)]) -> (u64, u32) {
    let mut bytes = vec![];
    for (sector, count, flags) in ranges {
        bytes.extend(sector.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    }
    bench.write(DATA, &bytes);
    (DATA, bytes.len() as u32)
}

pub(super) const OK: u8 = 0;
pub(super) const IOERR: u8 = 1;
pub(super) const UNSUPP: u8 = 2;
