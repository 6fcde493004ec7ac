//! A disk behind the device that a guest sees.

use strata_backends::disk::{FileDisk, Image, ImageOptions};
use strata_devices::virtio::block::{Block, BlockOptions, feature};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use crate::support::{TempFile, pattern, with_each_engine};

const DATA: u64 = FREE + 0x1_0000;
const STATUS: u64 = FREE + 0x1000;

fn bench(file: &TempFile, options: ImageOptions) -> Bench<Block<Memory, FileDisk<Memory>>> {
    let disks = Image::open(file.path(), &options).unwrap().disks(2).unwrap();
    let device = Block::new(disks, BlockOptions::default()).unwrap();
    let workers = device.workers();
    Bench::new(device, workers)
}

fn add(bench: &mut Bench<Block<Memory, FileDisk<Memory>>>, queue: usize, kind: u8, sector: u8) {
    let header = FREE + 16 * u64::from(sector);
    bench.write(header, &[kind, 0, 0, 0, 0, 0, 0, 0, sector, 0, 0, 0, 0, 0, 0, 0]);
    let status = (STATUS + u64::from(sector), 1);
    let data = (DATA + 512 * u64::from(sector), 512);
    match kind {
        0 => bench.queue(queue).add(&[(header, 16)], &[data, status]),
        1 => bench.queue(queue).add(&[(header, 16), data], &[status]),
        _ => bench.queue(queue).add(&[(header, 16)], &[status]),
    };
}

#[test]
fn a_guest_reads_writes_and_flushes() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(16 << 10));
        let mut bench = bench(&file, options);
        bench.start(feature::FLUSH | feature::MQ);
        bench.write(DATA + 512, &[0xee; 512]);
        for (queue, kind, sector) in [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 4, 3)] {
            bench.write(STATUS + u64::from(sector), &[0xff]);
            add(&mut bench, queue, kind, sector);
            bench.notify(queue as u32);
        }
        let mut left = 4;
        bench.run_until(|bench| {
            left -= (0..2).filter(|&queue| bench.queue(queue).used().is_some()).count();
            left == 0
        });
        assert_eq!(bench.read(STATUS, 4), [0; 4]);
        assert_eq!(bench.read(DATA, 512), pattern(512));
        assert_eq!(file.read()[512..1024], [0xee; 512]);
        assert_eq!(bench.read(DATA + 1024, 512), pattern(1536)[1024..]);
        bench.interrupts();
        assert_eq!(bench.run(), 0, "nothing is left that wakes anybody");
    });
}

#[test]
fn after_a_reset_nothing_touches_memory() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(16 << 10));
        let mut bench = bench(&file, options);
        for _ in 0..50 {
            bench.start(feature::MQ);
            for sector in 0..5 {
                add(&mut bench, 0, 0, sector);
            }
            bench.notify(0);
            bench.run();
            bench.reset();
            bench.write(DATA, &[0x55; 5 * 512]);
            bench.run();
            assert_eq!(bench.read(DATA, 5 * 512), [0x55; 5 * 512]);
        }
    });
}
