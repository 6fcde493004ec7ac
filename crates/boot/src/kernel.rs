//! What every kernel is handed, whatever its boot protocol: command line, initial RAM disk, memory map.

use std::fmt;

use strata_memory::layout::{CMDLINE, HIGH_MEMORY, PAGE_SIZE};
use strata_memory::{Kind, MemoryMap};
use thiserror::Error;
use vm_memory::GuestMemory;

use crate::cmdline::Cmdline;
use crate::elf::header::Segment;
use crate::entry::{Loaded, What};
use crate::image::{Image, Part};
use crate::plan::{PlaceError, Plan};

/// What a kernel is to be handed.
#[derive(Clone, Default)]
pub struct KernelOptions<'a> {
    /// The command line.
    pub cmdline: Cmdline,
    /// The initial RAM disk: a module, in the words of PVH and multiboot.
    pub initrd: Option<&'a dyn Image>,
    /// What the kernel is told of its memory. Kernel and initrd are put into usable ranges only.
    pub memory_map: MemoryMap,
    /// The guest-physical address of the ACPI RSDP. The tables are the caller's to write; the memory map
    /// should say where they lie.
    pub rsdp: Option<u64>,
    /// Whether RAM is zero wherever nothing has been written yet, as new memory of the host is. What has to
    /// be zero (a kernel's `.bss`) is then left alone instead of written, which would make the host give its
    /// pages.
    pub ram_is_zero: bool,
}

impl fmt::Debug for KernelOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cmdline, initrd, memory_map, rsdp, ram_is_zero } = self;
        f.debug_struct("KernelOptions")
            .field("cmdline", cmdline)
            .field("initrd", &initrd.map(Image::len))
            .field("memory_map", memory_map)
            .field("rsdp", rsdp)
            .field("ram_is_zero", ram_is_zero)
            .finish()
    }
}

/// Why a kernel cannot be handed what it was to be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The command line is too long for the kernel.
    #[error("the command line has {len} bytes, and this kernel takes no more than {max}: shorten it")]
    CmdlineTooLong {
        /// Its length in bytes, without the NUL.
        len: usize,
        /// The most there may be.
        max: usize,
    },
    /// The initrd has no bytes.
    #[error("the initrd is empty: was it built?")]
    InitrdEmpty,
    /// No usable range has room for the initrd.
    #[error(
        "the initrd of {len:#x} bytes finds no room in RAM between 1 MiB and {end:#x}, beside the kernel: \
         give the guest more memory"
    )]
    InitrdTooLarge {
        /// Its size in bytes.
        len: u64,
        /// One past the last address where this kernel finds it.
        end: u64,
    },
    /// There is no usable RAM to tell the kernel of.
    #[error("the memory map has no usable range: a kernel cannot start without")]
    NoUsableMemory,
    /// The memory map has more ranges than the boot protocol has room for.
    #[error("the memory map has {count} ranges, and this boot protocol has room for {max}: merge some")]
    MapTooLong {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A part of the kernel would lie where the memory map has no usable RAM.
    #[error(
        "{range} is not in usable RAM by the memory map: give the guest more memory, or link it elsewhere"
    )]
    NotUsable {
        /// What was to lie where.
        range: Loaded,
    },
    /// Something does not fit where it has to lie.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl KernelOptions<'_> {
    /// Checks the memory map: it has usable RAM, and at most `max` ranges.
    pub(crate) fn check_map(&self, max: usize) -> Result<(), KernelError> {
        let entries = self.memory_map.entries();
        if self.memory_map.total(Kind::Usable) == 0 {
            return Err(KernelError::NoUsableMemory);
        }
        let count = entries.len();
        if count > max { Err(KernelError::MapTooLong { count, max }) } else { Ok(()) }
    }

    /// Whether these bytes lie in usable RAM.
    fn is_usable(&self, start: u64, len: u64) -> bool {
        // Neighbours of one kind are one entry of a map.
        let holds = |entry: &strata_memory::Entry| {
            entry.start <= start && start.checked_add(len).is_some_and(|end| end <= entry.end())
        };
        self.memory_map.entries().iter().any(|entry| entry.kind == Kind::Usable && holds(entry))
    }

    /// Leaves out a segment that has only the file's headers, where there is no usable RAM for it: `ld -Ttext=0x100000`
    /// puts it just below 1 MiB, and the kernel does not know that it is there.
    pub(crate) fn without_headers<'s>(&self, mut segments: Vec<Segment<'s>>) -> Vec<Segment<'s>> {
        segments.retain(|segment| !segment.only_headers || self.is_usable(segment.phys, segment.memory_size));
        segments
    }

    /// Checks that all that is planned so far lies in usable RAM.
    pub(crate) fn check_usable<M: GuestMemory + ?Sized>(
        &self,
        plan: &Plan<'_, M>,
    ) -> Result<(), KernelError> {
        match plan.ranges().find(|range| !self.is_usable(range.start, range.len)) {
            Some(range) => Err(KernelError::NotUsable { range }),
            None => Ok(()),
        }
    }

    /// Plans the command line, of at most `max` bytes; its address.
    pub(crate) fn place_cmdline<M: GuestMemory + ?Sized>(
        &self,
        plan: &mut Plan<'_, M>,
        max: usize,
    ) -> Result<u64, KernelError> {
        let len = self.cmdline.as_bytes().len();
        let max = max.min(MAX_CMDLINE);
        if len > max {
            return Err(KernelError::CmdlineTooLong { len, max });
        }
        plan.add(CMDLINE, self.cmdline.to_bytes_with_nul(), What::Cmdline)?;
        Ok(CMDLINE)
    }
}

/// The place of the command line is a page, of which the NUL takes a byte.
#[expect(clippy::cast_possible_truncation, reason = "a page is 4096")]
pub(crate) const MAX_CMDLINE: usize = PAGE_SIZE as usize - 1;

/// Plans the initrd as high as it can lie in usable RAM between 1 MiB and `end`, beside what is planned
/// already: far from where a kernel grows. Returns its address and size.
///
/// The first MiB is left to what has its fixed place there.
pub(crate) fn place_initrd<'a, M: GuestMemory + ?Sized>(
    plan: &mut Plan<'a, M>,
    options: &KernelOptions<'a>,
    end: u64,
) -> Result<Option<(u64, u64)>, KernelError> {
    let Some(image) = options.initrd else { return Ok(None) };
    let len = image.len();
    if len == 0 {
        return Err(KernelError::InitrdEmpty);
    }
    let usable = options.memory_map.entries().iter().rev().filter(|entry| entry.kind == Kind::Usable);
    for entry in usable {
        let bottom = entry.start.max(HIGH_MEMORY);
        let mut top = entry.end().min(end);
        // Each round ends below something that is in the way.
        while let Some(start) = top.checked_sub(len).map(|start| start & !(PAGE_SIZE - 1)) {
            if start < bottom {
                break;
            }
            if plan.is_free(start, len) {
                plan.add(start, Part::whole(image), What::Initrd)?;
                return Ok(Some((start, len)));
            }
            match plan.overlapping(start, len) {
                Some(other) => top = other.start,
                None => break, // the memory map promises RAM where there is none
            }
        }
    }
    Err(KernelError::InitrdTooLarge { len, end })
}

#[cfg(test)]
#[path = "kernel_test.rs"]
mod tests;
