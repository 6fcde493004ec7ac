//! Multiboot, the first version: what many small kernels are made for (Multiboot Specification 0.6.96).
//!
//! A kernel has a header of 12 bytes or more in the first 8 KiB of its file. With flag 16 the header says
//! what of the file lies where; without, it is a 32-bit ELF executable, each segment loaded at its physical
//! address. It is entered in protected mode, paging off, flat segments, interrupts off, EAX 0x2badb002 and
//! EBX with the address of the multiboot information: memory sizes and map, command line, one module (the
//! initrd), the loader's name. Places are in [`strata_memory::layout`]; GDT and stack are there too, though
//! the specification promises neither.

pub(crate) mod header;
mod info;

use std::io;

use strata_memory::layout::BOOT_INFO;
use thiserror::Error;
use vm_memory::GuestMemory;

use crate::elf::header::{Accept, File, Segment};
use crate::elf::{self, ElfError};
use crate::enter::{self, EnterError};
use crate::entry::{Entry, Loaded, What};
use crate::image::{Image, Part};
use crate::kernel::{KernelError, KernelOptions, MAX_CMDLINE, place_initrd};
use crate::plan::{PlaceError, Plan};
use header::{Addresses, Header};

/// Why a multiboot kernel was not loaded. But for [`PlaceError::Write`] and [`PlaceError::Read`], memory is
/// as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MultibootError {
    /// The file cannot be read.
    #[error("the image cannot be read")]
    Read(#[from] io::Error),
    /// There is no header where it has to be.
    #[error("the image has no multiboot header in its first 8192 bytes: link the header to the front")]
    NoHeader,
    /// There is one, but its checksum is wrong.
    #[error("the multiboot header's checksum is wrong: magic, flags and checksum have to add up to 0")]
    Checksum,
    /// The file, or what is searched of it, ends inside the header's addresses.
    #[error("the image ends inside its multiboot header: was it copied completely?")]
    TruncatedHeader,
    /// It demands what is not there.
    #[error(
        "the multiboot header demands {flags:#x} (bit 2 is a video mode), which this machine does not have: \
         clear these flags"
    )]
    Flags {
        /// The flags that cannot be obeyed.
        flags: u32,
    },
    /// The header's addresses contradict each other.
    #[error(
        "the multiboot header's addresses contradict each other (header {header:#x}, load {load:#x} to \
         {load_end:#x}, bss to {bss_end:#x}): correct them, or clear flag 16"
    )]
    Addresses {
        /// `header_addr`.
        header: u32,
        /// `load_addr`.
        load: u32,
        /// `load_end_addr`.
        load_end: u32,
        /// `bss_end_addr`.
        bss_end: u32,
    },
    /// The file ends before what the header says is loaded.
    #[error("the kernel ends after {len:#x} of {expected:#x} bytes: was it copied completely?")]
    Truncated {
        /// The file's size.
        len: u64,
        /// What its header says.
        expected: u64,
    },
    /// It is a 64-bit ELF file without addresses in its header.
    #[error("the multiboot kernel is a 64-bit ELF file: make it a 32-bit one (objcopy -O elf32-i386)")]
    Elf64,
    /// The ELF file is wrong.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The first instruction is not one of the image's.
    #[error("the entry {entry:#x} is not in the image: set the header's entry_addr")]
    EntryOutsideImage {
        /// The address of the first instruction.
        entry: u32,
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

/// What a kernel finds in EAX.
const LOADED_MAGIC: u64 = 0x2bad_b002;
/// A module's end has to be a 32-bit number.
const MODULE_END: u64 = 0xffff_ffff;

/// Loads the multiboot kernel `image` into `memory` and returns how to enter it.
///
/// # Errors
/// Each case of [`MultibootError`].
pub fn load<M: GuestMemory + ?Sized, I: Image + ?Sized>(
    memory: &M,
    image: &I,
    options: &KernelOptions<'_>,
) -> Result<Entry, MultibootError> {
    let image: &dyn Image = &image;
    options.check_map(info::MAX_RANGES)?;
    let mut plan = Plan::new(memory);
    plan.ram_is_zero(options.ram_is_zero);
    let eip = match header::read(image)? {
        Header { addresses: Some(addresses) } => place_by_header(&mut plan, image, &addresses)?,
        Header { addresses: None } => place_elf(&mut plan, image, options)?,
    };
    options.check_usable(&plan)?;

    let mut state = enter::protected(&mut plan, eip, None)?;
    (state.regs.rax, state.regs.rbx) = (LOADED_MAGIC, BOOT_INFO);
    let cmdline = options.place_cmdline(&mut plan, MAX_CMDLINE)?;
    let module = place_initrd(&mut plan, options, MODULE_END)?;
    let address = |at: u64| u32::try_from(at).unwrap_or(u32::MAX); // all are lower
    let module = module.map(|(start, len)| (address(start), address(start + len)));
    plan.add(BOOT_INFO, info::bytes(&options.memory_map, address(cmdline), module), What::BootInfo)?;
    Ok(Entry { state, loaded: plan.commit()? })
}

fn place_by_header<'a, M: GuestMemory + ?Sized>(
    plan: &mut Plan<'a, M>,
    image: &'a dyn Image,
    addresses: &Addresses,
) -> Result<u32, MultibootError> {
    let Addresses { offset, len, load, memory_size, entry } = *addresses;
    let truncated = MultibootError::Truncated { len: image.len(), expected: offset.saturating_add(len) };
    let part = Part::new(image, offset, len).ok_or(truncated)?;
    plan.add_zero_padded(Loaded { start: load.into(), len: memory_size, what: What::Image }, part)?;
    match entry.checked_sub(load) {
        Some(offset) if u64::from(offset) < memory_size => Ok(entry),
        _ => Err(MultibootError::EntryOutsideImage { entry }),
    }
}

fn place_elf<'a, M: GuestMemory + ?Sized>(
    plan: &mut Plan<'a, M>,
    image: &'a dyn Image,
    options: &KernelOptions<'_>,
) -> Result<u32, MultibootError> {
    let file = File::read(image, Accept::Either)?;
    if file.class64 {
        return Err(MultibootError::Elf64);
    }
    let segments = options.without_headers(file.segments(image)?);
    elf::place(plan, &segments)?;
    let entry = file.entry;
    // Paging is off, so a virtual address is of no use: the place where it lies is meant.
    let physical = if elf::hold(&segments, entry) { Some(entry) } else { physical(&segments, entry) };
    let eip = physical.and_then(|entry| u32::try_from(entry).ok());
    Ok(eip.ok_or(ElfError::EntryOutsideSegments { entry })?)
}

/// Where the virtual address `virt` of a segment lies.
fn physical(segments: &[Segment<'_>], virt: u64) -> Option<u64> {
    segments.iter().find_map(|segment| {
        let offset = virt.checked_sub(segment.virt).filter(|offset| *offset < segment.memory_size)?;
        segment.phys.checked_add(offset)
    })
}

#[cfg(test)]
#[path = "multiboot_test.rs"]
mod tests;
