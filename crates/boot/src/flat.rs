//! Flat images: bytes as they are, at an address, in a mode.
//!
//! | mode | loaded at, unless told otherwise | entered with |
//! | --- | --- | --- |
//! | real16 | 0x7c00 | all segments 0 (CS too, below 64 KiB), SP 0 |
//! | protected32 | 1 MiB | flat segments, no paging, GDT, stack |
//! | long64 | 1 MiB | flat segments, page tables, GDT, stack |
//!
//! The places of GDT, tables and stack are in [`strata_memory::layout`]. General-purpose registers are 0 but
//! for RSP, interrupts are off and there is no IDT (in real mode the vectors are at 0).

use strata_cpu::{Mode, X86State};
use strata_memory::layout::{HIGH_MEMORY, REAL_MODE_ENTRY};
use thiserror::Error;
use vm_memory::GuestMemory;

use crate::enter::{self, EnterError};
use crate::entry::{Entry, What};
use crate::image::{Image, Part};
use crate::plan::{PlaceError, Plan};

pub use crate::enter::Paging;

/// How to load and enter a flat image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatOptions {
    /// The mode the guest is entered in.
    pub mode: Mode,
    /// The guest-physical address of the image's first byte; `None`: 0x7c00 in real mode, 1 MiB in the
    /// others.
    pub load_at: Option<u64>,
    /// The address of the first instruction, which has to lie in the image; `None`: its first byte. It is a
    /// linear address below 1 MiB in real mode, below 4 GiB in protected mode, and a virtual one in long
    /// mode.
    pub entry: Option<u64>,
    /// The page tables, in long mode only; `None`: those of [`Paging::default`].
    pub paging: Option<Paging>,
    /// The guest-physical address of the GDT, in protected and long mode. `None`: [`layout::BOOT_GDT`] if it
    /// is free RAM and mapped, or else nowhere; GDTR is 0 then, and the guest has to bring a GDT before it
    /// loads a segment register.
    ///
    /// [`layout::BOOT_GDT`]: strata_memory::layout::BOOT_GDT
    pub gdt_at: Option<u64>,
}

impl FlatOptions {
    /// Everything by default, in `mode`.
    pub const fn new(mode: Mode) -> Self {
        Self { mode, load_at: None, entry: None, paging: None, gdt_at: None }
    }
}

/// Why a flat image was not loaded. But for [`PlaceError::Write`] and [`PlaceError::Read`], memory is as it
/// was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FlatError {
    /// The image has no bytes.
    #[error("the image is empty: was it built?")]
    Empty,
    /// The image does not fit where it was to lie.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The mode's tables cannot be had.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// Page tables were given for a mode that does not start with paging on.
    #[error("page tables are for long64, the image is entered in {mode}: change the mode or leave them out")]
    PagingNotUsed {
        /// The mode asked for.
        mode: Mode,
    },
    /// The first instruction lies where the mode cannot reach.
    #[error("the entry {entry:#x} is out of reach in {mode}: load the image lower")]
    EntryOutOfReach {
        /// The address of the first instruction.
        entry: u64,
        /// The mode asked for.
        mode: Mode,
    },
    /// The first instruction is not one of the image's.
    #[error("the entry {entry:#x} is not in the image, which lies at {start:#x} and has {len:#x} bytes")]
    EntryOutsideImage {
        /// The address of the first instruction.
        entry: u64,
        /// Where the image starts.
        start: u64,
        /// The image's size.
        len: u64,
    },
    /// No virtual address leads to the first instruction.
    #[error("the page tables do not map the entry {entry:#x}: map it, or load the image where they do")]
    EntryNotMapped {
        /// The address of the first instruction: virtual if it was given, physical if not.
        entry: u64,
    },
}

/// Loads `image` into `memory` and returns how to enter it.
///
/// # Errors
/// Each case of [`FlatError`].
pub fn load<M: GuestMemory + ?Sized, I: Image + ?Sized>(
    memory: &M,
    image: &I,
    options: &FlatOptions,
) -> Result<Entry, FlatError> {
    let FlatOptions { mode, load_at, entry, paging, gdt_at } = options;
    let mode = *mode;
    if image.is_empty() {
        return Err(FlatError::Empty);
    }
    if paging.is_some() && mode != Mode::Long64 {
        return Err(FlatError::PagingNotUsed { mode });
    }
    let start = load_at.unwrap_or(if mode == Mode::Real16 { REAL_MODE_ENTRY } else { HIGH_MEMORY });
    let image: &dyn Image = &image;
    let len = image.len();
    let mut plan = Plan::new(memory);
    plan.add(start, Part::whole(image), What::Image)?;

    let in_image = |entry: u64, physical: u64| match physical.checked_sub(start) {
        Some(offset) if offset < len => Ok(entry),
        _ => Err(FlatError::EntryOutsideImage { entry, start, len }),
    };
    let unpaged = || {
        let entry = entry.unwrap_or(start);
        in_image(entry, entry)
    };
    let state = match mode {
        Mode::Real16 => real(unpaged()?)?,
        Mode::Protected32 => {
            let entry = unpaged()?;
            let eip = u32::try_from(entry).map_err(|_| FlatError::EntryOutOfReach { entry, mode })?;
            enter::protected(&mut plan, eip, *gdt_at)?
        }
        Mode::Long64 => {
            let paging = paging.clone().unwrap_or_default();
            let rip = match *entry {
                None => enter::virtual_of(&paging.map, start, 1)
                    .ok_or(FlatError::EntryNotMapped { entry: start })?,
                Some(entry) => {
                    let physical = enter::physical(&paging.map, entry, 1);
                    in_image(entry, physical.ok_or(FlatError::EntryNotMapped { entry })?)?
                }
            };
            enter::long(&mut plan, rip, &paging, *gdt_at)?
        }
    };
    Ok(Entry { state, loaded: plan.commit()? })
}

/// Real mode at a linear address: CS is 0 where IP alone gets there, or else the multiple of 64 KiB below.
fn real(entry: u64) -> Result<X86State, FlatError> {
    let error = FlatError::EntryOutOfReach { entry, mode: Mode::Real16 };
    match u16::try_from(entry >> 16) {
        // Segments are 16 bytes apart (SDM vol. 3A 22.1.1), and there are 16 times 64 KiB in the first MiB.
        Ok(high @ 0..16) => Ok(X86State::real_at(high << 12, (entry & 0xffff) as u16)),
        _ => Err(error),
    }
}

#[cfg(test)]
#[path = "flat_test.rs"]
mod tests;
