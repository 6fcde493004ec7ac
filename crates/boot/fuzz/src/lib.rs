//! What all fuzz targets need.

use std::fmt::Debug;

use strata_boot::{Cmdline, Entry, Image, KernelOptions};
use strata_memory::{Kind, MemoryMap};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// RAM of these starts and lengths: as in the crate's own tests, for which the seeds are made.
const RAM: [(u64, usize); 2] = [(0, 0x4_0000), (0x10_0000, 0x3_0000)];
/// What it is filled with.
const FILL: u8 = 0xa5;

/// An initrd.
pub const INITRD: &[u8] = &[9; 100];

/// Loads into fresh memory, and checks what was written.
pub fn check<E: Debug>(load: impl FnOnce(&GuestMemoryMmap<()>) -> Result<Entry, E>) {
    let ranges = RAM.map(|(start, len)| (GuestAddress(start), len));
    let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).expect("memory");
    for (start, len) in RAM {
        memory.write_slice(&vec![FILL; len], GuestAddress(start)).expect("RAM");
    }
    let loaded = load(&memory).map(|entry| entry.loaded).unwrap_or_default();
    for range in &loaded {
        let len = usize::try_from(range.len).expect("a length");
        memory.write_slice(&vec![FILL; len], GuestAddress(range.start)).expect("what is listed lies in RAM");
    }
    for (start, len) in RAM {
        let mut bytes = vec![0; len];
        memory.read_slice(&mut bytes, GuestAddress(start)).expect("RAM");
        assert!(bytes == vec![FILL; len], "written outside {loaded:x?}");
    }
}

/// What a kernel is handed.
pub fn options(initrd: Option<&dyn Image>) -> KernelOptions<'_> {
    let mut memory_map = MemoryMap::new();
    for (start, len) in RAM {
        let entry = strata_memory::Entry { start, len: len as u64, kind: Kind::Usable };
        memory_map.insert(entry).expect("a range");
    }
    let cmdline = Cmdline::new("console=ttyS0").expect("no NUL");
    KernelOptions { cmdline, initrd, memory_map, rsdp: Some(0xe_0000), ram_is_zero: false }
}
