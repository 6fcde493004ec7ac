//! What the tests of all loaders need: memory that shows what was written, a look through page tables, ELF
//! files.

use strata_cpu::{AccessKind, X86State, walk};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

use crate::Loaded;

pub(crate) type Memory = GuestMemoryMmap<()>;

/// What all RAM is filled with, so that a byte written shows, also if it is a zero.
pub(crate) const FILL: u8 = 0xa5;

/// RAM of these starts and lengths, filled with [`FILL`].
pub(crate) fn ram(pieces: &[(u64, usize)]) -> Memory {
    let ranges: Vec<_> = pieces.iter().map(|(start, len)| (GuestAddress(*start), *len)).collect();
    let memory = Memory::from_ranges(&ranges).unwrap();
    for (start, len) in pieces {
        memory.write_slice(&vec![FILL; *len], GuestAddress(*start)).unwrap();
    }
    memory
}

/// 128 KiB at 0 and 64 KiB at 1 MiB, a hole between them.
pub(crate) fn small_ram() -> Memory {
    ram(&[(0, 0x2_0000), (0x10_0000, 0x1_0000)])
}

pub(crate) fn bytes(memory: &Memory, start: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read_slice(&mut bytes, GuestAddress(start)).unwrap();
    bytes
}

/// The first address outside `loaded` that no longer holds [`FILL`].
pub(crate) fn written_outside(memory: &Memory, loaded: &[Loaded]) -> Option<u64> {
    memory.iter().find_map(|region| {
        let start = region.start_addr().0;
        let mut bytes = vec![0; usize::try_from(region.len()).unwrap()];
        region.read_slice(&mut bytes, MemoryRegionAddress(0)).unwrap();
        for it in loaded.iter().filter(|it| it.start >= start && it.start - start < region.len()) {
            let from = usize::try_from(it.start - start).unwrap();
            bytes[from..from + usize::try_from(it.len).unwrap()].fill(FILL);
        }
        // Comparing slices is fast also where the tests are not optimised.
        let untouched = bytes == vec![FILL; bytes.len()];
        let first = || (start..).zip(&bytes).find(|(_, byte)| **byte != FILL).map(|(at, _)| at);
        if untouched { None } else { first() }
    })
}

/// Where an instruction fetched from `virt` comes from, by the tables in memory.
pub(crate) fn fetched_from(memory: &Memory, state: &X86State, virt: u64) -> Option<u64> {
    let read = |at| memory.read_obj(GuestAddress(at)).ok();
    walk(read, &state.walk_context(), virt, AccessKind::Fetch).ok().map(|translation| translation.phys)
}

/// One program header, and the bytes it is about.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) virt: u64,
    pub(crate) phys: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) memory_size: u64,
}

impl Segment {
    /// A `PT_LOAD` segment at equal addresses, without zeros behind it.
    pub(crate) fn at(start: u64, bytes: &[u8]) -> Self {
        Self { kind: 1, virt: start, phys: start, bytes: bytes.into(), memory_size: bytes.len() as u64 }
    }

    pub(crate) fn virt(self, virt: u64) -> Self {
        Self { virt, ..self }
    }

    pub(crate) fn memory_size(self, memory_size: u64) -> Self {
        Self { memory_size, ..self }
    }
}

/// Offsets of header fields, for tests that spoil one (gABI, "ELF Header").
pub(crate) const EI_CLASS: usize = 4;
pub(crate) const EI_DATA: usize = 5;
pub(crate) const EI_VERSION: usize = 6;
pub(crate) const E_TYPE: usize = 16;
pub(crate) const E_MACHINE: usize = 18;
pub(crate) const E_PHOFF: usize = 32;
pub(crate) const E_PHENTSIZE: usize = 54;
pub(crate) const E_PHNUM: usize = 56;

/// An ELF64 x86-64 executable: header, program headers, then the segments' bytes in order. Written by hand
/// from the gABI, independent of the library that reads it.
pub(crate) fn elf(entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // e_type, e_machine, e_version
    file.extend(entry.to_le_bytes());
    file.extend(64_u64.to_le_bytes()); // e_phoff
    file.extend([0; 12]); // e_shoff, e_flags
    let count = u16::try_from(segments.len()).unwrap();
    for half in [64, 56, count, 64, 0, 0] {
        file.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    }
    let mut offset = 64 + 56 * segments.len() as u64;
    for Segment { kind, virt, phys, bytes, memory_size } in segments {
        file.extend(kind.to_le_bytes());
        file.extend(7_u32.to_le_bytes()); // p_flags
        for word in [offset, *virt, *phys, bytes.len() as u64, *memory_size, 0x1000] {
            file.extend(word.to_le_bytes());
        }
        offset += bytes.len() as u64;
    }
    file.extend(segments.iter().flat_map(|segment| &segment.bytes));
    file
}
