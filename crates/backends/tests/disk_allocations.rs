//! Once it has run for a while, a disk's worker allocates nothing for a request, by either engine.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

mod counting;

use std::sync::Arc;

use strata_backends::disk::{EngineChoice, FileDisk, Image, ImageOptions};
use strata_devices::virtio::block::{Block, BlockOptions, feature};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use counting::allocations_of;

type Device = Block<Memory, FileDisk<Memory>>;

/// Requests in a ring of 64 whose buffers stay as they are: header, data in 8 pieces, status.
const REQUESTS: u16 = 6;

/// Makes all requests available, and lets the worker work until they are used. Allocates nothing itself.
fn round(bench: &mut Bench<Device>) {
    for request in 0..REQUESTS {
        bench.queue(0).make_available(request * 10);
    }
    bench.notify(0);
    let mut left = REQUESTS;
    bench.run_until(|bench| {
        while bench.queue(0).used().is_some() {
            left -= 1;
        }
        left == 0
    });
}

/// The bench looks at the rings by itself, without an allocation; and the device's part is what is left.
fn allocations(bench: &mut Bench<Device>) -> usize {
    for _ in 0..100 {
        round(bench);
    }
    allocations_of(|| {
        for _ in 0..100 {
            round(bench);
        }
    })
}

/// Both engines, one after the other: the count is the process's.
#[test]
fn requests_allocate_nothing() {
    let path = std::env::temp_dir().join(format!("strata-allocations-{}", std::process::id()));
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    for engine in [EngineChoice::IoUring, EngineChoice::Threads] {
        let image = Image::open(&path, &ImageOptions { engine, ..ImageOptions::default() }).unwrap();
        let disks = match image.disks::<Arc<_>>(1) {
            Ok(disks) => disks,
            Err(why) => {
                println!("not run: allocations of {engine:?}: {why}");
                continue;
            }
        };
        let device = Block::new(disks, BlockOptions::default()).unwrap();
        let workers = device.workers();
        let mut bench = Bench::new(device, workers);
        bench.queue(0).size = 64;
        bench.start(feature::FLUSH);
        // Reads, writes, and a flush as the last.
        for request in 0..REQUESTS {
            let kind = if request == REQUESTS - 1 { 4 } else { request % 2 };
            let header = FREE + u64::from(request) * 16;
            bench.write(header, &[kind as u8, 0, 0, 0, 0, 0, 0, 0, request as u8 * 8, 0, 0, 0, 0, 0, 0, 0]);
            let first = request * 10;
            bench.queue(0).descriptor(first, (header, 16), 1, if kind == 4 { first + 9 } else { first + 1 });
            for piece in 1..9 {
                let at = FREE + 0x1_0000 + u64::from(request) * 0x2000 + u64::from(piece) * 600;
                let flags = if kind == 0 { 3 } else { 1 };
                bench.queue(0).descriptor(first + piece, (at, 512), flags, first + piece + 1);
            }
            bench.queue(0).descriptor(first + 9, (FREE + 0x1000 + u64::from(request), 1), 2, 0);
        }
        assert_eq!(allocations(&mut bench), 0, "by {engine:?}");
        assert_eq!(bench.read(FREE + 0x1000, usize::from(REQUESTS)), vec![0; usize::from(REQUESTS)]);
    }
    std::fs::remove_file(&path).unwrap();
}
