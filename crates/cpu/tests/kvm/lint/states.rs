//! States that break one rule each, and what the two kinds of development hosts make of them.

use strata_cpu::lint::Rule;
use strata_cpu::{Cr0, Cr4, Efer, RFlags, Segment, SegmentKind, X86State};

use super::{CODE, GDT, TABLES};

/// What becomes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// KVM does not take it.
    Refused,
    /// The processor does not enter the guest.
    FailsEntry,
    /// The first instruction runs.
    Runs,
    /// A triple fault, before the first instruction.
    TripleFault,
    /// KVM gives up: it has to emulate the first instruction and cannot.
    InternalError,
}

/// A state, the rule that it breaks, and its fate on PVM and on SVM.
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    pub(crate) state: X86State,
    pub(crate) rule: Rule,
    pub(crate) pvm: Fate,
    pub(crate) svm: Fate,
}

pub(crate) const REAL: X86State = X86State::real(CODE as u16);
pub(crate) const PROTECTED: X86State = X86State::protected(CODE as u32, GDT);
pub(crate) const LONG: X86State = X86State::long(CODE, TABLES, GDT);
const HIGH: u64 = 1 << 32;
const NOT_CANONICAL: u64 = 1 << 63;

fn bad(
    name: &'static str,
    (mut state, change): (X86State, fn(&mut X86State)),
    rule: Rule,
    [pvm, svm]: [Fate; 2],
) -> Bad {
    change(&mut state);
    Bad { name, state, rule, pvm, svm }
}

use Fate::*;

pub(crate) fn bad_states() -> Vec<Bad> {
    [control(), flow(), code_and_stack(), data_and_system()].into_iter().flatten().collect()
}

/// CR0, CR3, CR4, EFER.
fn control() -> Vec<Bad> {
    let cr0 = |bits| Cr0::from_bits_retain(bits);
    let _ = cr0;
    vec![
        bad("CR0 bit 32", (LONG, |s| s.cr0 |= Cr0::from_bits_retain(HIGH)), Rule::Cr0Upper, [Refused, Refused]),
        bad("CR0 bit 63, real mode", (REAL, |s| s.cr0 |= Cr0::from_bits_retain(1 << 63)), Rule::Cr0Upper, [Refused, Refused]),
        bad("CR0 bit 6", (PROTECTED, |s| s.cr0 |= Cr0::from_bits_retain(1 << 6)), Rule::Cr0Reserved, [Runs, Runs]),
        bad("NW without CD", (LONG, |s| s.cr0 |= Cr0::NW), Rule::NotWriteThroughWithCache, [Refused, Refused]),
        bad("NW without CD, real mode", (REAL, |s| s.cr0 |= Cr0::NW), Rule::NotWriteThroughWithCache, [Refused, Refused]),
        bad("PG without PE", (REAL, |s| s.cr0 |= Cr0::PG), Rule::PagingWithoutProtection, [Refused, Refused]),
        bad("PG and LME without PE", (LONG, |s| s.cr0 -= Cr0::PE), Rule::PagingWithoutProtection, [Refused, Refused]),
        bad("LME without PAE", (LONG, |s| s.cr4 -= Cr4::PAE), Rule::LongModeWithoutPae, [Refused, Refused]),
        bad("LME and PG without LMA", (LONG, |s| s.efer -= Efer::LMA), Rule::LongModeNotActive, [Refused, Refused]),
        bad("LMA without LME", (LONG, |s| s.efer -= Efer::LME), Rule::LongModeActiveAlone, [Refused, Refused]),
        bad("LMA in real mode", (REAL, |s| s.efer |= Efer::LMA), Rule::LongModeActiveAlone, [Refused, Refused]),
        bad("LMA without PG", (PROTECTED, |s| s.efer |= Efer::LME | Efer::LMA), Rule::LongModeActiveAlone, [Refused, Refused]),
        bad("CR3 bit 52", (LONG, |s| s.cr3 |= 1 << 52), Rule::Cr3Width, [Refused, Refused]),
        bad("CR3 bit 63", (LONG, |s| s.cr3 |= 1 << 63), Rule::Cr3Width, [Refused, Refused]),
        bad("CR3 bit 63, paging off", (PROTECTED, |s| s.cr3 |= 1 << 63), Rule::Cr3Width, [Runs, Runs]),
        bad("CR3 above 4 GiB, 32-bit paging", (PROTECTED, |s| { s.cr0 |= Cr0::PG; s.cr3 = HIGH | TABLES_32 }), Rule::Cr3Upper, [Runs, Runs]),
        bad("CR4 bit 15", (LONG, |s| s.cr4 |= Cr4::from_bits_retain(1 << 15)), Rule::Cr4Reserved, [Refused, Refused]),
        bad("CR4 bit 31, real mode", (REAL, |s| s.cr4 |= Cr4::from_bits_retain(1 << 31)), Rule::Cr4Reserved, [Refused, Refused]),
        bad("CR4 bit 63", (PROTECTED, |s| s.cr4 |= Cr4::from_bits_retain(1 << 63)), Rule::Cr4Reserved, [Refused, Refused]),
        bad("CR4.KL, which KVM gives no guest", (LONG, |s| s.cr4 |= Cr4::KL), Rule::Cr4Reserved, [Refused, Refused]),
        bad("CR4.PCIDE outside long mode", (PROTECTED, |s| s.cr4 |= Cr4::PCIDE), Rule::PcidOutsideLongMode, [Runs, Runs]),
        bad("EFER bit 1", (LONG, |s| s.efer |= Efer::from_bits_retain(1 << 1)), Rule::EferReserved, [Runs, Runs]),
        bad("EFER bit 63", (PROTECTED, |s| s.efer |= Efer::from_bits_retain(1 << 63)), Rule::EferReserved, [Runs, Runs]),
        bad("EFER bit 9, real mode", (REAL, |s| s.efer |= Efer::from_bits_retain(1 << 9)), Rule::EferReserved, [Runs, Runs]),
    ]
}

const TABLES_32: u64 = super::TABLES_32;

/// RIP, RFLAGS, GDTR and IDTR.
fn flow() -> Vec<Bad> {
    let flags = |s: &mut X86State, bits| s.regs.rflags |= RFlags::from_bits_retain(bits);
    let _ = flags;
    vec![
        bad("RFLAGS 0", (LONG, |s| s.regs.rflags = RFlags::empty()), Rule::RflagsFixed, [Runs, Runs]),
        bad("RFLAGS bit 3", (LONG, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 3)), Rule::RflagsReserved, [Runs, Runs]),
        bad("RFLAGS bit 15, real mode", (REAL, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 15)), Rule::RflagsReserved, [Runs, Runs]),
        bad("RFLAGS bit 22", (PROTECTED, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 22)), Rule::RflagsReserved, [Runs, Runs]),
        bad("RFLAGS bit 63", (LONG, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 63)), Rule::RflagsReserved, [Runs, Runs]),
        bad("RFLAGS.VM in long mode", (LONG, |s| s.regs.rflags |= RFlags::VM), Rule::Virtual8086OutOfPlace, [Runs, Runs]),
        bad("RFLAGS.VM in real mode", (REAL, |s| s.regs.rflags |= RFlags::VM), Rule::Virtual8086OutOfPlace, [Runs, Runs]),
        bad("RFLAGS.VM with flat segments", (PROTECTED, |s| s.regs.rflags |= RFlags::VM), Rule::Virtual8086Segment, [Runs, Runs]),
        bad("RIP above 4 GiB in 32-bit code", (PROTECTED, |s| s.regs.rip |= HIGH), Rule::RipUpper, [Runs, Runs]),
        bad("RIP above 4 GiB in real mode", (REAL, |s| s.regs.rip |= HIGH), Rule::RipUpper, [Runs, Runs]),
        bad("RIP not canonical", (LONG, |s| s.regs.rip |= NOT_CANONICAL), Rule::RipNotCanonical, [TripleFault, TripleFault]),
        bad("RIP beyond the limit of CS", (REAL, |s| s.regs.rip |= 0x1_0000), Rule::RipBeyondLimit, [TripleFault, TripleFault]),
        bad("RIP beyond a small limit", (PROTECTED, |s| { s.cs.limit = 0x7000; s.cs.granular = false }), Rule::RipBeyondLimit, [TripleFault, TripleFault]),
        bad("GDTR not canonical", (LONG, |s| s.gdt.base = NOT_CANONICAL), Rule::TableBaseNotCanonical, [Runs, Runs]),
        bad("IDTR not canonical", (PROTECTED, |s| s.idt.base = NOT_CANONICAL), Rule::TableBaseNotCanonical, [Runs, Runs]),
    ]
}

fn code_and_stack() -> Vec<Bad> {
    vec![
        bad("CS unusable", (LONG, |s| s.cs.unusable = true), Rule::CodeNotPresent, [Runs, Runs]),
        bad("CS not present", (PROTECTED, |s| s.cs.present = false), Rule::CodeNotPresent, [Runs, Runs]),
        bad("CS read-only data", (PROTECTED, |s| s.cs.kind = SegmentKind::from_bits(true, 1)), Rule::CodeType, [Runs, Runs]),
        bad("CS a system segment", (LONG, |s| s.cs.kind = SegmentKind::Ldt), Rule::CodeType, [Runs, Runs]),
        bad("CS not accessed", (LONG, |s| s.cs.kind = SegmentKind::from_bits(true, 10)), Rule::NotAccessed, [Runs, Runs]),
        bad("CS.L in real mode", (REAL, |s| s.cs.long = true), Rule::CodeLongOutsideLongMode, [Refused, Refused]),
        bad("CS.L in protected mode", (PROTECTED, |s| s.cs.long = true), Rule::CodeLongOutsideLongMode, [Refused, Refused]),
        bad("CS.L and CS.D", (LONG, |s| s.cs.big = true), Rule::CodeLongAndBig, [Runs, FailsEntry]),
        bad("CS of ring 3, SS of ring 0", (LONG, |s| s.cs = s.cs.for_ring(3)), Rule::CodePrivilege, [Runs, Runs]),
        bad("CS of ring 0, SS of ring 3", (PROTECTED, |s| s.ss = s.ss.for_ring(3)), Rule::CodePrivilege, [TripleFault, TripleFault]),
        bad("conforming CS of ring 3 in ring 0", (PROTECTED, |s| { s.cs.kind = SegmentKind::from_bits(true, 15); s.cs.dpl = 3 }), Rule::CodePrivilege, [Runs, Runs]),
        bad("ring 3 in real mode", (REAL, |s| { s.ss.dpl = 3; s.cs.dpl = 3 }), Rule::RealModePrivilege, [Runs, Runs]),
        bad("CS with the wrong G", (LONG, |s| s.cs.granular = false), Rule::LimitGranularity, [Runs, Runs]),
        bad("CS with half a page", (PROTECTED, |s| s.cs.limit = 0xffff_f7ff), Rule::LimitGranularity, [Runs, Runs]),
        bad("CS above 4 GiB", (LONG, |s| s.cs.base = HIGH), Rule::BaseUpper, [Runs, Runs]),
        bad("SS read-only", (PROTECTED, |s| s.ss.kind = SegmentKind::from_bits(true, 1)), Rule::StackType, [Runs, Runs]),
        bad("SS code", (LONG, |s| s.ss.kind = SegmentKind::CODE), Rule::StackType, [Runs, Runs]),
        bad("SS not accessed", (LONG, |s| s.ss.kind = SegmentKind::from_bits(true, 2)), Rule::NotAccessed, [Runs, Runs]),
        bad("SS above 4 GiB", (PROTECTED, |s| s.ss.base = HIGH), Rule::BaseUpper, [Runs, Runs]),
        bad("SS with another RPL than CS", (PROTECTED, |s| s.ss.selector |= 1), Rule::StackRequestedPrivilege, [Runs, Runs]),
        bad("SS with another RPL than DPL", (PROTECTED, |s| s.ss.selector |= 1), Rule::StackPrivilege, [Runs, Runs]),
    ]
}

fn data_and_system() -> Vec<Bad> {
    vec![
        bad("DS code that cannot be read", (PROTECTED, |s| s.ds.kind = SegmentKind::from_bits(true, 9)), Rule::DataType, [Runs, Runs]),
        bad("ES a system segment", (LONG, |s| s.es.kind = SegmentKind::Ldt), Rule::DataType, [Runs, Runs]),
        bad("FS not accessed", (LONG, |s| s.fs.kind = SegmentKind::from_bits(true, 2)), Rule::NotAccessed, [Runs, Runs]),
        bad("GS not present but usable", (LONG, |s| s.gs.present = false), Rule::NotPresent, [Runs, Runs]),
        bad("DS less privileged than asked for", (PROTECTED, |s| s.ds.selector |= 3), Rule::DataPrivilege, [Runs, Runs]),
        bad("DS with the wrong G", (REAL, |s| s.ds.limit = u32::MAX), Rule::LimitGranularity, [Runs, Runs]),
        bad("ES above 4 GiB", (LONG, |s| s.es.base = HIGH), Rule::BaseUpper, [Runs, Runs]),
        bad("FS not canonical", (LONG, |s| s.fs.base = NOT_CANONICAL), Rule::BaseNotCanonical, [Runs, Runs]),
        bad("TR null", (LONG, |s| s.tr = Segment::null()), Rule::TaskUnusable, [Runs, Runs]),
        bad("TR not present", (PROTECTED, |s| s.tr.present = false), Rule::TaskUnusable, [Runs, Runs]),
        bad("TR a 16-bit TSS in long mode", (LONG, |s| s.tr.kind = SegmentKind::System(3)), Rule::TaskType, [Runs, Runs]),
        bad("TR a data segment", (REAL, |s| s.tr.kind = SegmentKind::DATA), Rule::TaskType, [Runs, Runs]),
        bad("TR not busy", (LONG, |s| s.tr.kind = SegmentKind::Tss { busy: false }), Rule::TaskNotBusy, [Runs, Runs]),
        bad("TR not canonical", (LONG, |s| s.tr.base = NOT_CANONICAL), Rule::BaseNotCanonical, [Runs, Runs]),
        bad("TR from the LDT", (PROTECTED, |s| s.tr.selector = 4), Rule::SystemSelector, [Runs, Runs]),
        bad("LDTR a TSS", (LONG, |s| s.ldt.kind = SegmentKind::Tss { busy: false }), Rule::LdtType, [Runs, Runs]),
        bad("LDTR from the LDT", (PROTECTED, |s| s.ldt.selector = 4), Rule::SystemSelector, [Runs, Runs]),
        bad("LDTR not canonical", (LONG, |s| s.ldt.base = NOT_CANONICAL), Rule::BaseNotCanonical, [Runs, Runs]),
    ]
}
