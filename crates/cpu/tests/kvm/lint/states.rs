//! States that break one rule each, and what the two kinds of development hosts make of them.

use strata_cpu::lint::Rule;
use strata_cpu::{Cr0, Cr4, Efer, RFlags, Segment, SegmentKind, TableRegister, X86State};

use super::{CODE, GDT, IP, TABLES, TABLES_32};
use crate::machine::RAM;

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

/// A state, the rule that it breaks, and its fate on the hosts that this was tried on.
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    pub(crate) state: X86State,
    pub(crate) rule: Rule,
    /// PVM; SVM as QEMU emulates it.
    pub(crate) fates: [Fate; 2],
    /// Why these, in the words of a failed test.
    pub(crate) reason: &'static str,
}

/// Without interrupt vectors: whatever goes wrong is a triple fault, and not a walk through empty memory.
pub(crate) const REAL: X86State =
    X86State { idt: TableRegister { base: RAM as u64, limit: 0 }, ..X86State::real(IP) };
const PLAIN_REAL: X86State = X86State::real(IP);
const REAL_BY_CS: X86State = X86State::real_at(0x700, 0xc00);
pub(crate) const PROTECTED: X86State = X86State::protected(IP as u32, GDT);
pub(crate) const LONG: X86State = X86State::long(CODE, TABLES, GDT);
const HIGH: u64 = 1 << 32;
const NOT_CANONICAL: u64 = 1 << 63;

/// A state, and what is changed in it.
type Changed = (&'static X86State, fn(&mut X86State));

fn differs(
    name: &'static str,
    (state, change): Changed,
    rule: Rule,
    (fates, reason): ([Fate; 2], &'static str),
) -> Bad {
    let mut state = *state;
    change(&mut state);
    Bad { name, state, rule, fates, reason }
}

/// KVM itself looks at this, before it asks what kind of processor there is.
fn refused(name: &'static str, changed: Changed, rule: Rule) -> Bad {
    differs(name, changed, rule, ([Refused, Refused], "KVM checks it on every host"))
}

/// VMX and SVM check it.
fn svm(name: &'static str, changed: Changed, rule: Rule) -> Bad {
    let reason = "in the list of APM 2 15.5.1; PVM emulates ring 0 and never enters such a state";
    differs(name, changed, rule, ([Runs, FailsEntry], reason))
}

/// Only VMX checks it.
fn vmx(name: &'static str, changed: Changed, rule: Rule) -> Bad {
    let reason = "not in the list of APM 2 15.5.1: SVM ignores what it does not need; PVM emulates ring 0";
    differs(name, changed, rule, ([Runs, Runs], reason))
}

/// Nobody minds.
fn repaired(name: &'static str, changed: Changed, rule: Rule) -> Bad {
    differs(name, changed, rule, ([Runs, Runs], "KVM repairs it, or nobody checks it"))
}

use Fate::*;

pub(crate) fn bad_states() -> Vec<Bad> {
    [control(), flow(), code_and_stack(), data_and_system()].into_iter().flatten().collect()
}

/// CR0, CR3, CR4, EFER.
fn control() -> Vec<Bad> {
    vec![
        refused("CR0 bit 32", (&LONG, |s| s.cr0 |= Cr0::from_bits_retain(HIGH)), Rule::Cr0Upper),
        refused(
            "CR0 bit 63, real mode",
            (&REAL, |s| s.cr0 |= Cr0::from_bits_retain(1 << 63)),
            Rule::Cr0Upper,
        ),
        repaired("CR0 bit 6", (&PROTECTED, |s| s.cr0 |= Cr0::from_bits_retain(1 << 6)), Rule::Cr0Reserved),
        refused("NW without CD", (&LONG, |s| s.cr0 |= Cr0::NW), Rule::NotWriteThroughWithCache),
        refused("NW without CD, real mode", (&REAL, |s| s.cr0 |= Cr0::NW), Rule::NotWriteThroughWithCache),
        refused("PG without PE", (&REAL, |s| s.cr0 |= Cr0::PG), Rule::PagingWithoutProtection),
        refused("PG and LME without PE", (&LONG, |s| s.cr0 -= Cr0::PE), Rule::PagingWithoutProtection),
        refused("LME without PAE", (&LONG, |s| s.cr4 -= Cr4::PAE), Rule::LongModeWithoutPae),
        refused("LME and PG without LMA", (&LONG, |s| s.efer -= Efer::LMA), Rule::LongModeNotActive),
        refused("LMA without LME", (&LONG, |s| s.efer -= Efer::LME), Rule::LongModeActiveAlone),
        refused("LMA in real mode", (&REAL, |s| s.efer |= Efer::LMA), Rule::LongModeActiveAlone),
        refused(
            "LMA without PG",
            (&PROTECTED, |s| s.efer |= Efer::LME | Efer::LMA),
            Rule::LongModeActiveAlone,
        ),
        refused("CR3 bit 52", (&LONG, |s| s.cr3 |= 1 << 52), Rule::Cr3Width),
        refused("CR3 bit 63", (&LONG, |s| s.cr3 |= 1 << 63), Rule::Cr3Width),
        svm("CR3 bit 63, paging off", (&PROTECTED, |s| s.cr3 |= 1 << 63), Rule::Cr3Width),
        differs(
            "CR3 above 4 GiB, 32-bit paging",
            (&PROTECTED, |s| {
                s.cr0 |= Cr0::PG;
                s.cr4 |= Cr4::PSE;
                s.cr3 = HIGH | TABLES_32;
            }),
            Rule::Cr3Upper,
            ([TripleFault, Runs], "PVM has no 32-bit paging"),
        ),
        refused("CR4 bit 15", (&LONG, |s| s.cr4 |= Cr4::from_bits_retain(1 << 15)), Rule::Cr4Reserved),
        refused(
            "CR4 bit 31, real mode",
            (&REAL, |s| s.cr4 |= Cr4::from_bits_retain(1 << 31)),
            Rule::Cr4Reserved,
        ),
        refused("CR4 bit 63", (&PROTECTED, |s| s.cr4 |= Cr4::from_bits_retain(1 << 63)), Rule::Cr4Reserved),
        refused("CR4.KL, which KVM gives no guest", (&LONG, |s| s.cr4 |= Cr4::KL), Rule::Cr4Reserved),
        differs(
            "CR4.PCIDE outside long mode",
            (&PROTECTED, |s| s.cr4 |= Cr4::PCIDE),
            Rule::PcidOutsideLongMode,
            ([Runs, Runs], "only VMX checks it; and where the guest has no PCID, KVM"),
        ),
        svm("EFER bit 1", (&LONG, |s| s.efer |= Efer::from_bits_retain(1 << 1)), Rule::EferReserved),
        svm("EFER bit 63", (&PROTECTED, |s| s.efer |= Efer::from_bits_retain(1 << 63)), Rule::EferReserved),
        svm(
            "EFER bit 9, real mode",
            (&REAL, |s| s.efer |= Efer::from_bits_retain(1 << 9)),
            Rule::EferReserved,
        ),
    ]
}

/// RIP, RFLAGS, GDTR and IDTR.
fn flow() -> Vec<Bad> {
    vec![
        repaired("RFLAGS 0", (&LONG, |s| s.regs.rflags = RFlags::empty()), Rule::RflagsFixed),
        vmx(
            "RFLAGS bit 3",
            (&LONG, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 3)),
            Rule::RflagsReserved,
        ),
        vmx(
            "RFLAGS bit 15, real mode",
            (&REAL, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 15)),
            Rule::RflagsReserved,
        ),
        vmx(
            "RFLAGS bit 22",
            (&PROTECTED, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 22)),
            Rule::RflagsReserved,
        ),
        vmx(
            "RFLAGS bit 63",
            (&LONG, |s| s.regs.rflags |= RFlags::from_bits_retain(1 << 63)),
            Rule::RflagsReserved,
        ),
        vmx("RFLAGS.VM in long mode", (&LONG, |s| s.regs.rflags |= RFlags::VM), Rule::Virtual8086OutOfPlace),
        vmx("RFLAGS.VM in real mode", (&REAL, |s| s.regs.rflags |= RFlags::VM), Rule::Virtual8086OutOfPlace),
        vmx(
            "RFLAGS.VM with flat segments",
            (&PROTECTED, |s| s.regs.rflags |= RFlags::VM),
            Rule::Virtual8086Segment,
        ),
        differs(
            "RIP above 4 GiB in 32-bit code",
            (&PROTECTED, |s| s.regs.rip |= HIGH),
            Rule::RipUpper,
            (
                [TripleFault, Runs],
                "KVM's emulator compares all of RIP with CS.limit; SVM takes the lower half",
            ),
        ),
        differs(
            "RIP above 4 GiB in real mode",
            (&REAL, |s| s.regs.rip |= HIGH),
            Rule::RipUpper,
            (
                [TripleFault, Runs],
                "KVM's emulator compares all of RIP with CS.limit; SVM takes the lower half",
            ),
        ),
        differs(
            "RIP not canonical",
            (&LONG, |s| s.regs.rip |= NOT_CANONICAL),
            Rule::RipNotCanonical,
            ([TripleFault, TripleFault], "the first fetch is #GP; VMX would not come so far"),
        ),
        differs(
            "RIP beyond the limit of CS",
            (&REAL, |s| s.regs.rip |= 0x1_0000),
            Rule::RipBeyondLimit,
            ([TripleFault, Runs], "the first fetch is #GP; QEMU does not check it, and runs what is there"),
        ),
        differs(
            "RIP beyond a small limit",
            (&PROTECTED, |s| {
                s.cs.limit = 0x7000;
                s.cs.granular = false;
            }),
            Rule::RipBeyondLimit,
            ([TripleFault, Runs], "the first fetch is #GP; QEMU does not check it, and runs what is there"),
        ),
        vmx("GDTR not canonical", (&LONG, |s| s.gdt.base = NOT_CANONICAL), Rule::TableBaseNotCanonical),
        vmx("IDTR not canonical", (&PROTECTED, |s| s.idt.base = NOT_CANONICAL), Rule::TableBaseNotCanonical),
    ]
}

fn code_and_stack() -> Vec<Bad> {
    vec![
        vmx("CS unusable", (&LONG, |s| s.cs.unusable = true), Rule::CodeNotPresent),
        vmx("CS not present", (&PROTECTED, |s| s.cs.present = false), Rule::CodeNotPresent),
        vmx(
            "CS read-only data",
            (&PROTECTED, |s| s.cs.kind = SegmentKind::from_bits(true, 1)),
            Rule::CodeType,
        ),
        vmx("CS a system segment", (&LONG, |s| s.cs.kind = SegmentKind::Ldt), Rule::CodeType),
        repaired(
            "CS not accessed",
            (&LONG, |s| s.cs.kind = SegmentKind::from_bits(true, 10)),
            Rule::NotAccessed,
        ),
        refused("CS.L in real mode", (&REAL, |s| s.cs.long = true), Rule::CodeLongOutsideLongMode),
        refused("CS.L in protected mode", (&PROTECTED, |s| s.cs.long = true), Rule::CodeLongOutsideLongMode),
        svm("CS.L and CS.D", (&LONG, |s| s.cs.big = true), Rule::CodeLongAndBig),
        vmx("CS of ring 3, SS of ring 0", (&LONG, |s| s.cs = s.cs.for_ring(3)), Rule::CodePrivilege),
        differs(
            "CS of ring 0, SS of ring 3",
            (&PROTECTED, |s| s.ss = s.ss.for_ring(3)),
            Rule::CodePrivilege,
            ([TripleFault, TripleFault], "the ring is SS.DPL, and HLT in ring 3 is #GP"),
        ),
        vmx(
            "conforming CS of ring 3 in ring 0",
            (&PROTECTED, |s| {
                s.cs.kind = SegmentKind::from_bits(true, 15);
                s.cs.dpl = 3;
            }),
            Rule::CodePrivilege,
        ),
        differs(
            "ring 3 in real mode",
            (&REAL, |s| {
                s.ss.dpl = 3;
                s.cs.dpl = 3;
            }),
            Rule::RealModePrivilege,
            ([TripleFault, TripleFault], "the ring is SS.DPL, and HLT in ring 3 is #GP"),
        ),
        vmx("CS with the wrong G", (&LONG, |s| s.cs.granular = false), Rule::LimitGranularity),
        vmx("CS with half a page", (&PROTECTED, |s| s.cs.limit = 0xffff_f7ff), Rule::LimitGranularity),
        vmx("CS above 4 GiB", (&LONG, |s| s.cs.base = HIGH), Rule::BaseUpper),
        vmx("SS read-only", (&PROTECTED, |s| s.ss.kind = SegmentKind::from_bits(true, 1)), Rule::StackType),
        vmx("SS code", (&LONG, |s| s.ss.kind = SegmentKind::CODE), Rule::StackType),
        repaired(
            "SS not accessed",
            (&LONG, |s| s.ss.kind = SegmentKind::from_bits(true, 2)),
            Rule::NotAccessed,
        ),
        vmx("SS above 4 GiB", (&PROTECTED, |s| s.ss.base = HIGH), Rule::BaseUpper),
        repaired(
            "SS with another RPL than CS",
            (&PROTECTED, |s| s.ss.selector |= 1),
            Rule::StackRequestedPrivilege,
        ),
        repaired("SS with another RPL than DPL", (&PROTECTED, |s| s.ss.selector |= 1), Rule::StackPrivilege),
    ]
}

fn data_and_system() -> Vec<Bad> {
    vec![
        vmx(
            "DS code that cannot be read",
            (&PROTECTED, |s| s.ds.kind = SegmentKind::from_bits(true, 9)),
            Rule::DataType,
        ),
        vmx("ES a system segment", (&LONG, |s| s.es.kind = SegmentKind::Ldt), Rule::DataType),
        repaired(
            "FS not accessed",
            (&LONG, |s| s.fs.kind = SegmentKind::from_bits(true, 2)),
            Rule::NotAccessed,
        ),
        repaired("GS not present but usable", (&LONG, |s| s.gs.present = false), Rule::NotPresent),
        repaired(
            "DS less privileged than asked for",
            (&PROTECTED, |s| s.ds.selector |= 3),
            Rule::DataPrivilege,
        ),
        vmx("DS with the wrong G", (&REAL, |s| s.ds.limit = u32::MAX), Rule::LimitGranularity),
        vmx("ES above 4 GiB", (&LONG, |s| s.es.base = HIGH), Rule::BaseUpper),
        vmx("FS not canonical", (&LONG, |s| s.fs.base = NOT_CANONICAL), Rule::BaseNotCanonical),
        vmx("TR null", (&LONG, |s| s.tr = Segment::null()), Rule::TaskUnusable),
        vmx("TR not present", (&PROTECTED, |s| s.tr.present = false), Rule::TaskUnusable),
        vmx("TR a 16-bit TSS in long mode", (&LONG, |s| s.tr.kind = SegmentKind::System(3)), Rule::TaskType),
        vmx("TR a data segment", (&REAL, |s| s.tr.kind = SegmentKind::DATA), Rule::TaskType),
        vmx("TR not busy", (&LONG, |s| s.tr.kind = SegmentKind::Tss { busy: false }), Rule::TaskNotBusy),
        vmx("TR not canonical", (&LONG, |s| s.tr.base = NOT_CANONICAL), Rule::BaseNotCanonical),
        vmx("TR from the LDT", (&PROTECTED, |s| s.tr.selector = 4), Rule::SystemSelector),
        vmx("LDTR a TSS", (&LONG, |s| s.ldt.kind = SegmentKind::Tss { busy: false }), Rule::LdtType),
        vmx("LDTR from the LDT", (&PROTECTED, |s| s.ldt.selector = 4), Rule::SystemSelector),
        vmx("LDTR not canonical", (&LONG, |s| s.ldt.base = NOT_CANONICAL), Rule::BaseNotCanonical),
    ]
}

/// Unusual states in which nothing is wrong.
pub(crate) fn good_states() -> Vec<(&'static str, X86State)> {
    let good = |name, (state, change): Changed| {
        let mut state = *state;
        change(&mut state);
        (name, state)
    };
    vec![
        good("real mode", (&PLAIN_REAL, |_| {})),
        good("real mode by CS", (&REAL_BY_CS, |_| {})),
        good("real mode, 4 GiB in DS", (&REAL, |s| (s.ds.limit, s.ds.granular) = (u32::MAX, true))),
        good("protected mode", (&PROTECTED, |_| {})),
        good("long mode", (&LONG, |_| {})),
        good(
            "real mode's CS in protected mode",
            (&PROTECTED, |s| s.cs = Segment::real(0, SegmentKind::CODE)),
        ),
        good("conforming code", (&PROTECTED, |s| s.cs.kind = SegmentKind::from_bits(true, 15))),
        good("32-bit code in long mode", (&LONG, |s| s.cs = Segment::code32(8))),
        good(
            "no data segments",
            (&LONG, |s| {
                [s.ds, s.es, s.fs, s.gs] = [Segment::null(); 4];
            }),
        ),
        good("no stack segment", (&LONG, |s| s.ss = Segment::null())),
        good("no LDT", (&LONG, |s| s.ldt = Segment::null())),
        good("a 16-bit TSS", (&PROTECTED, |s| s.tr.kind = SegmentKind::System(3))),
        good(
            "a stack that grows",
            (&PROTECTED, |s| {
                s.ss.kind = SegmentKind::Data { writable: true, expand_down: true, accessed: true };
                s.ss.limit = 0xfff;
            }),
        ),
        good("caches off", (&LONG, |s| s.cr0 |= Cr0::CD | Cr0::NW)),
        good("caches off, written through", (&REAL, |s| s.cr0 |= Cr0::CD)),
        good("FPU flags", (&LONG, |s| s.cr0 |= Cr0::MP | Cr0::TS | Cr0::AM)),
        good("SSE", (&LONG, |s| s.cr4 |= Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::PGE | Cr4::DE | Cr4::TSD)),
        good("CR3's cache bits", (&LONG, |s| s.cr3 |= 0x18)),
        good("SYSCALL", (&LONG, |s| s.efer |= Efer::SCE)),
        good(
            "all flags",
            (&LONG, |s| {
                s.regs.rflags |= RFlags::CF | RFlags::PF | RFlags::AF | RFlags::ZF | RFlags::SF | RFlags::OF;
                s.regs.rflags |= RFlags::DF | RFlags::IF | RFlags::AC | RFlags::ID;
            }),
        ),
        good(
            "bases in the upper half",
            (&LONG, |s| {
                let high = 0xffff_8000_0000_0000;
                (s.fs.base, s.gs.base, s.gdt.base, s.idt.base, s.tr.base) = (high, high, high, high, high);
            }),
        ),
        good("no-execute without paging", (&PROTECTED, |s| s.efer |= Efer::NXE)),
    ]
}
