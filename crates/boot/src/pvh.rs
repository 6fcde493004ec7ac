//! PVH: the direct boot of Xen, which other monitors and kernels speak too (Xen, docs/misc/pvh.pandoc and
//! xen/include/public/arch-x86/hvm/start_info.h).
//!
//! An ELF executable, 32-bit or 64-bit, names its 32-bit entry point in a note, `XEN_ELFNOTE_PHYS32_ENTRY`.
//! Its segments are loaded at their physical addresses; it is entered in protected mode, paging off, flat
//! segments, interrupts off, and EBX with the address of `struct hvm_start_info` (version 1): the command
//! line, one module (the initrd), the RSDP and the memory map. Places are in [`strata_memory::layout`].

use std::io;

use strata_cpu::{Cr0, Segment};
use strata_memory::layout::{BOOT_INFO, PAGE_SIZE};
use thiserror::Error;
use vm_memory::GuestMemory;

use crate::elf::header::{Accept, File, Note};
use crate::elf::{self, ElfError};
use crate::enter::{self, EnterError, FIRST_4G};
use crate::entry::{Entry, What};
use crate::image::Image;
use crate::kernel::{KernelError, KernelOptions, MAX_CMDLINE, place_initrd};
use crate::plan::{PlaceError, Plan};

/// Why a PVH kernel was not loaded. But for [`PlaceError::Write`] and [`PlaceError::Read`], memory is as it
/// was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PvhError {
    /// The file cannot be read.
    #[error("the image cannot be read")]
    Read(#[from] io::Error),
    /// The ELF file is wrong.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It has no PVH entry point.
    #[error("the kernel has no PVH entry (note 18 of Xen): build it with CONFIG_PVH, or load it otherwise")]
    NoEntry,
    /// The note is neither 4 nor 8 bytes long, or above what 32-bit code can reach.
    #[error("the kernel's PVH entry is no 32-bit address, but {bytes:02x?}: is it damaged?")]
    WrongEntry {
        /// The note's first bytes, at most eight.
        bytes: Vec<u8>,
    },
    /// It cannot be handed what it was to be.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A part of it does not fit where it has to lie.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The GDT cannot be had.
    #[error(transparent)]
    Enter(#[from] EnterError),
}

/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PHYS32_ENTRY: u32 = 18;
/// `XEN_HVM_START_MAGIC_VALUE`: "xEn3" with the last letter's high bit set.
const MAGIC: u32 = 0x336e_c578;
/// The version with the memory map.
const VERSION: u32 = 1;

/// Where the lists lie in the page of the start info, which takes 56 bytes; the module's entry takes 32.
const MODULE: u64 = 0x40;
const MEMORY_MAP: u64 = 0x60;
/// `struct hvm_memmap_table_entry`.
const MEMORY_MAP_ENTRY: u64 = 24;
/// How many ranges there is room for.
const MAX_RANGES: usize = ((PAGE_SIZE - MEMORY_MAP) / MEMORY_MAP_ENTRY) as usize;

/// Whether a note is a PVH entry.
pub(crate) fn is_entry(note: &Note) -> bool {
    note.owner == b"Xen" && note.kind == PHYS32_ENTRY
}

/// Loads the PVH kernel `image` into `memory` and returns how to enter it.
///
/// # Errors
/// Each case of [`PvhError`].
pub fn load<M: GuestMemory + ?Sized, I: Image + ?Sized>(
    memory: &M,
    image: &I,
    options: &KernelOptions<'_>,
) -> Result<Entry, PvhError> {
    let image: &dyn Image = &image;
    options.check_map(MAX_RANGES)?;
    let file = File::read(image, Accept::Either)?;
    let segments = options.without_headers(file.segments(image)?);
    let eip = entry(&file.notes(image)?)?;
    if !elf::hold(&segments, eip.into()) {
        return Err(ElfError::EntryOutsideSegments { entry: eip.into() }.into());
    }
    let mut plan = Plan::new(memory);
    plan.ram_is_zero(options.ram_is_zero);
    elf::place(&mut plan, &segments)?;
    options.check_usable(&plan)?;

    let mut state = enter::protected(&mut plan, eip, None)?;
    // "All the other writeable bits are cleared"; ET cannot be written.
    state.cr0 = Cr0::PE | Cr0::ET;
    state.tr = Segment::tss(0, 0, 0x67);
    state.regs.rbx = BOOT_INFO;
    let cmdline = options.place_cmdline(&mut plan, MAX_CMDLINE)?;
    let initrd = place_initrd(&mut plan, options, FIRST_4G.len)?;
    plan.add(BOOT_INFO, start_info(options, cmdline, initrd), What::BootInfo)?;
    Ok(Entry { state, loaded: plan.commit()? })
}

/// The entry point, by the first note that has one.
fn entry(notes: &[Note]) -> Result<u32, PvhError> {
    let Note { desc, .. } = notes.iter().find(|note| is_entry(note)).ok_or(PvhError::NoEntry)?;
    // 64-bit kernels write an address as they are wide.
    let address = match *desc.as_slice() {
        [a, b, c, d] | [a, b, c, d, 0, 0, 0, 0] => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    };
    address.ok_or_else(|| PvhError::WrongEntry { bytes: desc.iter().take(8).copied().collect() })
}

/// `struct hvm_start_info`, and the lists behind it.
fn start_info(options: &KernelOptions<'_>, cmdline: u64, initrd: Option<(u64, u64)>) -> Vec<u8> {
    let entries = options.memory_map.entries();
    let mut page = Vec::new();
    let mut words = |words: &[u32]| page.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let halves = |value: u64| [(value & 0xffff_ffff) as u32, (value >> 32) as u32];

    words(&[MAGIC, VERSION, 0, u32::from(initrd.is_some())]); // magic, version, flags, nr_modules
    words(&halves(if initrd.is_some() { BOOT_INFO + MODULE } else { 0 }));
    words(&halves(cmdline));
    words(&halves(options.rsdp.unwrap_or_default()));
    words(&halves(BOOT_INFO + MEMORY_MAP));
    words(&[u32::try_from(entries.len()).unwrap_or_default(), 0]); // memmap_entries, reserved
    words(&[0; 2]); // up to MODULE
    let (start, len) = initrd.unwrap_or_default();
    for value in [start, len, 0, 0] {
        words(&halves(value)); // paddr, size, cmdline_paddr, reserved
    }
    for entry in entries {
        words(&halves(entry.start));
        words(&halves(entry.len));
        words(&[entry.kind.e820(), 0]); // type, reserved
    }
    page
}

#[cfg(test)]
#[path = "pvh_test.rs"]
mod tests;
