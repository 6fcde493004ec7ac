//! The eight segment registers. SDM 3C "Checks on Guest Segment Registers".
//!
//! VMX checks all of this, with "unrestricted guest", which every processor since 2010 has; SVM checks little of it, since
//! it ignores most of what it does not need.

use super::{Findings, Register, Rule, is_64_bit, is_long, is_v86};
use crate::x86_64::{
    flags::Cr0,
    segment::{Segment, SegmentKind},
    state::X86State,
};

/// Table indicator of a selector: the LDT. SDM 3A 3.4.2.
const TI: u16 = 4;

pub(super) fn check(state: &X86State, findings: &mut Findings) {
    let data = [
        (Register::Ds, &state.ds),
        (Register::Es, &state.es),
        (Register::Fs, &state.fs),
        (Register::Gs, &state.gs),
    ];
    if is_v86(state) {
        for (register, segment) in
            data.into_iter().chain([(Register::Cs, &state.cs), (Register::Ss, &state.ss)])
        {
            virtual_8086(register, segment, findings);
        }
    } else {
        code(state, findings);
        stack(state, findings);
        for (register, segment) in data {
            data_segment(state, register, segment, findings);
        }
    }
    task(state, findings);
    ldt(&state.ldt, findings);
}

fn virtual_8086(register: Register, segment: &Segment, findings: &mut Findings) {
    let expected = Segment::real(segment.selector, SegmentKind::DATA);
    if *segment != (Segment { dpl: 3, ..expected }) {
        findings.add(Rule::Virtual8086Segment, register, "base", segment.base);
    }
}

fn code(state: &X86State, findings: &mut Findings) {
    let cs = &state.cs;
    if cs.unusable || !cs.present {
        findings.add(Rule::CodeNotPresent, Register::Cs, "P", 0);
    }
    match cs.kind {
        // Data as real mode can leave it behind: "unrestricted guest" allows it.
        SegmentKind::Code { accessed: true, .. } | SegmentKind::DATA => {}
        SegmentKind::Code { .. } => {
            findings.add(Rule::NotAccessed, Register::Cs, "type", cs.kind.type_bits().into());
        }
        kind => findings.add(Rule::CodeType, Register::Cs, "type", kind.type_bits().into()),
    }
    if cs.long && !is_long(state) {
        findings.add(Rule::CodeLongOutsideLongMode, Register::Cs, "L", 1);
    }
    if is_64_bit(state) && cs.big {
        findings.add(Rule::CodeLongAndBig, Register::Cs, "D", 1);
    }
    let (ring, dpl) = (state.ss.dpl & 3, cs.dpl & 3);
    let agrees = match cs.kind {
        SegmentKind::Code { conforming: true, .. } => dpl <= ring,
        SegmentKind::Code { .. } => dpl == ring,
        SegmentKind::Data { .. } => dpl == 0,
        _ => true,
    };
    if !agrees {
        findings.add(Rule::CodePrivilege, Register::Cs, "DPL", cs.dpl.into());
    }
    let data_in_cs = matches!(cs.kind, SegmentKind::Data { .. });
    if ring != 0 && (data_in_cs || !state.cr0.contains(Cr0::PE)) {
        findings.add(Rule::RealModePrivilege, Register::Ss, "DPL", ring.into());
    }
    granularity(Register::Cs, cs, findings);
    findings.clear(Rule::BaseUpper, Register::Cs, "base", upper(cs.base));
}

fn stack(state: &X86State, findings: &mut Findings) {
    let (cs, ss) = (&state.cs, &state.ss);
    if state.cr0.contains(Cr0::PE) {
        // Without "unrestricted guest" these are checked too, and KVM emulates what is refused.
        if ss.selector & 3 != cs.selector & 3 {
            findings.add(Rule::StackRequestedPrivilege, Register::Ss, "selector", ss.selector.into());
        }
        if u16::from(ss.dpl & 3) != ss.selector & 3 {
            findings.add(Rule::StackPrivilege, Register::Ss, "DPL", ss.dpl.into());
        }
    }
    if !is_loaded(Register::Ss, ss, findings) {
        return;
    }
    match ss.kind {
        SegmentKind::Data { writable: true, accessed: true, .. } => {}
        SegmentKind::Data { writable: true, .. } => {
            findings.add(Rule::NotAccessed, Register::Ss, "type", ss.kind.type_bits().into());
        }
        kind => findings.add(Rule::StackType, Register::Ss, "type", kind.type_bits().into()),
    }
    granularity(Register::Ss, ss, findings);
    findings.clear(Rule::BaseUpper, Register::Ss, "base", upper(ss.base));
}

fn data_segment(state: &X86State, register: Register, segment: &Segment, findings: &mut Findings) {
    let own_base = matches!(register, Register::Fs | Register::Gs);
    if own_base {
        // Also of an unusable one: in 64-bit mode the base is an MSR of its own.
        findings.canonical(Rule::BaseNotCanonical, register, segment.base);
    }
    if !is_loaded(register, segment, findings) {
        return;
    }
    let bits = segment.kind.type_bits().into();
    match segment.kind {
        SegmentKind::Data { accessed: true, .. }
        | SegmentKind::Code { readable: true, accessed: true, .. } => {}
        SegmentKind::Data { .. } | SegmentKind::Code { readable: true, .. } => {
            findings.add(Rule::NotAccessed, register, "type", bits);
        }
        _ => findings.add(Rule::DataType, register, "type", bits),
    }
    let conforming = matches!(segment.kind, SegmentKind::Code { conforming: true, .. });
    if state.cr0.contains(Cr0::PE) && !conforming && u16::from(segment.dpl & 3) < segment.selector & 3 {
        findings.add(Rule::DataPrivilege, register, "DPL", segment.dpl.into());
    }
    granularity(register, segment, findings);
    if !own_base {
        findings.clear(Rule::BaseUpper, register, "base", upper(segment.base));
    }
}

fn task(state: &X86State, findings: &mut Findings) {
    let tr = &state.tr;
    if tr.unusable || !tr.present {
        findings.add(Rule::TaskUnusable, Register::Tr, "P", 0);
    }
    let bits = u64::from(tr.kind.type_bits());
    // System(3) and System(1) are the 16-bit TSS, busy and not. SDM 3A 3.5, table 3-2.
    match tr.kind {
        SegmentKind::Tss { busy: true } => {}
        SegmentKind::Tss { busy: false } => findings.add(Rule::TaskNotBusy, Register::Tr, "type", bits),
        SegmentKind::System(3) if !is_long(state) => {}
        // An empty register is named once.
        _ if tr.unusable => {}
        _ => findings.add(Rule::TaskType, Register::Tr, "type", bits),
    }
    granularity(Register::Tr, tr, findings);
    findings.canonical(Rule::BaseNotCanonical, Register::Tr, tr.base);
    findings.clear(Rule::SystemSelector, Register::Tr, "selector", (tr.selector & TI).into());
}

fn ldt(ldt: &Segment, findings: &mut Findings) {
    if !is_loaded(Register::Ldtr, ldt, findings) {
        return;
    }
    if ldt.kind != SegmentKind::Ldt {
        findings.add(Rule::LdtType, Register::Ldtr, "type", ldt.kind.type_bits().into());
    }
    granularity(Register::Ldtr, ldt, findings);
    findings.canonical(Rule::BaseNotCanonical, Register::Ldtr, ldt.base);
    findings.clear(Rule::SystemSelector, Register::Ldtr, "selector", (ldt.selector & TI).into());
}

/// Whether the register holds something that is to be checked. What is not present holds nothing, but should say so.
fn is_loaded(register: Register, segment: &Segment, findings: &mut Findings) -> bool {
    if !segment.unusable && !segment.present {
        findings.add(Rule::NotPresent, register, "P", 0);
    }
    !segment.unusable && segment.present
}

fn granularity(register: Register, segment: &Segment, findings: &mut Findings) {
    let fits = if segment.granular { segment.limit & 0xfff == 0xfff } else { segment.limit >> 20 == 0 };
    if !fits {
        findings.add(Rule::LimitGranularity, register, "limit", segment.limit.into());
    }
}

fn upper(base: u64) -> u64 {
    base & 0xffff_ffff << 32
}
