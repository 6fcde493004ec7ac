//! RIP, RFLAGS and the two table registers. SDM 3C "Checks on Guest RIP, RFLAGS, and SSP", "Checks on Guest
//! Descriptor-Table Registers".

use super::{Findings, Register, Rule, is_64_bit, is_canonical, is_long};
use crate::x86_64::{
    flags::{Cr0, Cr4, RFlags},
    state::X86State,
};

/// The bits of RFLAGS that are always 0. SDM 1 3.4.3, figure 3-8.
const RFLAGS_RESERVED: u64 = !0x3f_ffff | 1 << 15 | 1 << 5 | 1 << 3;

pub(super) fn check(state: &X86State, findings: &mut Findings) {
    rflags(state, findings);
    rip(state, findings);
    findings.canonical(Rule::TableBaseNotCanonical, Register::Gdtr, state.gdt.base);
    findings.canonical(Rule::TableBaseNotCanonical, Register::Idtr, state.idt.base);
}

fn rflags(state: &X86State, findings: &mut Findings) {
    let rflags = state.regs.rflags;
    findings.clear(Rule::RflagsReserved, Register::Rflags, "", rflags.bits() & RFLAGS_RESERVED);
    if !rflags.contains(RFlags::ALWAYS_ONE) {
        findings.add(Rule::RflagsFixed, Register::Rflags, "", rflags.bits());
    }
    if rflags.contains(RFlags::VM) && (is_long(state) || !state.cr0.contains(Cr0::PE)) {
        findings.add(Rule::Virtual8086OutOfPlace, Register::Rflags, "VM", 1);
    }
}

fn rip(state: &X86State, findings: &mut Findings) {
    let rip = state.regs.rip;
    if is_64_bit(state) {
        // VMX compares with the widest address that the processor has; the first fetch then with what CR4.LA57 says.
        let bits = if state.cr4.contains(Cr4::LA57) { 57 } else { 48 };
        if !is_canonical(rip, bits) {
            findings.add(Rule::RipNotCanonical, Register::Rip, "", rip);
        }
    } else if rip > u64::from(u32::MAX) {
        findings.add(Rule::RipUpper, Register::Rip, "", rip);
    } else if rip > u64::from(state.cs.limit) {
        findings.add(Rule::RipBeyondLimit, Register::Rip, "", rip);
    }
}
