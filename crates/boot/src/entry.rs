//! What a loader returns.

use std::fmt;

use strata_cpu::X86State;

/// A loaded image: the state to enter it with, and what now lies where. Nothing has been applied to a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The registers of the boot processor's first instruction.
    pub state: X86State,
    /// Every range that was written, in the order it was; disjoint, all in RAM.
    pub loaded: Vec<Loaded>,
}

/// One range of guest memory a loader wrote. Displayed as `the image at 0x7c00-0x7dff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Loaded {
    /// The first guest-physical address.
    pub start: u64,
    /// Its size in bytes, never 0.
    pub len: u64,
    /// What it holds.
    pub what: What,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.start.saturating_add(self.len.saturating_sub(1));
        write!(f, "{} at {:#x}-{last:#x}", self.what, self.start)
    }
}

/// What a range of guest memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// The whole flat image.
    Image,
    /// One segment of an ELF image, by its place among all program headers, counted from 0.
    Segment(usize),
    /// The page tables.
    PageTables,
    /// The global descriptor table.
    Gdt,
    /// A kernel that is no ELF file, and the room it asks for to unpack itself in.
    Kernel,
    /// The initial RAM disk.
    Initrd,
    /// The kernel command line.
    Cmdline,
    /// Linux' zero page: `boot_params`.
    ZeroPage,
    /// What a PVH or multiboot kernel is told.
    BootInfo,
    /// The ACPI tables, the RSDP first.
    AcpiTables,
    /// The code that resets the machine, at the BIOS's old entry.
    ResetVector,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => f.write_str("the image"),
            Self::Segment(index) => write!(f, "segment {index} of the image"),
            Self::PageTables => f.write_str("the page tables"),
            Self::Gdt => f.write_str("the GDT"),
            Self::Kernel => f.write_str("the kernel"),
            Self::Initrd => f.write_str("the initrd"),
            Self::Cmdline => f.write_str("the command line"),
            Self::ZeroPage => f.write_str("the zero page"),
            Self::BootInfo => f.write_str("the boot information"),
            Self::AcpiTables => f.write_str("the ACPI tables"),
            Self::ResetVector => f.write_str("the reset vector"),
        }
    }
}
