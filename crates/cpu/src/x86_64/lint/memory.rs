//! What a state points to: code, stack, descriptor tables.
//!
//! None of this keeps a guest from being entered. It is what the guest then dies of.

use std::fmt;

use super::{is_64_bit, is_long};
use crate::x86_64::{
    flags::{Cr0, Cr4},
    paging::{AccessKind, FaultReason, WalkContext, WalkFault, walk},
    segment::Segment,
    state::X86State,
    tss::TSS_LIMIT,
};

/// What of a state points to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pointer {
    /// CS:RIP, the first instruction.
    Entry,
    /// SS:RSP, where the first push goes.
    Stack,
    /// GDTR.
    Gdt,
    /// IDTR.
    Idt,
    /// TR; not looked at if its selector is null.
    Tss,
    /// CR3 of PAE paging, whose four entries are loaded and checked as soon as it is.
    PdpTable,
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Entry => "the first instruction",
            Self::Stack => "the stack",
            Self::Gdt => "the GDT",
            Self::Idt => "the IDT",
            Self::Tss => "the TSS",
            Self::PdpTable => "the page-directory-pointer table",
        })
    }
}

/// Why the memory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The page tables do not allow it.
    Walk(WalkFault),
    /// They lead where there is no RAM.
    NoRam {
        /// The guest-physical address.
        phys: u64,
    },
    /// Bits that must be 0 are set in a PDPTE of PAE paging. SDM 3A 5.4.1, table 5-8.
    Reserved {
        /// The guest-physical address of the entry.
        entry_at: u64,
        /// The bits.
        bits: u64,
    },
}

/// Something that a state points to and that is not there. `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFinding {
    /// What points there.
    pub pointer: Pointer,
    /// The linear address; of [`Pointer::PdpTable`] the physical one.
    pub address: u64,
    /// What is wrong.
    pub trouble: Trouble,
}

impl MemoryFinding {
    /// Whether the guest cannot run even one instruction. Otherwise it can, and may never need the rest, or put it right.
    pub fn is_fatal(&self) -> bool {
        matches!(self.pointer, Pointer::Entry | Pointer::PdpTable)
    }
}

impl fmt::Display for MemoryFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, address, trouble } = self;
        match pointer {
            Pointer::Entry => write!(f, "{pointer}, at {address:#x}, cannot be fetched: ")?,
            Pointer::Stack => write!(f, "{pointer} cannot be written at {address:#x}: ")?,
            _ => write!(f, "{pointer} cannot be read at {address:#x}: ")?,
        }
        match trouble {
            Trouble::Walk(fault) => fmt::Display::fmt(&Cause(fault), f),
            Trouble::NoRam { phys } => write!(f, "there is no RAM at {phys:#x}"),
            Trouble::Reserved { entry_at, bits } => {
                write!(f, "the PDPTE at {entry_at:#x} has reserved bits {bits:#x} set")
            }
        }
    }
}

/// Why a walk failed, in the words of one sentence.
struct Cause<'a>(&'a WalkFault);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.0;
        if let Some(step) = &fault.at {
            write!(f, "the {} at {:#x} ", step.level, step.entry_at)?;
        }
        match fault.why {
            FaultReason::NonCanonical => {
                write!(f, "{:#x} is not canonical, or too wide for the mode", fault.virt)
            }
            FaultReason::Unreadable { entry_at } => {
                write!(f, "there is no RAM at {entry_at:#x}, where the page tables lead")
            }
            FaultReason::NotPresent => f.write_str("is not present (P=0)"),
            FaultReason::Reserved { bits } => write!(f, "has reserved bits {bits:#x} set"),
            FaultReason::ReadOnly if fault.cpl == 3 => f.write_str("is read-only (W=0)"),
            FaultReason::ReadOnly => f.write_str("is read-only (W=0), and CR0.WP is set"),
            FaultReason::NoExecute => f.write_str("forbids execution (NX=1)"),
            FaultReason::Supervisor => {
                write!(f, "is a supervisor page (U=0), and the guest is in ring {}", fault.cpl)
            }
            FaultReason::Smep => f.write_str("is a user page (U=1), and CR4.SMEP is set"),
            FaultReason::Smap => f.write_str("is a user page (U=1), and CR4.SMAP is set"),
        }
    }
}

/// Looks at what `state` points to: the code at RIP, the stack, the descriptor tables.
///
/// `read` gives the eight bytes of physical memory at an address that is a multiple of eight, as a little-endian number, or
/// `None` where there is no memory. It is asked for at most some 200 words, whatever the state is.
///
/// ```
/// use strata_cpu::X86State;
/// use strata_cpu::lint::lint_memory;
///
/// let state = X86State::protected(0x10_0000, 0x500);
/// let low_memory = |at: u64| (at < 0x10_0000).then_some(0);
/// let findings = lint_memory(low_memory, &state);
/// assert_eq!(
///     findings[0].to_string(),
///     "the first instruction, at 0x100000, cannot be fetched: there is no RAM at 0x100000"
/// );
/// ```
pub fn lint_memory(read: impl FnMut(u64) -> Option<u64>, state: &X86State) -> Vec<MemoryFinding> {
    let mut eyes = Eyes { read, context: state.walk_context(), findings: Vec::new() };
    if is_pae(state) && !eyes.pdp_table(state) {
        return eyes.findings;
    }
    let rip = if is_64_bit(state) { state.regs.rip } else { offset_in(&state.cs, state.regs.rip) };
    eyes.look(Pointer::Entry, (rip, 1), AccessKind::Fetch);
    let (stack, bytes) = first_push(state);
    eyes.look(Pointer::Stack, (stack, bytes), AccessKind::Write);
    // The tables are read by the processor itself, as ring 0 and past SMAP.
    eyes.context = WalkContext { cpl: 0, alignment_check: true, ..eyes.context };
    let protected = state.cr0.contains(Cr0::PE);
    // An empty table is how "there is none" is said; real mode has no GDT.
    if protected && state.gdt.limit != 0 {
        eyes.look(Pointer::Gdt, (state.gdt.base, u64::from(state.gdt.limit) + 1), AccessKind::Read);
    }
    if state.idt.limit != 0 {
        eyes.look(Pointer::Idt, (state.idt.base, u64::from(state.idt.limit) + 1), AccessKind::Read);
    }
    let has_task = protected && !state.tr.unusable && state.tr.selector & !3 != 0;
    if has_task {
        let len = state.tr.limit.min(TSS_LIMIT);
        eyes.look(Pointer::Tss, (state.tr.base, u64::from(len) + 1), AccessKind::Read);
    }
    eyes.findings
}

/// PAE paging, not long mode's.
fn is_pae(state: &X86State) -> bool {
    state.cr0.contains(Cr0::PG) && state.cr4.contains(Cr4::PAE) && !is_long(state)
}

/// A linear address outside 64-bit mode.
fn offset_in(segment: &Segment, offset: u64) -> u64 {
    segment.base.wrapping_add(offset) & 0xffff_ffff
}

/// Where the first push of the mode's natural width goes, and how many bytes it writes.
fn first_push(state: &X86State) -> (u64, u64) {
    let rsp = state.regs.rsp;
    match (is_64_bit(state), state.ss.big) {
        (true, _) => (rsp.wrapping_sub(8), 8),
        (_, true) => (offset_in(&state.ss, rsp.wrapping_sub(4) & 0xffff_ffff), 4),
        _ => (offset_in(&state.ss, rsp.wrapping_sub(2) & 0xffff), 2),
    }
}

struct Eyes<R> {
    read: R,
    context: WalkContext,
    findings: Vec<MemoryFinding>,
}

impl<R: FnMut(u64) -> Option<u64>> Eyes<R> {
    /// Looks at each page of `len` bytes, at most 64 KiB, and names the first that cannot be used.
    fn look(&mut self, pointer: Pointer, (start, len): (u64, u64), kind: AccessKind) {
        const PAGE: u64 = 4096;
        let last = start.wrapping_add(len - 1);
        let mut address = start;
        loop {
            if let Err(trouble) = self.access(address, kind) {
                self.findings.push(MemoryFinding { pointer, address, trouble });
                return;
            }
            if address & !(PAGE - 1) == last & !(PAGE - 1) {
                return;
            }
            address = (address & !(PAGE - 1)).wrapping_add(PAGE);
        }
    }

    fn access(&mut self, address: u64, kind: AccessKind) -> Result<(), Trouble> {
        let phys = walk(&mut self.read, &self.context, address, kind).map_err(Trouble::Walk)?.phys;
        (self.read)(phys & !7).map(|_| ()).ok_or(Trouble::NoRam { phys })
    }

    /// Whether the four entries can be loaded. SDM 3A 5.4.1; SDM 3C "Checks on Guest Page-Directory-Pointer-Table Entries".
    fn pdp_table(&mut self, state: &X86State) -> bool {
        /// Bits 2:1 and 8:5, and what no address reaches.
        const RESERVED: u64 = 0b11 << 1 | 0b1111 << 5 | 0xfff << 52;
        let table = state.cr3 & 0xffff_ffe0;
        for entry_at in (0..4).map(|index| table + index * 8) {
            let trouble = match (self.read)(entry_at) {
                None => Trouble::NoRam { phys: entry_at },
                Some(entry) if entry & 1 != 0 && entry & RESERVED != 0 => {
                    Trouble::Reserved { entry_at, bits: entry & RESERVED }
                }
                Some(_) => continue,
            };
            self.findings.push(MemoryFinding { pointer: Pointer::PdpTable, address: table, trouble });
            return false;
        }
        true
    }
}
