use std::sync::LazyLock;

use strata_devices::virtio::block::testing::{Control, TestDisk};
use strata_devices::virtio::block::{Block, BlockOptions, Properties};
use strata_devices::virtio::rate::{Limit, RateLimits};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use super::{Input, bench, drive, start};

const SECTORS: u64 = 64;
const HEADER: u64 = FREE + 0x2_0000;
const STATUS: u64 = FREE + 0x2_1000;
const DATA: u64 = FREE + 0x2_2000;

/// The number of the sector, everywhere.
static DATA_AT_FIRST: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..SECTORS * 512 + 7).map(|at| (at / 512) as u8).collect());

type Device = Block<Memory, TestDisk>;

/// The first byte says which of some devices it is.
pub fn block(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(how) = input.byte() else { return };
    let properties = Properties {
        read_only: how & 1 != 0,
        has_cache: how & 2 != 0,
        discard_granularity: Some(4096),
        writes_zeros: true,
        ..Properties::plain(SECTORS * 512 + 7)
    };
    let operations = (how & 4 != 0).then_some(Limit { per_second: 0, burst: 5 });
    let limits = RateLimits { operations, ..RateLimits::default() };
    let disk = TestDisk::with(DATA_AT_FIRST.clone(), properties);
    let control = disk.control();
    let disks = if how & 8 != 0 { vec![disk.clone(), disk] } else { vec![disk] };
    let device = Block::new(disks, BlockOptions { limits, ..BlockOptions::default() }).expect("a device");
    let workers = device.workers();
    let mut bench = bench(device, workers);
    drive(&mut bench, &mut input, |bench, input| own(bench, &control, input));

    // Whatever has happened, it works after a reset.
    control.hold(false);
    start(&mut bench, 0, 16);
    control.forgive();
    let sector = control.data()[512];
    bench.write(HEADER, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    bench.queue(0).add(&[(HEADER, 16)], &[(DATA, 512), (STATUS, 1)]);
    bench.notify(0);
    bench.run();
    if operations.is_none() {
        assert_eq!(bench.queue(0).used(), Some((0, 513)));
        assert_eq!((bench.read(DATA, 1), bench.read(STATUS, 1)), (vec![sector], vec![0]));
    }
}

/// A request of the right form, or something that the disk does.
fn own(bench: &mut Bench<Device>, control: &Control, input: &mut Input<'_>) -> Option<()> {
    match input.byte()? {
        0 => control.hold(true),
        1 => control.hold(false),
        2 => control.release(input.byte()?.into()),
        3 => control.fail(&[Some(i32::from(input.byte()?) % 128)]),
        kind => {
            let (queue, sector) = (usize::from(input.byte()?), input.byte()?);
            let slot = u64::from(sector % 16);
            // Numbers from 0 on, with some that do not exist, and sectors with some behind the end.
            let mut header = [0; 16];
            header[0] = kind % 16;
            header[8] = sector % 70;
            bench.write(HEADER + slot * 16, &header);
            let data = (DATA + slot * 2048, u32::from(kind >> 4) * 512 % 4096);
            let range = [&[sector % 70, 0, 0, 0, 0, 0, 0, 0, kind >> 5, 0, 0, 0], &[kind >> 7, 0, 0, 0][..]];
            let (mut readable, mut writable) = (vec![(HEADER + slot * 16, 16)], vec![]);
            match kind % 16 {
                1 => readable.push(data),
                11 | 13 => {
                    bench.write(data.0, &range.concat());
                    readable.push((data.0, 16));
                }
                _ => writable.push(data),
            }
            writable.push((STATUS + slot, 1));
            let queues = usize::from(u16::from_le_bytes(bench.config(34)));
            bench.queue(queue % queues).add(&readable, &writable);
        }
    }
    Some(())
}
