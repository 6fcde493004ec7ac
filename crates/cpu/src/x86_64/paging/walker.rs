//! Walks page tables as the processor does and says what it saw.
//!
//! Written from the manual, apart from the builder: the two check each other. It knows 32-bit paging (SDM 3A
//! 5.3),
//! PAE paging (5.4) and 4-level and 5-level paging (5.5). It does not know protection keys, shadow stacks and
//! what a second level of tables (EPT, NPT) may add.

use super::explain::{AccessKind, FaultReason, Level, Translation, WalkFault, WalkStep};
use crate::x86_64::flags::{Cr0, Cr4, Efer, PageEntry, PageFaultCode};

/// The processor state a translation depends on. Of a whole state: `X86State::walk_context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalkContext {
    /// PG says whether there is a translation, WP whether ring 0 obeys read-only pages.
    pub cr0: Cr0,
    /// Where the top table lies.
    pub cr3: u64,
    /// PAE, PSE and LA57 say how to walk, SMEP and SMAP what ring 0 may not do.
    pub cr4: Cr4,
    /// LMA says how to walk, NXE what entry bit 63 means.
    pub efer: Efer,
    /// The current ring; 3 is user mode, the others are supervisor mode.
    pub cpl: u8,
    /// RFLAGS.AC, which lifts SMAP.
    pub alignment_check: bool,
    /// Width of a physical address in bits, 32 to 52; entry bits above it are reserved. Other widths
    /// are clamped.
    pub phys_bits: u8,
    /// The processor has 1 GiB pages; otherwise PS is reserved in a PDPTE.
    pub huge_1g: bool,
}

impl WalkContext {
    /// Ring 0 of 64-bit mode with write protection and no-execute, tables at 0, everything the architecture
    /// has.
    pub const LONG_MODE: Self = Self {
        cr0: Cr0::PE.union(Cr0::PG).union(Cr0::WP),
        cr3: 0,
        cr4: Cr4::PAE,
        efer: Efer::LME.union(Efer::LMA).union(Efer::NXE),
        cpl: 0,
        alignment_check: false,
        phys_bits: 52,
        huge_1g: true,
    };

    fn user(&self) -> bool {
        self.cpl == 3
    }

    fn no_execute(&self) -> bool {
        self.efer.contains(Efer::NXE) && self.cr4.contains(Cr4::PAE)
    }

    fn is_long(&self) -> bool {
        self.efer.contains(Efer::LMA)
    }

    /// SDM 3A 5.1.1 "Four Paging Modes", table 5-1.
    pub(super) fn shape(&self) -> Shape {
        match (self.cr4, self.is_long()) {
            (cr4, true) if cr4.contains(Cr4::LA57) => FIVE_LEVEL,
            (_, true) => FOUR_LEVEL,
            (cr4, false) if cr4.contains(Cr4::PAE) => PAE,
            _ => LEGACY,
        }
    }

    /// Where the page of a leaf begins, of which the lowest `shift` address bits are not translated.
    pub(super) fn frame(&self, leaf: &WalkStep, shift: u32) -> u64 {
        let frame = leaf.entry & PageEntry::ADDRESS & !((1 << shift) - 1);
        let pse36 =
            if self.is_legacy() && shift == 22 { (leaf.entry & bits(13, 20)) << (32 - 13) } else { 0 };
        frame | pse36
    }

    /// 32-bit paging, where entries are different in many ways.
    fn is_legacy(&self) -> bool {
        !self.cr4.contains(Cr4::PAE) && !self.is_long()
    }

    /// A PDPTE of PAE paging: an address, and no rights. SDM 3A 5.4.1, table 5-8.
    pub(super) fn is_pae_top(&self, step: &WalkStep) -> bool {
        step.level == Level::Pdpte && !self.is_long()
    }

    /// PS is set and means something.
    pub(super) fn is_huge(&self, step: &WalkStep) -> bool {
        let can = match step.level {
            Level::Pde => !self.is_legacy() || self.cr4.contains(Cr4::PSE),
            Level::Pdpte => !self.is_pae_top(step),
            _ => false,
        };
        can && step.has(PageEntry::HUGE)
    }

    /// The bits of an entry that must be clear. SDM 3A 5.3 to 5.5, tables 5-4 to 5-20; APM 2 5.2 to 5.4.
    pub(super) fn reserved(&self, step: &WalkStep) -> u64 {
        let huge = self.is_huge(step);
        if self.is_legacy() {
            // PSE-36: bits 13 to 20 of a 4 MiB leaf are bits 32 to 39 of the address. SDM 3A 5.3, table 5-4.
            let high_address = bits(self.phys_bits.clamp(32, 40) - (32 - 13), 20);
            return if huge { 1 << 21 | high_address } else { 0 };
        }
        let long = self.is_long();
        // Long mode leaves the bits above the address to software, PAE does not.
        let beyond_address =
            if long { bits(12, 51) } else { bits(12, 62) } & !low(self.phys_bits.clamp(32, 52));
        let no_execute = if self.no_execute() && !self.is_pae_top(step) { 0 } else { 1 << 63 };
        let by_level = match step.level {
            Level::Pdpte if !long => bits(1, 2) | bits(5, 8),
            Level::Pdpte if huge && !self.huge_1g => PageEntry::HUGE.bits(),
            Level::Pdpte if huge => bits(13, 29),
            Level::Pde if huge => bits(13, 20),
            Level::Pml4e | Level::Pml5e => PageEntry::HUGE.bits(),
            _ => 0,
        };
        beyond_address | no_execute | by_level
    }
}

/// How the tables of one paging mode are shaped.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Top table first.
    pub(super) levels: &'static [Level],
    /// The lowest of the address bits that index the top table.
    pub(super) top_shift: u32,
    /// Bits of an index.
    pub(super) index_bits: u32,
    /// Bytes of an entry.
    pub(super) entry_bytes: u64,
    /// The bits of CR3 that hold the top table's address.
    pub(super) cr3_address: u64,
    /// Bits of an address that are translated.
    pub(super) width: u32,
}

impl Shape {
    /// Where entry `index` of the table at `table` lies.
    pub(super) fn entry_at(&self, table: u64, index: u64) -> u64 {
        table + index * self.entry_bytes
    }

    /// The entry at `entry_at`, of the eight aligned bytes that it is in.
    pub(super) fn entry_of(&self, word: u64, entry_at: u64) -> u64 {
        match (self.entry_bytes, entry_at & 4) {
            (8, _) => word,
            (_, 0) => word & 0xffff_ffff,
            _ => word >> 32,
        }
    }
}

/// 32-bit paging. SDM 3A 5.3, figure 5-2.
const LEGACY: Shape = Shape {
    levels: &[Level::Pde, Level::Pte],
    top_shift: 22,
    index_bits: 10,
    entry_bytes: 4,
    cr3_address: 0xffff_f000,
    width: 32,
};
/// PAE paging; the top table has four entries, and may lie at a multiple of 32. SDM 3A 5.4.1, table 5-7.
const PAE: Shape = Shape {
    levels: &[Level::Pdpte, Level::Pde, Level::Pte],
    top_shift: 30,
    index_bits: 9,
    entry_bytes: 8,
    cr3_address: 0xffff_ffe0,
    width: 32,
};
/// 4-level paging. SDM 3A 5.5.4, figure 5-8; APM 2 5.3.
const FOUR_LEVEL: Shape = Shape {
    levels: &[Level::Pml4e, Level::Pdpte, Level::Pde, Level::Pte],
    top_shift: 39,
    index_bits: 9,
    entry_bytes: 8,
    cr3_address: PageEntry::ADDRESS,
    width: 48,
};
/// 5-level paging: the same below one more table. SDM 3A 5.5.4; APM 2 5.3.
const FIVE_LEVEL: Shape = Shape {
    levels: &[Level::Pml5e, Level::Pml4e, Level::Pdpte, Level::Pde, Level::Pte],
    top_shift: 48,
    width: 57,
    ..FOUR_LEVEL
};

/// Translates `virt` for an access of `kind`.
///
/// `read` gives the eight bytes of physical memory at an address that is a multiple of eight, as a
/// little-endian
/// number, or `None` where there is no memory. Nothing is written: accessed and dirty flags stay as they are.
///
/// ```
/// use strata_cpu::{Access, AccessKind, FaultReason, PageSize, PageTables, WalkContext, walk};
///
/// let tables = PageTables::identity(0, 0x1000, PageSize::Size4K, Access::R)?;
/// let read = |at: u64| {
///     let (_, page) = tables.pages().find(|(start, _)| *start == at & !0xfff)?;
///     page.as_chunks().0.get(at as usize % 0x1000 / 8).map(|entry| u64::from_le_bytes(*entry))
/// };
/// let context = WalkContext { cr3: tables.cr3(), ..WalkContext::LONG_MODE };
/// assert_eq!(walk(read, &context, 0x123, AccessKind::Read).unwrap().phys, 0x123);
/// let fault = walk(read, &context, 0x123, AccessKind::Write).unwrap_err();
/// assert_eq!(fault.why, FaultReason::ReadOnly);
/// println!("{fault}"); // with each entry's bits
/// # Ok::<(), strata_cpu::MapError>(())
/// ```
pub fn walk(
    mut read: impl FnMut(u64) -> Option<u64>,
    context: &WalkContext,
    virt: u64,
    kind: AccessKind,
) -> Result<Translation, WalkFault> {
    let mut walk = Walk { context, virt, kind, steps: Vec::new() };
    if !context.cr0.contains(Cr0::PG) {
        return walk.unpaged();
    }
    let shape = walk.shape()?;
    let mut table = context.cr3 & shape.cr3_address;
    // The bits below those that the remaining levels translate.
    let mut shift = shape.top_shift;
    for &level in shape.levels {
        let step = walk.read_entry(&mut read, &shape, table, (level, shift))?;
        walk.check_entry(&step)?;
        if level == Level::Pte || context.is_huge(&step) {
            let translation = walk.translation(&step, shift);
            return walk.check_rights(translation);
        }
        table = step.entry & PageEntry::ADDRESS;
        shift = shift.saturating_sub(shape.index_bits);
    }
    // Unreachable: the last level of every shape is a PTE, which ends the walk.
    Err(walk.fault(FaultReason::NotPresent, None))
}

struct Walk<'a> {
    context: &'a WalkContext,
    virt: u64,
    kind: AccessKind,
    steps: Vec<WalkStep>,
}

impl Walk<'_> {
    /// With paging off linear addresses are physical. SDM 3A 5.1.1.
    fn unpaged(mut self) -> Result<Translation, WalkFault> {
        if self.virt > u64::from(u32::MAX) {
            return Err(self.fault(FaultReason::NonCanonical, None));
        }
        let (virt, page_bytes) = (self.virt, 1 << 32);
        Ok(Translation {
            virt,
            phys: virt,
            page_bytes,
            writable: true,
            executable: true,
            user: true,
            steps: vec![],
        })
    }

    fn shape(&mut self) -> Result<Shape, WalkFault> {
        let shape = self.context.shape();
        let above = 64 - shape.width;
        // Canonical: what is above the translated bits repeats the highest of them. SDM 1 3.3.7.1.
        let canonical = (self.virt << above).cast_signed() >> above == self.virt.cast_signed();
        let fits = if self.context.is_long() { canonical } else { self.virt >> shape.width == 0 };
        if fits { Ok(shape) } else { Err(self.fault(FaultReason::NonCanonical, None)) }
    }

    fn read_entry(
        &mut self,
        read: &mut impl FnMut(u64) -> Option<u64>,
        shape: &Shape,
        table: u64,
        (level, shift): (Level, u32),
    ) -> Result<WalkStep, WalkFault> {
        let index = self.virt >> shift & ((1 << shape.index_bits) - 1);
        let entry_at = shape.entry_at(table, index);
        let Some(word) = read(entry_at & !7) else {
            return Err(self.fault(FaultReason::Unreadable { entry_at }, None));
        };
        let step = WalkStep { level, index, entry_at, entry: shape.entry_of(word, entry_at) };
        self.steps.push(step);
        Ok(step)
    }

    /// The faults that any access takes at this entry.
    fn check_entry(&mut self, step: &WalkStep) -> Result<(), WalkFault> {
        if !step.has(PageEntry::PRESENT) {
            return Err(self.fault(FaultReason::NotPresent, Some(*step)));
        }
        match step.entry & self.context.reserved(step) {
            0 => Ok(()),
            bits => Err(self.fault(FaultReason::Reserved { bits }, Some(*step))),
        }
    }

    /// All but its steps, which are still needed for a fault.
    fn translation(&self, leaf: &WalkStep, shift: u32) -> Translation {
        let page_bytes = 1 << shift;
        let offset = page_bytes - 1;
        // What one entry withholds, no other gives back. SDM 3A 5.6.1.
        let all = |bit| self.with_rights().all(|step| step.has(bit));
        Translation {
            virt: self.virt,
            phys: self.context.frame(leaf, shift) | self.virt & offset,
            page_bytes,
            writable: all(PageEntry::WRITABLE),
            executable: !self.with_rights().any(|step| step.has(PageEntry::NO_EXECUTE)),
            user: all(PageEntry::USER),
            steps: Vec::new(),
        }
    }

    fn with_rights(&self) -> impl Iterator<Item = &WalkStep> {
        self.steps.iter().filter(|step| !self.context.is_pae_top(step))
    }

    /// SDM 3A 5.6.1 "Determination of Access Rights"; APM 2 5.6.
    fn check_rights(mut self, mut translation: Translation) -> Result<Translation, WalkFault> {
        let WalkContext { cr0, cr4, .. } = *self.context;
        let Translation { writable, executable, user, .. } = translation;
        let ring3 = self.context.user();
        let fetch = self.kind == AccessKind::Fetch;
        let why = if ring3 && !user {
            FaultReason::Supervisor
        } else if !ring3 && user && fetch && cr4.contains(Cr4::SMEP) {
            FaultReason::Smep
        } else if !ring3 && user && !fetch && cr4.contains(Cr4::SMAP) && !self.context.alignment_check {
            FaultReason::Smap
        } else if fetch && !executable {
            FaultReason::NoExecute
        } else if self.kind == AccessKind::Write && !writable && (ring3 || cr0.contains(Cr0::WP)) {
            FaultReason::ReadOnly
        } else {
            translation.steps = self.steps;
            return Ok(translation);
        };
        let guilty = self.with_rights().find(|step| match why {
            FaultReason::Supervisor => !step.has(PageEntry::USER),
            FaultReason::NoExecute => step.has(PageEntry::NO_EXECUTE),
            FaultReason::ReadOnly => !step.has(PageEntry::WRITABLE),
            // All entries together make it a user page; show the page's own.
            _ => Some(*step) == self.steps.last(),
        });
        let guilty = guilty.copied();
        Err(self.fault(why, guilty))
    }

    /// SDM 3A 5.7 "Page-Fault Exceptions".
    fn fault(&mut self, why: FaultReason, at: Option<WalkStep>) -> WalkFault {
        let mut code = match why {
            FaultReason::NotPresent => PageFaultCode::empty(),
            FaultReason::Reserved { .. } => PageFaultCode::PRESENT | PageFaultCode::RESERVED,
            _ => PageFaultCode::PRESENT,
        };
        let tells_fetch = self.context.no_execute() || self.context.cr4.contains(Cr4::SMEP);
        code.set(PageFaultCode::WRITE, self.kind == AccessKind::Write);
        code.set(PageFaultCode::USER, self.context.user());
        code.set(PageFaultCode::FETCH, self.kind == AccessKind::Fetch && tells_fetch);
        let is_page_fault = !matches!(why, FaultReason::NonCanonical | FaultReason::Unreadable { .. });
        WalkFault {
            virt: self.virt,
            kind: self.kind,
            cpl: self.context.cpl,
            why,
            at,
            error_code: is_page_fault.then_some(code),
            steps: std::mem::take(&mut self.steps),
        }
    }
}

/// The bits from `first` to `last`, both included.
const fn bits(first: u8, last: u8) -> u64 {
    low(last + 1) & !low(first)
}

/// The lowest `count` bits, fewer than 64.
const fn low(count: u8) -> u64 {
    (1 << count) - 1
}

#[cfg(test)]
#[path = "walker_test.rs"]
mod tests;
