//! ELF64 executables for x86-64 (System V gABI chapters 4 and 5, and its x86-64 supplement).
//!
//! What is loaded is what the program headers say: each `PT_LOAD` segment at its *physical* address
//! (`p_paddr`), with zeros from `p_filesz` to `p_memsz`. The guest is entered in long mode at `e_entry`, with
//! a GDT and a stack, as a [flat](crate::flat) image is. The page tables map
//!
//! * the first 4 GiB to themselves, by pages of 2 MiB, and
//! * each segment whose `p_vaddr` differs from its `p_paddr`, or which lies above 4 GiB, from the one to the
//!   other, by pages of 4 KiB. Where such a segment's virtual addresses lie in the first 4 GiB, the 2 MiB
//!   pages they touch are left out of the identity map.
//!
//! All of it can be written and executed: these tables are to start with, and the kernel makes its own. So
//! `e_entry` may be a virtual address of a segment (as in kernels linked high) or a physical one (as Linux'
//! vmlinux has).
//!
//! Position-independent files (`ET_DYN`) are refused: nothing here relocates.

pub(crate) mod header;
mod map;

use std::io;

use strata_memory::layout::BOOT_PML4;
use thiserror::Error;
use vm_memory::GuestMemory;

use crate::enter::{self, EnterError, Paging};
use crate::entry::{Entry, Loaded, What};
use crate::image::Image;
use crate::plan::{PlaceError, Plan, Source};
use header::{Accept, File, Segment};

/// Where to put what an ELF image needs besides itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfOptions {
    /// The guest-physical address of the page tables, a multiple of 4 KiB; [`layout::BOOT_PML4`] by default.
    ///
    /// They take six pages, and up to three more for each 2 MiB of virtual addresses that are not physical
    /// ones.
    ///
    /// [`layout::BOOT_PML4`]: strata_memory::layout::BOOT_PML4
    pub tables_at: u64,
    /// The guest-physical address of the GDT, as in
    /// [`FlatOptions::gdt_at`](crate::flat::FlatOptions::gdt_at).
    pub gdt_at: Option<u64>,
}

impl Default for ElfOptions {
    fn default() -> Self {
        Self { tables_at: BOOT_PML4, gdt_at: None }
    }
}

/// The most `PT_LOAD` segments an image may have. Kernels have fewer than 20; the bound is there because each
/// may cost three pages of page tables.
pub const MAX_SEGMENTS: usize = 512;

/// Why an ELF image was not loaded. But for [`PlaceError::Write`] and [`PlaceError::Read`], memory is as it
/// was.
///
/// Segments are named by their place among all program headers, counted from 0, as `readelf -l` lists them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file cannot be read.
    #[error("the image cannot be read")]
    Read(#[from] io::Error),
    /// The first four bytes are not ELF's.
    #[error("the image is no ELF file: load it as a flat image")]
    NotElf,
    /// The file ends inside the ELF header.
    #[error("the ELF file ends inside its header, after {len} of {size} bytes: was it copied completely?")]
    TruncatedHeader {
        /// The file's size in bytes.
        len: u64,
        /// The header's: 64, in a 32-bit file 52.
        size: usize,
    },
    /// It is not a 64-bit file.
    #[error("the ELF file is not 64-bit (class {class}): build it for x86-64")]
    WrongClass {
        /// `EI_CLASS`; 1 is 32-bit.
        class: u8,
    },
    /// It is not a little-endian file.
    #[error("the ELF file is not little-endian (data encoding {encoding}): build it for x86-64")]
    WrongEndian {
        /// `EI_DATA`; 2 is big-endian.
        encoding: u8,
    },
    /// Its version is not the only one there is.
    #[error("the ELF file has version {version}, but only 1 exists: is it damaged?")]
    WrongVersion {
        /// `EI_VERSION`.
        version: u8,
    },
    /// It is for another processor.
    #[error(
        "the ELF file is for machine {machine}, not for x86-64 (62; 3 in a 32-bit file): build it for x86-64"
    )]
    WrongMachine {
        /// `e_machine`.
        machine: u16,
    },
    /// It is no executable with fixed addresses.
    #[error(
        "the ELF file has type {file_type}, not ET_EXEC (2): link it at a fixed address (-static -no-pie)"
    )]
    WrongType {
        /// `e_type`; 1 is an object file, 3 a shared object or position-independent executable.
        file_type: u16,
    },
    /// Its program headers are not of the size the format says.
    #[error("the ELF file has program headers of {size} bytes instead of {expected}: is it damaged?")]
    ProgramHeaderSize {
        /// `e_phentsize`.
        size: u16,
        /// The class': 56, in a 32-bit file 32.
        expected: usize,
    },
    /// The file ends inside its program headers.
    #[error("the ELF file ends inside its program headers: was it copied completely?")]
    TruncatedProgramHeaders,
    /// The file ends inside a segment.
    #[error("the ELF file ends inside segment {index}: was it copied completely?")]
    TruncatedSegment {
        /// Which.
        index: usize,
    },
    /// There is nothing to load.
    #[error("the ELF file has no segment to load: link it as an executable")]
    NoSegments,
    /// There are more than [`MAX_SEGMENTS`] segments to load.
    #[error("the ELF file has more than {MAX_SEGMENTS} segments to load: link it with fewer")]
    TooManySegments,
    /// A segment has more bytes in the file than in memory.
    #[error(
        "segment {index} has {file_size:#x} bytes in the file but only {memory_size:#x} in memory: \
         is it damaged?"
    )]
    FileLargerThanMemory {
        /// Which.
        index: usize,
        /// `p_filesz`.
        file_size: u64,
        /// `p_memsz`.
        memory_size: u64,
    },
    /// A segment's virtual addresses end beyond 2^64.
    #[error(
        "segment {index} has {memory_size:#x} bytes at the virtual address {virt:#x}, beyond the last one"
    )]
    AddressOverflow {
        /// Which.
        index: usize,
        /// `p_vaddr`.
        virt: u64,
        /// `p_memsz`.
        memory_size: u64,
    },
    /// A segment's virtual and physical address differ by half a page, which no page table can express.
    #[error(
        "segment {index} is to appear at {virt:#x} and lie at {phys:#x}: \
             the two have to be equal in their last 12 bits"
    )]
    Misaligned {
        /// Which.
        index: usize,
        /// `p_vaddr`.
        virt: u64,
        /// `p_paddr`.
        phys: u64,
    },
    /// A segment does not fit where it is to lie.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The page tables or the GDT cannot be had.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The first instruction lies in no segment.
    #[error("the entry {entry:#x} lies in no segment: name an entry symbol when linking (ENTRY, -e)")]
    EntryOutsideSegments {
        /// `e_entry`.
        entry: u64,
    },
}

/// Loads `image` into `memory` and returns how to enter it.
///
/// # Errors
/// Each case of [`ElfError`].
pub fn load<M: GuestMemory + ?Sized, I: Image + ?Sized>(
    memory: &M,
    image: &I,
    options: &ElfOptions,
) -> Result<Entry, ElfError> {
    let image: &dyn Image = &image;
    let file = File::read(image, Accept::Only64)?;
    let segments = file.segments(image)?;

    let mut plan = Plan::new(memory);
    place(&mut plan, &segments)?;
    let paging = Paging { tables_at: options.tables_at, map: map::of(&segments)? };
    let rip = file.entry;
    if !is_entry(rip, &segments, &paging) {
        return Err(ElfError::EntryOutsideSegments { entry: rip });
    }
    let state = enter::long(&mut plan, rip, &paging, options.gdt_at)?;
    Ok(Entry { state, loaded: plan.commit()? })
}

/// Plans every segment at its physical address.
pub(crate) fn place<'a, M: GuestMemory + ?Sized>(
    plan: &mut Plan<'a, M>,
    segments: &[Segment<'a>],
) -> Result<(), PlaceError> {
    for Segment { index, phys, part, memory_size, .. } in segments {
        let range = Loaded { start: *phys, len: *memory_size, what: What::Segment(*index) };
        let source = part.map_or(Source::Bytes([].as_slice().into()), Source::Part);
        plan.add_zero_padded(range, source)?;
    }
    Ok(())
}

/// Whether `rip` leads, through the page tables, to a byte of a segment.
fn is_entry(rip: u64, segments: &[Segment<'_>], paging: &Paging) -> bool {
    enter::physical(&paging.map, rip, 1).is_some_and(|at| hold(segments, at))
}

/// Whether the physical address `at` is one of the segments'.
pub(crate) fn hold(segments: &[Segment<'_>], at: u64) -> bool {
    let holds = |segment: &Segment<'_>| {
        at.checked_sub(segment.phys).is_some_and(|offset| offset < segment.memory_size)
    };
    segments.iter().any(holds)
}

#[cfg(test)]
#[path = "elf_test.rs"]
mod tests;
