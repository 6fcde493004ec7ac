//! Linux, by its 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
//!
//! | image | loaded | entered at |
//! | --- | --- | --- |
//! | ELF `vmlinux` | each segment at its physical address | `e_entry` |
//! | `bzImage` (protocol 2.12 and later) | its protected-mode code at `pref_address` | 0x200 behind that |
//!
//! The kernel in a bzImage is compressed and unpacks itself; the feature `unpack` has `unpack`, which does it
//! before, so that the guest need not.
//!
//! The guest is entered in long mode with interrupts off, the first 4 GiB mapped to themselves, `__BOOT_CS`
//! (0x10) and `__BOOT_DS` (0x18) loaded, and RSI with the address of the zero page. Zero page, command line,
//! GDT and page tables have their places in [`strata_memory::layout`]; the initrd lies as high as the kernel
//! allows.

pub(crate) mod header;
#[cfg(feature = "unpack")]
mod unpack;
mod zero_page;

use std::io;

use strata_memory::layout::ZERO_PAGE;
use thiserror::Error;
use vm_memory::GuestMemory;

use crate::elf::header::{Accept, File};
use crate::elf::{self, ElfError};
use crate::enter::{self, EnterError, FIRST_4G};
use crate::entry::{Entry, Loaded, What};
use crate::image::{Image, Part, read_up_to};
use crate::kernel::{KernelError, KernelOptions, place_initrd};
use crate::plan::{PlaceError, Plan};
pub use header::BzImageError;
use header::{BzImage, SetupHeader};
#[cfg(all(test, feature = "unpack"))]
pub(crate) use unpack::packed_kernels;
#[cfg(feature = "unpack")]
pub use unpack::{Compression, UnpackError, unpack};
use zero_page::{MAX_E820, ZeroPage};

/// Why a kernel was not loaded. But for [`PlaceError::Write`] and [`PlaceError::Read`], memory is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinuxError {
    /// The file cannot be read.
    #[error("the image cannot be read")]
    Read(#[from] io::Error),
    /// The image has no bytes.
    #[error("the kernel is empty: was it built?")]
    Empty,
    /// It is neither an ELF file nor a bzImage.
    #[error("the image is no Linux kernel for x86-64: neither an ELF file nor a bzImage")]
    NotLinux,
    /// The ELF file is wrong.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The bzImage is wrong, or cannot be entered in 64-bit mode.
    #[error(transparent)]
    BzImage(#[from] BzImageError),
    /// The first instruction lies where the page tables at entry do not lead.
    #[error("the kernel is to be entered at {entry:#x}, above 4 GiB: link it lower")]
    EntryAbove4G {
        /// The address of the first instruction.
        entry: u64,
    },
    /// It cannot be handed what it was to be.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A part of it does not fit where it has to lie.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The page tables or the GDT cannot be had.
    #[error(transparent)]
    Enter(#[from] EnterError),
}

/// The last address of an initrd for a kernel that does not say: what a bzImage of the same kernel says
/// (Linux, arch/x86/boot/header.S, `initrd_addr_max`), since what reads the initrd is the same.
const INITRD_ADDR_MAX: u64 = 0x7fff_ffff;
/// The longest command line likewise: `COMMAND_LINE_SIZE` is 2048, of which the NUL takes one.
const CMDLINE_SIZE: usize = 2047;

/// A kernel that is planned: what the rest needs to know of it.
struct Kernel {
    entry: u64,
    header: SetupHeader,
    initrd_addr_max: u64,
    cmdline_size: usize,
}

/// Loads the kernel `image`, an ELF file or a bzImage, into `memory` and returns how to enter it.
///
/// # Errors
/// Each case of [`LinuxError`].
pub fn load<M: GuestMemory + ?Sized, I: Image + ?Sized>(
    memory: &M,
    image: &I,
    options: &KernelOptions<'_>,
) -> Result<Entry, LinuxError> {
    let image: &dyn Image = &image;
    options.check_map(MAX_E820)?;
    let mut plan = Plan::new(memory);
    plan.ram_is_zero(options.ram_is_zero);
    let start = read_up_to(image, 0, 0x400)?;
    let kernel = if start.is_empty() {
        return Err(LinuxError::Empty);
    } else if start.starts_with(&object::elf::ELFMAG) {
        place_elf(&mut plan, image)?
    } else if header::is_bzimage(&start) {
        place_bzimage(&mut plan, image)?
    } else {
        return Err(LinuxError::NotLinux);
    };
    options.check_usable(&plan)?;

    let mut state = enter::linux64(&mut plan, kernel.entry)?;
    state.regs.rsi = ZERO_PAGE;
    let cmdline = options.place_cmdline(&mut plan, kernel.cmdline_size)?;
    let initrd = place_initrd(&mut plan, options, kernel.initrd_addr_max.saturating_add(1))?;
    let zero_page = ZeroPage {
        header: &kernel.header,
        cmdline,
        initrd,
        memory_map: &options.memory_map,
        rsdp: options.rsdp,
    };
    plan.add(ZERO_PAGE, zero_page.bytes(), What::ZeroPage)?;
    Ok(Entry { state, loaded: plan.commit()? })
}

fn place_elf<'a, M: GuestMemory + ?Sized>(
    plan: &mut Plan<'a, M>,
    image: &'a dyn Image,
) -> Result<Kernel, LinuxError> {
    let file = File::read(image, Accept::Only64)?;
    let segments = file.segments(image)?;
    elf::place(plan, &segments)?;
    // Linked high, but entered at its physical address.
    let entry = file.entry;
    if !elf::hold(&segments, entry) {
        return Err(ElfError::EntryOutsideSegments { entry }.into());
    }
    check_entry(entry)?;
    Ok(Kernel {
        entry,
        header: SetupHeader::for_elf(),
        initrd_addr_max: INITRD_ADDR_MAX,
        cmdline_size: CMDLINE_SIZE,
    })
}

fn place_bzimage<'a, M: GuestMemory + ?Sized>(
    plan: &mut Plan<'a, M>,
    image: &'a dyn Image,
) -> Result<Kernel, LinuxError> {
    let BzImage {
        mut header,
        code: (offset, len),
        pref_address,
        init_size,
        initrd_addr_max,
        cmdline_size,
        ..
    } = BzImage::read(image)?;
    let entry = pref_address.saturating_add(header::ENTRY_64);
    check_entry(entry)?;
    let code = Part::new(image, offset, len)
        .ok_or(BzImageError::Truncated { len: image.len(), expected: offset + len })?;
    plan.add(pref_address, code, What::Kernel)?;
    // It unpacks itself into this: nothing may lie there, and what does is no matter.
    plan.reserve(Loaded { start: pref_address + len, len: init_size - len, what: What::Kernel })?;
    header.set_code32_start(u32::try_from(pref_address).unwrap_or_default());
    Ok(Kernel { entry, header, initrd_addr_max, cmdline_size })
}

fn check_entry(entry: u64) -> Result<(), LinuxError> {
    if entry < FIRST_4G.len { Ok(()) } else { Err(LinuxError::EntryAbove4G { entry }) }
}

#[cfg(test)]
#[path = "linux_test.rs"]
mod tests;
