//! CR0, CR3, CR4 and EFER. SDM 3C "Checks on Guest Control Registers, Debug Registers, and MSRs"; APM 2 15.5.1.

use super::{Findings, LAM_SUP, Register, Rule, Verdict, is_long};
use crate::x86_64::{
    flags::{Cr0, Cr4, Efer},
    state::X86State,
};

/// The bits of CR0 that mean something. SDM 3A 2.5, figure 2-7.
const CR0_KNOWN: Cr0 = Cr0::PE
    .union(Cr0::MP)
    .union(Cr0::EM)
    .union(Cr0::TS)
    .union(Cr0::ET)
    .union(Cr0::NE)
    .union(Cr0::WP)
    .union(Cr0::AM)
    .union(Cr0::NW)
    .union(Cr0::CD)
    .union(Cr0::PG);
/// Linear address masking for user addresses, of 57 and of 48 bits. SDM 3A 5.5.2, table 5-12.
const CR3_LAM: u64 = 1 << 61 | 1 << 62;
const UPPER: u64 = 0xffff_ffff << 32;

pub(super) fn check(state: &X86State, findings: &mut Findings) {
    cr0(state.cr0, findings);
    long_mode(state, findings);
    cr3(state, findings);
    cr4(state, findings);
    let unknown = state.efer.difference(findings.limits.efer);
    findings.clear(Rule::EferReserved, Register::Efer, "", unknown.bits());
}

fn cr0(cr0: Cr0, findings: &mut Findings) {
    findings.clear(Rule::Cr0Upper, Register::Cr0, "", cr0.bits() & UPPER);
    let unknown = cr0.difference(CR0_KNOWN).bits() & !UPPER;
    findings.clear(Rule::Cr0Reserved, Register::Cr0, "", unknown);
    if cr0.contains(Cr0::NW) && !cr0.contains(Cr0::CD) {
        findings.add(Rule::NotWriteThroughWithCache, Register::Cr0, "NW", 1);
    }
    if cr0.contains(Cr0::PG) && !cr0.contains(Cr0::PE) {
        findings.add(Rule::PagingWithoutProtection, Register::Cr0, "PG", 1);
    }
}

/// LMA is no choice but follows from LME and PG, and wants PAE.
fn long_mode(state: &X86State, findings: &mut Findings) {
    let (long, active) = (is_long(state), state.efer.contains(Efer::LMA));
    if long && !state.cr4.contains(Cr4::PAE) {
        findings.add(Rule::LongModeWithoutPae, Register::Cr4, "PAE", 0);
    }
    if long && !active {
        findings.add(Rule::LongModeNotActive, Register::Efer, "LMA", 0);
    }
    if active && !long {
        findings.add(Rule::LongModeActiveAlone, Register::Efer, "LMA", 1);
    }
}

fn cr3(state: &X86State, findings: &mut Findings) {
    let lam = if findings.limits.cr4.contains(LAM_SUP) { CR3_LAM } else { 0 };
    let too_wide = state.cr3 & findings.limits.beyond_physical() & !lam;
    findings.clear(Rule::Cr3Width, Register::Cr3, "", too_wide);
    if is_long(state) {
        return;
    }
    // KVM looks at CR3 in long mode only; VMX always does.
    for violation in findings.violations.iter_mut().filter(|violation| violation.rule == Rule::Cr3Width) {
        violation.verdict = Verdict::FailsEntry;
    }
    if state.cr0.contains(Cr0::PG) && too_wide == 0 {
        findings.clear(Rule::Cr3Upper, Register::Cr3, "", state.cr3 & UPPER);
    }
}

fn cr4(state: &X86State, findings: &mut Findings) {
    let unknown = state.cr4.difference(findings.limits.cr4);
    findings.clear(Rule::Cr4Reserved, Register::Cr4, "", unknown.bits());
    if state.cr4.contains(Cr4::PCIDE) && !is_long(state) {
        findings.add(Rule::PcidOutsideLongMode, Register::Cr4, "PCIDE", 1);
    }
    if state.cr4.contains(Cr4::CET) && !state.cr0.contains(Cr0::WP) {
        findings.add(Rule::CetWithoutWriteProtect, Register::Cr0, "WP", 0);
    }
}
