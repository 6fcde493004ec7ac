//! What is written is read, whatever the shape.

use strata_backends::disk::{Cache, ImageOptions};
use strata_devices::virtio::Buffer;
use strata_devices::virtio::block::{Disk as _, Op};
use vm_memory::bitmap::Bitmap as _;
use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion as _};

use crate::support::{MIB, Rig, TempFile, pattern, segments, with_each_engine};

#[test]
fn what_is_written_is_read() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(64 << 10));
        let mut rig = Rig::new(&file, options);
        rig.read(512, &[(0x1000, 512), (0x3001, 1024)]).unwrap();
        let expected = pattern(64 << 10);
        assert_eq!(rig.guest(0x1000, 512), expected[512..1024]);
        assert_eq!(rig.guest(0x3001, 1024), expected[1024..2048]);
        rig.set_guest(0x8000, &[0xab; 800]);
        rig.write(4096, &[(0x8000, 12), (0x8100, 500)]).unwrap();
        assert_eq!(file.read()[4096..4608], [0xab; 512]);
        assert!(file.read()[4608..] == expected[4608..]);
    });
}

#[test]
fn reads_are_marked_as_written_to_memory_and_nothing_else_is() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(64 << 10));
        let mut rig = Rig::new(&file, options);
        rig.write(0, &[(0x4_0000, 4096)]).unwrap();
        // Over the border of two regions too.
        rig.read(0, &[(0x5000, 4096), (MIB as u64 - 512, 1024)]).unwrap();
        let dirty = |at: usize| {
            let region = rig.memory.iter().nth(at / MIB).unwrap();
            region.bitmap().dirty_at(at % MIB)
        };
        let pages: Vec<_> = (0..2 * MIB).step_by(4096).filter(|&at| dirty(at)).collect();
        assert_eq!(pages, [0x5000, MIB - 4096, MIB]);
        assert_eq!(rig.guest(MIB as u64 - 512, 1024), pattern(8192)[4096..5120]);
    });
}

#[test]
fn many_at_once_end_each_once() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(MIB));
        let mut rig = Rig::new(&file, options);
        let depth = rig.disk.depth();
        for round in 0..3 {
            for tag in 0..depth {
                let at = u64::from(tag) * 4096;
                let segments = segments(&[(at, 4096)]);
                let memory = rig.memory.clone();
                let op = Op::Read { offset: at, into: Buffer::new(&segments) };
                rig.disk.submit(tag, op, &memory);
            }
            let mut tags: Vec<_> = rig.wait(depth.into()).iter().map(|done| done.tag).collect();
            tags.sort_unstable();
            assert_eq!(tags, (0..depth).collect::<Vec<_>>(), "round {round}");
            assert_eq!(rig.guest(0, usize::from(depth) * 4096), pattern(MIB)[..usize::from(depth) * 4096]);
        }
    });
}

#[test]
fn more_segments_than_the_kernel_takes_at_once() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(MIB));
        let mut rig = Rig::new(&file, options);
        // 2048 pieces of 256 bytes, each with a gap behind it.
        let parts: Vec<_> = (0..2048).map(|part| (part * 512, 256)).collect();
        rig.read(0, &parts).unwrap();
        let expected = pattern(MIB);
        for (place, (at, len)) in parts.iter().enumerate() {
            assert_eq!(rig.guest(*at, 256), expected[place * 256..place * 256 + *len as usize]);
        }
        rig.set_guest(0, &vec![0x11; MIB]);
        rig.write(0, &parts).unwrap();
        assert_eq!(file.read(), [vec![0x11; MIB / 2], expected[MIB / 2..].to_vec()].concat());
    });
}

#[test]
fn flushes_in_every_mode() {
    with_each_engine(|options| {
        for cache in [Cache::Writeback, Cache::Writethrough, Cache::Unsafe] {
            let file = TempFile::new(&pattern(8192));
            let mut rig = Rig::new(&file, ImageOptions { cache, ..options });
            assert_eq!(rig.disk.properties().has_cache, cache != Cache::Writethrough);
            rig.set_guest(0, &[5; 512]);
            rig.write(0, &[(0, 512)]).unwrap();
            let segments = segments(&[(0, 512)]);
            rig.run(Op::Write { offset: 512, from: Buffer::new(&segments), durable: true }).unwrap();
            rig.run(Op::Flush).unwrap();
            assert_eq!(file.read()[..1024], [5; 1024]);
        }
    });
}

#[test]
fn discarded_and_zeroed_ranges_read_as_zeros() {
    with_each_engine(|options| {
        for durable in [false, true] {
            let file = TempFile::new(&pattern(64 << 10));
            let mut rig = Rig::new(&file, options);
            rig.run(Op::Discard { offset: 4096, len: 8192 }).unwrap();
            rig.run(Op::WriteZeroes { offset: 16384, len: 4096, unmap: true, durable }).unwrap();
            rig.run(Op::WriteZeroes { offset: 32768, len: 512, unmap: false, durable }).unwrap();
            let mut expected = pattern(64 << 10);
            for zeros in [4096..12288, 16384..20480, 32768..33280] {
                expected[zeros].fill(0);
            }
            assert!(file.read() == expected);
        }
    });
}

#[test]
fn without_the_page_cache_and_with_memory_that_is_not_aligned() {
    with_each_engine(|options| {
        let options = ImageOptions { direct: true, ..options };
        let file = TempFile::new(&pattern(MIB));
        if let Err(why) = strata_backends::disk::Image::open(file.path(), &options) {
            println!("not run: O_DIRECT: {why}");
            return;
        }
        let mut rig = Rig::new(&file, options);
        let expected = pattern(MIB);
        rig.read(4096, &[(0x1000, 4096)]).unwrap();
        assert_eq!(rig.guest(0x1000, 4096), expected[4096..8192]);
        // More than one buffer's worth, in pieces that no disk would take.
        rig.read(0, &[(1, 300_000), (400_003, 200_000), (700_000, 24_288)]).unwrap();
        assert_eq!(rig.guest(1, 300_000), expected[..300_000]);
        assert_eq!(rig.guest(400_003, 200_000), expected[300_000..500_000]);
        assert_eq!(rig.guest(700_000, 24_288), expected[500_000..524_288]);
        rig.set_guest(0, &vec![0x77; 400_000]);
        rig.write(8192, &[(3, 200_001), (300_000, 4799)]).unwrap();
        let mut expected = expected;
        expected[8192..8192 + 204_800].fill(0x77);
        assert!(file.read() == expected);
        let block_size = rig.disk.properties().block_size;
        if block_size > 512 {
            assert!(rig.read(512, &[(0, 512)]).is_err());
        }
    });
}

#[test]
fn disks_of_one_image_are_one_disk() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(8192));
        let image = strata_backends::disk::Image::open(file.path(), &options).unwrap();
        let mut rig = Rig::from_image(&image);
        let mut other = Rig::from_image(&image);
        rig.set_guest(0, &[3; 512]);
        rig.write(512, &[(0, 512)]).unwrap();
        other.read(512, &[(0x100, 512)]).unwrap();
        assert_eq!(other.guest(0x100, 512), [3; 512]);
    });
}

#[test]
fn direct_transfers_may_begin_misaligned_and_go_on_aligned() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(MIB));
        let options = ImageOptions { direct: true, ..options };
        if let Err(why) = strata_backends::disk::Image::open(file.path(), &options) {
            println!("not run: O_DIRECT: {why}");
            return;
        }
        let mut rig = Rig::new(&file, options);
        // As much as is read aside at a time, to where that is needed, and then to where it is not.
        let (first, second) = (128 << 10, 64 << 10);
        rig.read(0, &[(0x1_0100, first), (0x10_0000, second)]).unwrap();
        assert!(rig.guest(0x1_0100, first as usize) == pattern(MIB)[..first as usize]);
        assert!(rig.guest(0x10_0000, second as usize) == pattern(MIB)[first as usize..][..second as usize]);
    });
}

#[test]
fn what_is_more_than_one_call_reads_or_writes_is_whole() {
    with_each_engine(|options| {
        let file = TempFile::new(&pattern(2 * MIB));
        let mut rig = Rig::new(&file, options);
        let len = MIB + MIB / 2;
        rig.read(512, &[(0x1000, len as u32)]).unwrap();
        assert!(rig.guest(0x1000, len) == pattern(2 * MIB)[512..][..len]);
        rig.set_guest(0x1000, &vec![0x77; len]);
        rig.write(1024, &[(0x1000, len as u32)]).unwrap();
        let mut expected = pattern(2 * MIB);
        expected[1024..][..len].fill(0x77);
        assert!(file.read() == expected);
    });
}
