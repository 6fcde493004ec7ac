//! What the tests share: files that go away, guest memory, and operations that are waited for.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strata_backends::disk::{EngineChoice, FileDisk, Image, ImageOptions};
use strata_devices::virtio::block::{Completion, Disk as _, Op};
use strata_devices::virtio::{Buffer, Segment};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

pub(crate) const MIB: usize = 1 << 20;

/// With a record of what was written.
pub(crate) type Memory = GuestMemoryMmap<AtomicBitmap>;

/// A file that goes away with it.
#[derive(Debug)]
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(content: &[u8]) -> Self {
        Self::in_directory(&std::env::temp_dir(), content)
    }

    pub(crate) fn in_directory(directory: &Path, content: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("strata-disk-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn read(&self) -> Vec<u8> {
        std::fs::read(&self.0).unwrap()
    }

    pub(crate) fn set_len(&self, len: u64) {
        File::options().write(true).open(&self.0).unwrap().set_len(len).unwrap();
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Memory in two pieces, 1 MiB each, without a gap.
pub(crate) fn memory() -> Arc<Memory> {
    let ranges = [(GuestAddress(0), MIB), (GuestAddress(MIB as u64), MIB)];
    Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
}

/// A disk with guest memory.
pub(crate) struct Rig {
    pub(crate) disk: FileDisk<Arc<Memory>>,
    pub(crate) memory: Arc<Memory>,
    epoll: Epoll,
}

impl Rig {
    pub(crate) fn new(file: &TempFile, options: ImageOptions) -> Self {
        Self::from_image(&Image::open(file.path(), &options).unwrap())
    }

    pub(crate) fn from_image(image: &Image) -> Self {
        let disk = image.disks(1).unwrap().remove(0);
        let epoll = Epoll::new().unwrap();
        let edge = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, 0);
        epoll.ctl(ControlOperation::Add, disk.source().unwrap(), edge).unwrap();
        Self { disk, memory: memory(), epoll }
    }

    /// Waits for so many operations, as a worker does: it sleeps only when there is nothing.
    pub(crate) fn wait(&mut self, count: usize) -> Vec<Completion> {
        let mut all = vec![];
        loop {
            self.disk.commit();
            while let Some(completion) = self.disk.completed() {
                all.push(completion);
            }
            if all.len() >= count {
                return all;
            }
            if !self.disk.commit() {
                let woken = self.epoll.wait(20_000, &mut [EpollEvent::default()]);
                assert!(!matches!(woken, Ok(0)), "nobody is woken for a completion");
            }
        }
    }

    /// Does one operation.
    pub(crate) fn run(&mut self, op: Op<'_>) -> io::Result<()> {
        self.disk.submit(7, op, &self.memory);
        let done = self.wait(1);
        assert_eq!((done.len(), done[0].tag), (1, 7));
        done.into_iter().next().unwrap().result
    }

    pub(crate) fn read(&mut self, offset: u64, into: &[(u64, u32)]) -> io::Result<()> {
        let segments = segments(into);
        self.run(Op::Read { offset, into: Buffer::new(&segments) })
    }

    pub(crate) fn write(&mut self, offset: u64, from: &[(u64, u32)]) -> io::Result<()> {
        let segments = segments(from);
        self.run(Op::Write { offset, from: Buffer::new(&segments), durable: false })
    }

    pub(crate) fn guest(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    pub(crate) fn set_guest(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }
}

pub(crate) fn segments(parts: &[(u64, u32)]) -> Vec<Segment> {
    parts.iter().map(|&(addr, len)| Segment { addr: GuestAddress(addr), len }).collect()
}

/// Does a test with each engine that the host has.
pub(crate) fn with_each_engine(test: impl Fn(ImageOptions)) {
    for engine in [EngineChoice::IoUring, EngineChoice::Threads] {
        let file = TempFile::new(&[0; 512]);
        let options = ImageOptions { engine, ..ImageOptions::default() };
        let probe = Image::open(file.path(), &options).unwrap().disks::<Arc<Memory>>(1);
        match probe {
            Ok(_) => test(options),
            Err(why) => println!("not run: disks by {engine:?}: {why}"),
        }
    }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 512 * 7 + at) as u8).collect()
}
