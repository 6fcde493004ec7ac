//! What the tests of all loaders need: memory that shows what was written, a look through page tables, ELF
//! files.

use proptest::prelude::*;
use strata_cpu::{AccessKind, Cr0, X86State, walk};
use strata_memory::{Entry, Kind, MemoryMap};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

use crate::{Cmdline, Image, KernelOptions, Loaded, What};

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
    if !state.cr0.contains(Cr0::PG) {
        return Some(virt);
    }
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

/// The same for the 80386, an ELF32 file.
pub(crate) fn elf32(entry: u32, segments: &[Segment]) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 3, 0, 1, 0, 0, 0]); // e_type, e_machine, e_version
    for word in [entry, 52, 0, 0] {
        file.extend(word.to_le_bytes()); // e_entry, e_phoff, e_shoff, e_flags
    }
    let count = u16::try_from(segments.len()).unwrap();
    for half in [52, 32, count, 40, 0, 0] {
        file.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    }
    let mut offset = 52 + 32 * segments.len() as u64;
    for Segment { kind, virt, phys, bytes, memory_size } in segments {
        file.extend(kind.to_le_bytes());
        for word in [offset, *virt, *phys, bytes.len() as u64, *memory_size, 7, 4] {
            file.extend(u32::try_from(word).unwrap().to_le_bytes()); // p_flags is the last but one
        }
        offset += bytes.len() as u64;
    }
    file.extend(segments.iter().flat_map(|segment| &segment.bytes));
    file
}

/// A `PT_NOTE` segment with one note.
pub(crate) fn note(owner: &str, kind: u32, desc: &[u8]) -> Segment {
    let mut bytes = Vec::new();
    let owner = [owner.as_bytes(), b"\0"].concat();
    for word in [owner.len(), desc.len(), kind as usize] {
        bytes.extend(u32::try_from(word).unwrap().to_le_bytes());
    }
    for part in [&owner, desc] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Segment { kind: 4, ..Segment::at(0, &bytes) }
}

/// 256 KiB at 0 and 192 KiB at 1 MiB: RAM that small kernels can be loaded into.
pub(crate) const KERNEL_RAM: &[(u64, usize)] = &[(0, 0x4_0000), (0x10_0000, 0x3_0000)];

/// The memory map that says so.
pub(crate) fn kernel_map() -> MemoryMap {
    let mut map = MemoryMap::new();
    for (start, len) in KERNEL_RAM {
        map.insert(Entry { start: *start, len: *len as u64, kind: Kind::Usable }).unwrap();
    }
    map
}

/// With that map, a command line and this initrd.
pub(crate) fn kernel_options(initrd: Option<&dyn Image>) -> KernelOptions<'_> {
    let cmdline = Cmdline::new("console=ttyS0").unwrap();
    KernelOptions { cmdline, initrd, memory_map: kernel_map(), rsdp: Some(0xe_0000), ram_is_zero: false }
}

/// A little-endian word of four bytes at `at`.
pub(crate) fn word(memory: &Memory, at: u64) -> u32 {
    memory.read_obj(GuestAddress(at)).unwrap()
}

/// The same of eight bytes.
pub(crate) fn long(memory: &Memory, at: u64) -> u64 {
    memory.read_obj(GuestAddress(at)).unwrap()
}

/// Whatever a loader makes of an image: nothing is written that is not listed, nothing at all on errors, and
/// what is listed lies in RAM, disjoint; the entry is a byte of the image.
pub(crate) fn check_loaded<E: std::fmt::Debug>(
    load: impl FnOnce(&Memory) -> Result<crate::Entry, E>,
) -> Result<(), TestCaseError> {
    let memory = ram(KERNEL_RAM);
    let Ok(crate::Entry { state, mut loaded }) = load(&memory) else {
        prop_assert_eq!(written_outside(&memory, &[]), None);
        return Ok(());
    };
    prop_assert_eq!(written_outside(&memory, &loaded), None);
    let first = fetched_from(&memory, &state, state.regs.rip);
    let holds = |it: &&Loaded| first.is_some_and(|first| it.start <= first && first - it.start < it.len);
    let what = loaded.iter().find(holds).map(|it| it.what);
    let entered = matches!(what, Some(What::Segment(_) | What::Image | What::Kernel));
    prop_assert!(entered, "entered at {:x?}, in {:?}", first, what);
    loaded.sort_by_key(|it| it.start);
    for pair in loaded.windows(2) {
        prop_assert!(pair[0].start + pair[0].len <= pair[1].start, "{} on {}", pair[0], pair[1]);
    }
    Ok(())
}

/// A good file with some bytes changed, most of them near its start, and maybe its end cut off.
pub(crate) fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let at = prop_oneof![3 => 0..0x2a0_usize, 1 => any::<usize>()];
    let value = prop_oneof![any::<u8>(), Just(0), Just(0xff)];
    let changes = prop::collection::vec((at, value), 0..6);
    (changes, prop::option::weighted(0.2, any::<prop::sample::Index>())).prop_map(move |(changes, cut)| {
        let mut image = good.clone();
        for (at, value) in changes {
            let at = at % image.len();
            image[at] = value;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        image
    })
}

/// A bzImage: two sectors of setup, then `code`, padded to whole paragraphs; its fields as a good one has
/// them, for 1 MiB. Offsets are those of Documentation/arch/x86/boot.rst.
pub(crate) fn bzimage(code: &[u8], payload: (u32, u32)) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let paragraphs = u32::try_from(code.len().div_ceil(16)).unwrap();
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]); // setup_sects
    put(0x1f4, &paragraphs.to_le_bytes()); // syssize
    put(0x1fe, b"\x55\xaa\xeb\x6aHdrS\x0f\x02"); // boot_flag, jump, header, version
    put(0x211, &[1]); // loadflags: LOADED_HIGH
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes()); // initrd_addr_max
    put(0x236, &[1, 0]); // xloadflags: XLF_KERNEL_64
    put(0x238, &2047_u32.to_le_bytes()); // cmdline_size
    put(0x248, &payload.0.to_le_bytes());
    put(0x24c, &payload.1.to_le_bytes());
    put(0x258, &0x10_0000_u64.to_le_bytes()); // pref_address
    put(0x260, &0x1_0000_u32.to_le_bytes()); // init_size
    file.extend(code);
    file.resize(0x400 + paragraphs as usize * 16, 0);
    file
}

/// A multiboot header with a right checksum.
pub(crate) fn multiboot_header(flags: u32, addresses: Option<[u32; 5]>) -> Vec<u8> {
    let magic = 0x1bad_b002_u32;
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let words = [magic, flags, checksum].into_iter().chain(addresses.into_iter().flatten());
    words.flat_map(u32::to_le_bytes).collect()
}
