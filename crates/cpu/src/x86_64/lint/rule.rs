//! The rules, each with its words and its place in the manuals.

use super::Verdict;

/// A rule for the state that a guest is entered with.
///
/// In the manuals' names: "control registers", "segment registers" and so on are the sections "Checks on Guest .." of
/// SDM 3C, "VM Entries"; chapters there move from edition to edition, titles stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// CR0 has 32 bits.
    Cr0Upper,
    /// CR0.NW without CR0.CD.
    NotWriteThroughWithCache,
    /// CR0.PG without CR0.PE.
    PagingWithoutProtection,
    /// Bits of CR0 without a meaning.
    Cr0Reserved,
    /// EFER.LME and CR0.PG without CR4.PAE.
    LongModeWithoutPae,
    /// EFER.LME and CR0.PG without EFER.LMA.
    LongModeNotActive,
    /// EFER.LMA without EFER.LME and CR0.PG.
    LongModeActiveAlone,
    /// The address in CR3 is wider than physical addresses are.
    Cr3Width,
    /// CR3 has more than 32 bits, of which only 32 are used.
    Cr3Upper,
    /// Bits of CR4 that the processor does not have.
    Cr4Reserved,
    /// CR4.PCIDE outside long mode.
    PcidOutsideLongMode,
    /// CR4.CET without CR0.WP.
    CetWithoutWriteProtect,
    /// Bits of EFER that the processor does not have.
    EferReserved,
    /// RFLAGS bit 1 is always 1.
    RflagsFixed,
    /// Bits of RFLAGS without a meaning.
    RflagsReserved,
    /// RFLAGS.VM in long mode or in real mode.
    Virtual8086OutOfPlace,
    /// RIP in code that is not 64-bit.
    RipUpper,
    /// RIP in 64-bit code.
    RipNotCanonical,
    /// RIP lies behind the end of CS.
    RipBeyondLimit,
    /// GDTR's or IDTR's base.
    TableBaseNotCanonical,
    /// A segment of virtual-8086 mode.
    Virtual8086Segment,
    /// CS cannot be unusable.
    CodeNotPresent,
    /// CS holds no code.
    CodeType,
    /// CS.L outside long mode.
    CodeLongOutsideLongMode,
    /// CS.L and CS.D.
    CodeLongAndBig,
    /// DPL of CS and the current ring.
    CodePrivilege,
    /// The ring of real mode.
    RealModePrivilege,
    /// SS holds no writable data.
    StackType,
    /// DS, ES, FS or GS hold neither data nor readable code.
    DataType,
    /// A loaded code or data segment is accessed.
    NotAccessed,
    /// A segment without its P bit that is not marked as unusable.
    NotPresent,
    /// Granularity and limit.
    LimitGranularity,
    /// Base of CS, SS, DS or ES.
    BaseUpper,
    /// Base of FS, GS, TR or LDTR.
    BaseNotCanonical,
    /// RPL of SS and CS.
    StackRequestedPrivilege,
    /// RPL and DPL of SS.
    StackPrivilege,
    /// RPL and DPL of a data segment.
    DataPrivilege,
    /// TR holds nothing.
    TaskUnusable,
    /// TR holds something else.
    TaskType,
    /// TR holds a TSS that is not marked busy.
    TaskNotBusy,
    /// LDTR holds something else.
    LdtType,
    /// TR or LDTR come from the LDT.
    SystemSelector,
}

use Rule as R;
use Verdict::{FailsEntry, Refused, Tolerated};

/// In one row: what must be, where it is written, and what to expect.
type Row = (&'static str, &'static str, Verdict);

impl Rule {
    /// What must be, as a part of a sentence: "bits 63:32 must be 0".
    pub const fn must(self) -> &'static str {
        self.row().0
    }

    /// The sections of the manuals that say so.
    pub const fn manual(self) -> &'static str {
        self.row().1
    }

    /// What usually becomes of a state that breaks the rule.
    pub const fn verdict(self) -> Verdict {
        self.row().2
    }

    const fn row(self) -> Row {
        match self {
            R::Cr0Upper
            | R::NotWriteThroughWithCache
            | R::PagingWithoutProtection
            | R::Cr0Reserved
            | R::LongModeWithoutPae
            | R::LongModeNotActive
            | R::LongModeActiveAlone
            | R::Cr3Width
            | R::Cr3Upper
            | R::Cr4Reserved
            | R::PcidOutsideLongMode
            | R::CetWithoutWriteProtect
            | R::EferReserved => self.control(),
            R::RflagsFixed
            | R::RflagsReserved
            | R::Virtual8086OutOfPlace
            | R::RipUpper
            | R::RipNotCanonical
            | R::RipBeyondLimit
            | R::TableBaseNotCanonical => self.flow(),
            _ => self.segments(),
        }
    }

    const fn control(self) -> Row {
        match self {
            R::Cr0Upper => ("bits 63:32 must be 0", "SDM 3A 2.5; APM 2 15.5.1", Refused),
            R::NotWriteThroughWithCache => (
                "it means something only while caching is off: clear CR0.NW, or set CR0.CD too",
                "SDM 3A 2.5, CR0.NW; APM 2 15.5.1",
                Refused,
            ),
            R::PagingWithoutProtection => (
                "paging needs protected mode: set CR0.PE, or clear CR0.PG",
                "SDM 3A 2.5, CR0.PG; APM 2 3.1.1",
                Refused,
            ),
            R::Cr0Reserved => ("these bits must be 0", "SDM 3A 2.5, figure 2-7; APM 2 3.1.1", Tolerated),
            R::LongModeWithoutPae => (
                "long mode (EFER.LME and CR0.PG) needs it: set CR4.PAE",
                "SDM 3C, checks on guest control registers; APM 2 15.5.1",
                Refused,
            ),
            R::LongModeNotActive => (
                "long mode is active where EFER.LME and CR0.PG are set: set EFER.LMA too",
                "SDM 3A 2.2.1; APM 2 14.6",
                Refused,
            ),
            R::LongModeActiveAlone => (
                "long mode is active only where EFER.LME and CR0.PG are set: clear EFER.LMA, or set both",
                "SDM 3A 2.2.1; APM 2 14.6",
                Refused,
            ),
            R::Cr3Width => (
                "the bits above the width of a physical address must be 0",
                "SDM 3C, checks on guest control registers; APM 2 15.5.1",
                Refused,
            ),
            R::Cr3Upper => (
                "outside long mode only bits 31:0 are used: put the table below 4 GiB",
                "SDM 3A 5.3, 5.4.1; APM 2 3.1.2",
                Tolerated,
            ),
            R::Cr4Reserved => (
                "the guest's processor has no such bits: clear them, or give it the feature by CPUID",
                "SDM 3A 2.5; APM 2 15.5.1",
                Refused,
            ),
            R::PcidOutsideLongMode => (
                "process-context identifiers need long mode: clear CR4.PCIDE",
                "SDM 3C, checks on guest control registers",
                FailsEntry,
            ),
            R::CetWithoutWriteProtect => (
                "control-flow enforcement (CR4.CET) needs it: set CR0.WP",
                "SDM 3C, checks on guest control registers",
                FailsEntry,
            ),
            // EferReserved; what else this is asked for does not come here.
            _ => (
                "the guest's processor has no such bits: clear them, or give it the feature by CPUID",
                "SDM 3C, checks on guest control registers; APM 2 15.5.1",
                FailsEntry,
            ),
        }
    }

    const fn flow(self) -> Row {
        const RIP: &str = "SDM 3C, checks on guest RIP, RFLAGS and SSP";
        match self {
            R::RflagsFixed => ("bit 1 is always 1", RIP, Tolerated),
            R::RflagsReserved => ("bits 63:22, 15, 5 and 3 must be 0", RIP, FailsEntry),
            R::Virtual8086OutOfPlace => {
                ("virtual-8086 mode exists in protected mode only: clear RFLAGS.VM", RIP, FailsEntry)
            }
            R::RipUpper => ("in code that is not 64-bit, bits 63:32 must be 0", RIP, FailsEntry),
            R::RipNotCanonical => (
                "it must be canonical: the bits above those that are translated repeat the highest of them",
                RIP,
                FailsEntry,
            ),
            R::RipBeyondLimit => (
                "it must not be above CS.limit: the first fetch is #GP",
                "SDM 3A 6.3, limit checking; APM 2 4.12.1",
                Tolerated,
            ),
            // TableBaseNotCanonical.
            _ => ("it must be canonical", "SDM 3C, checks on guest descriptor-table registers", FailsEntry),
        }
    }

    const fn segments(self) -> Row {
        const SEG: &str = "SDM 3C, checks on guest segment registers";
        match self {
            R::Virtual8086Segment => (
                "in virtual-8086 mode a segment is selector * 16, limit 0xffff, access rights 0xf3 (data, ring 3)",
                SEG,
                FailsEntry,
            ),
            R::CodeNotPresent => ("CS must be present and usable", SEG, FailsEntry),
            R::CodeType => ("CS must hold code (type 9, 11, 13 or 15, S=1)", SEG, FailsEntry),
            R::CodeLongOutsideLongMode => (
                "64-bit code exists in long mode only: clear CS.L, or set EFER.LME, EFER.LMA, CR0.PG and CR4.PAE",
                "SDM 3A 3.4.5, L flag; APM 2 4.8.1",
                Refused,
            ),
            R::CodeLongAndBig => (
                "64-bit code (CS.L=1) must have CS.D=0",
                "SDM 3C, checks on guest segment registers; APM 2 15.5.1",
                FailsEntry,
            ),
            R::CodePrivilege => {
                ("it must be the current ring, SS.DPL; of conforming code, at most that", SEG, FailsEntry)
            }
            R::RealModePrivilege => {
                ("real mode and data in CS are for ring 0: SS.DPL must be 0", SEG, FailsEntry)
            }
            R::StackType => {
                ("a stack must be writable data (type 3 or 7, S=1), or unusable", SEG, FailsEntry)
            }
            R::DataType => ("it must hold data or readable code (S=1), or be unusable", SEG, FailsEntry),
            R::NotAccessed => ("a loaded segment is accessed: set bit 0 of the type", SEG, Tolerated),
            R::NotPresent => ("a segment that is not present must be marked unusable", SEG, Tolerated),
            R::LimitGranularity => (
                "it does not fit the G bit: with G=1 the low 12 bits are ones, with G=0 bits 31:20 are 0",
                SEG,
                FailsEntry,
            ),
            R::BaseUpper => ("bits 63:32 must be 0", SEG, FailsEntry),
            R::BaseNotCanonical => ("it must be canonical", SEG, FailsEntry),
            R::StackRequestedPrivilege => ("it should be the RPL of CS", SEG, Tolerated),
            R::StackPrivilege => ("it should be the RPL of SS", SEG, Tolerated),
            R::DataPrivilege => ("it should not be below the segment's RPL", SEG, Tolerated),
            R::TaskUnusable => (
                "TR must be usable and present, also where there is no task: use a TSS at 0",
                SEG,
                FailsEntry,
            ),
            R::TaskType => {
                ("it must be a busy TSS (S=0): type 11, outside long mode also type 3", SEG, FailsEntry)
            }
            R::TaskNotBusy => ("the TSS in TR is the current task's: set its busy bit", SEG, FailsEntry),
            R::LdtType => ("it must be an LDT (type 2, S=0), or unusable", SEG, FailsEntry),
            // SystemSelector.
            _ => ("it must name an entry of the GDT: clear bit 2 (TI)", SEG, FailsEntry),
        }
    }
}
