//! What a walk through page tables saw, as values that explain themselves.

use std::fmt;

use thiserror::Error;

use crate::x86_64::flags::{PageEntry, PageFaultCode};

/// What the processor wants of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// Read data.
    Read,
    /// Write data.
    Write,
    /// Fetch an instruction.
    Fetch,
}

impl fmt::Display for AccessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Fetch => "fetch",
        })
    }
}

/// A kind of table, by the name of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Entry of a page table: maps 4 KiB.
    Pte,
    /// Entry of a page directory: maps 2 MiB (4 MiB under 32-bit paging) or points to a page table.
    Pde,
    /// Entry of a page-directory-pointer table: maps 1 GiB or points to a page directory.
    Pdpte,
    /// Entry of the level-4 table.
    Pml4e,
    /// Entry of the level-5 table.
    Pml5e,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pte => "PTE",
            Self::Pde => "PDE",
            Self::Pdpte => "PDPTE",
            Self::Pml4e => "PML4E",
            Self::Pml5e => "PML5E",
        })
    }
}

/// One entry that was read on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalkStep {
    /// Which table it is in.
    pub level: Level,
    /// Its number in that table.
    pub index: u64,
    /// Its guest-physical address.
    pub entry_at: u64,
    /// Its value; of a 4-byte entry the upper half is zero.
    pub entry: u64,
}

impl WalkStep {
    /// All of these bits are set.
    pub fn has(&self, bit: PageEntry) -> bool {
        PageEntry::from_bits_retain(self.entry).contains(bit)
    }
}

/// One line: where the entry is, what it is, and each bit that counts.
impl fmt::Display for WalkStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, index, entry_at, entry } = self;
        write!(f, "{level:<5} {index:>4} at {entry_at:#014x} = {entry:#018x}:")?;
        let bits = [
            ("P", PageEntry::PRESENT),
            ("W", PageEntry::WRITABLE),
            ("U", PageEntry::USER),
            ("A", PageEntry::ACCESSED),
            ("D", PageEntry::DIRTY),
            ("PS", PageEntry::HUGE),
            ("NX", PageEntry::NO_EXECUTE),
        ];
        bits.iter()
            // Dirty and page size mean something else, or nothing, in a PTE and where no page is mapped.
            .filter(|(_, bit)| *bit != PageEntry::HUGE || *level != Level::Pte)
            .filter(|(_, bit)| *bit != PageEntry::DIRTY || *level == Level::Pte || self.has(PageEntry::HUGE))
            .try_for_each(|(name, bit)| write!(f, " {name}={}", u8::from(self.has(*bit))))
    }
}

/// Where an address leads. `Display` explains it entry by entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The virtual address that was asked for.
    pub virt: u64,
    /// The guest-physical address it becomes.
    pub phys: u64,
    /// Bytes that the leaf entry maps: 4 KiB, 2 MiB, 4 MiB or 1 GiB. With paging off the address space is one
    /// piece of 4 GiB.
    pub page_bytes: u64,
    /// All entries allow writing. Ring 0 can write all the same while CR0.WP is clear.
    pub writable: bool,
    /// No entry forbids to fetch instructions.
    pub executable: bool,
    /// All entries allow ring 3.
    pub user: bool,
    /// The entries that were read, top table first; none with paging off.
    pub steps: Vec<WalkStep>,
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { virt, phys, page_bytes, writable, executable, user, steps } = self;
        if steps.is_empty() {
            return write!(f, "{virt:#x} is physical {phys:#x}: paging is off (CR0.PG=0)");
        }
        let write = if *writable { "writable" } else { "read-only" };
        let execute = if *executable { "executable" } else { "no-execute" };
        let ring = if *user { "user" } else { "supervisor" };
        write!(
            f,
            "{virt:#x} is physical {phys:#x}: {} KiB page, {write}, {execute}, {ring}",
            page_bytes >> 10
        )?;
        steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

/// Why there is no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum FaultReason {
    /// #GP (#SS through the stack), no page fault: upper bits that are not copies of the highest one
    /// translated.
    /// Outside long mode: an address of more than 32 bits.
    #[error("the address is not canonical, or too wide for the mode")]
    NonCanonical,
    /// The table is not in memory. What hardware reads there is not defined.
    #[error("the table at {entry_at:#x} is not in memory")]
    Unreadable {
        /// The physical address of the entry that should be read.
        entry_at: u64,
    },
    /// P is clear.
    #[error("the entry is not present (P=0)")]
    NotPresent,
    /// Bits are set that must not be.
    #[error("reserved bits {bits:#x} are set")]
    Reserved {
        /// Those of the entry's bits.
        bits: u64,
    },
    /// A write, and W is clear.
    #[error("a write to a read-only page (W=0)")]
    ReadOnly,
    /// A fetch, and NX is set.
    #[error("an instruction fetch from a no-execute page (NX=1)")]
    NoExecute,
    /// Ring 3, and U is clear.
    #[error("ring 3 on a supervisor page (U=0)")]
    Supervisor,
    /// Ring 0 fetches from a user page.
    #[error("ring 0 fetches an instruction from a user page (U=1, CR4.SMEP=1)")]
    Smep,
    /// Ring 0 touches a user page.
    #[error("ring 0 touches a user page (U=1, CR4.SMAP=1, RFLAGS.AC=0)")]
    Smap,
}

/// The address does not translate, or not for this access.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} of {virt:#x} in ring {cpl} faults: {why}{}", Explanation(.at.as_ref(), .steps))]
pub struct WalkFault {
    /// The virtual address that was asked for.
    pub virt: u64,
    /// The access that was asked for.
    pub kind: AccessKind,
    /// The ring that asked.
    pub cpl: u8,
    /// What is wrong.
    pub why: FaultReason,
    /// The entry that is to blame; for the rights, the first one that withholds them.
    pub at: Option<WalkStep>,
    /// What the page fault pushes; `None` where it is no page fault.
    pub error_code: Option<PageFaultCode>,
    /// The entries that were read, top table first.
    pub steps: Vec<WalkStep>,
}

impl WalkFault {
    /// The reason as one sentence that names the entry: "the PTE at 0x13050 is not present (P=0)".
    pub fn cause(&self) -> impl fmt::Display {
        Cause(self)
    }
}

struct Cause<'a>(&'a WalkFault);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WalkFault { virt, why, at, steps, cpl, .. } = self.0;
        let (level, entry_at) = match at {
            Some(step) => (step.level, step.entry_at),
            None => match why {
                FaultReason::Unreadable { entry_at } if steps.is_empty() => {
                    return write!(f, "there is no RAM at {entry_at:#x}, where CR3 points");
                }
                FaultReason::Unreadable { entry_at } => {
                    return write!(f, "there is no RAM at {entry_at:#x}, where a page table should be");
                }
                _ => return write!(f, "{virt:#x} is not canonical"),
            },
        };
        write!(f, "the {level} at {entry_at:#x} ")?;
        match why {
            FaultReason::Reserved { bits } => write!(f, "has reserved bits {bits:#x} set"),
            FaultReason::ReadOnly if *cpl == 3 => f.write_str("is present but read-only (W=0)"),
            FaultReason::ReadOnly => f.write_str("is present but read-only (W=0), and CR0.WP is set"),
            FaultReason::NoExecute => f.write_str("forbids execution (NX=1)"),
            FaultReason::Supervisor => f.write_str("is a supervisor page (U=0), and the guest was in ring 3"),
            FaultReason::Smep => f.write_str("is a user page (U=1), and CR4.SMEP is set"),
            FaultReason::Smap => f.write_str("is a user page (U=1), and CR4.SMAP is set and RFLAGS.AC clear"),
            FaultReason::NotPresent | FaultReason::NonCanonical | FaultReason::Unreadable { .. } => {
                f.write_str("is not present (P=0)")
            }
        }
    }
}

/// The entries of a fault, the guilty one marked.
struct Explanation<'a>(Option<&'a WalkStep>, &'a [WalkStep]);

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.iter().try_for_each(|step| {
            let mark = if Some(step) == self.0 { ">" } else { " " };
            write!(f, "\n{mark} {step}")
        })
    }
}
