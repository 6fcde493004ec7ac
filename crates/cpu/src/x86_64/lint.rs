//! Entry states that a processor refuses, and the rule of the manual that each breaks.
//!
//! Hardware checks the whole state of a guest when it is entered, and says only that something is wrong; KVM's answer is
//! an error number. [`lint`] checks the same rules beforehand and names them. [`lint_memory`] looks at what the state
//! points to: a state can be right and the guest die all the same, because there is nothing at RIP.
//!
//! The rules are those of SDM 3C, "Checks on the Guest State Area", and APM 2 15.5.1 "Canonicalization and Consistency
//! Checks". Hosts differ: SVM checks little, VMX nearly everything, and KVM refuses some states itself and repairs others
//! before the processor sees them. [`Verdict`] says which of these is to be expected.
//!
//! Not checked is what an [`X86State`] does not hold: debug registers, MSRs, pending events, shadow stacks.

mod control;
mod flow;
mod memory;
mod rule;
mod segments;

use std::fmt;

use super::{
    cpuid::Cpuid,
    flags::{Cr0, Cr4, Efer, RFlags},
    state::X86State,
};

pub use memory::{MemoryFinding, Pointer, Trouble, lint_memory};
pub use rule::Rule;

/// What becomes of a state that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// KVM takes it, and the guest is entered: KVM or the processor repairs the state or overlooks what is wrong.
    Tolerated,
    /// KVM takes it, and entering the guest fails: always on VMX, or on SVM, or both. Hosts that do not check this rule, or
    /// emulate the first instructions, may run the guest all the same.
    FailsEntry,
    /// KVM does not take it: `EINVAL`. Linux before 6.5 took some of these, and the entry failed.
    Refused,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tolerated => "KVM lets it pass",
            Self::FailsEntry => "processors refuse to enter the guest",
            Self::Refused => "KVM refuses the state",
        })
    }
}

/// Which register it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the register of that name")]
pub enum Register {
    Cr0,
    Cr3,
    Cr4,
    Efer,
    Rip,
    Rflags,
    Cs,
    Ss,
    Ds,
    Es,
    Fs,
    Gs,
    Tr,
    Ldtr,
    Gdtr,
    Idtr,
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cr0 => "CR0",
            Self::Cr3 => "CR3",
            Self::Cr4 => "CR4",
            Self::Efer => "EFER",
            Self::Rip => "RIP",
            Self::Rflags => "RFLAGS",
            Self::Cs => "CS",
            Self::Ss => "SS",
            Self::Ds => "DS",
            Self::Es => "ES",
            Self::Fs => "FS",
            Self::Gs => "GS",
            Self::Tr => "TR",
            Self::Ldtr => "LDTR",
            Self::Gdtr => "GDTR",
            Self::Idtr => "IDTR",
        })
    }
}

/// A rule that a state breaks. `Display` is one sentence: what was found, what must be, where that is written, and what
/// becomes of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The register that breaks it.
    pub register: Register,
    /// The part of the register; empty if it is the whole of it.
    pub field: &'static str,
    /// What was found there. Of a register checked for bits that must be clear: those of them that are set.
    pub found: u64,
    /// What to expect.
    pub verdict: Verdict,
}

impl Violation {
    /// Whether a guest with this state will not run, at least on some hosts.
    pub fn is_fatal(&self) -> bool {
        self.verdict > Verdict::Tolerated
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, register, field, found, verdict } = self;
        let dot = if field.is_empty() { "" } else { "." };
        let (must, manual) = (rule.must(), rule.manual());
        write!(f, "{register}{dot}{field} is {found:#x}, but {must} ({manual}); {verdict}")
    }
}

/// What the guest's processor can do, as far as a state must keep to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Width of a physical address in bits, 32 to 52; other widths are clamped.
    pub phys_bits: u8,
    /// The bits of CR4 that it has.
    pub cr4: Cr4,
    /// The bits of EFER that it has.
    pub efer: Efer,
}

/// Linear Address Masking for supervisor addresses, with two more bits of CR3 for user addresses. SDM 3A 2.5, CR4 bit 28.
const LAM_SUP: Cr4 = Cr4::from_bits_retain(1 << 28);
/// Flexible return and event delivery. SDM 3A 2.5, CR4 bit 32.
const FRED: Cr4 = Cr4::from_bits_retain(1 << 32);
/// MCOMMIT, INTWB, upper address ignore, automatic IBRS (AMD). APM 2 3.1.7.
const EFER_AMD: Efer = Efer::from_bits_retain(1 << 17 | 1 << 18 | 1 << 20 | 1 << 21);

impl Limits {
    /// A processor with everything that the manuals define.
    pub const ALL: Self = Self {
        phys_bits: 52,
        cr4: Cr4::from_bits_retain(0x3ff_7fff).union(LAM_SUP).union(FRED),
        efer: Efer::SCE
            .union(Efer::LME)
            .union(Efer::LMA)
            .union(Efer::NXE)
            .union(Efer::SVME)
            .union(Efer::LMSLE)
            .union(Efer::FFXSR)
            .union(Efer::TCE)
            .union(EFER_AMD),
    };

    /// What a guest with this CPUID has. The features of before 2003 are taken for granted, as KVM does.
    ///
    /// SDM 2A "CPUID"; APM 3, appendix E.
    pub fn of(cpuid: &Cpuid) -> Self {
        let (basic, seven) = (cpuid.get(1, 0), cpuid.get(7, 0));
        let (extended, sizes) = (cpuid.get(0x8000_0001, 0), cpuid.get(0x8000_0008, 0));
        let has = |register: u32, bit: u32| register >> bit & 1 != 0;
        let mut limits = Self { phys_bits: 36, ..Self::ALL };
        if sizes.eax & 0xff != 0 {
            limits.phys_bits = sizes.eax.to_le_bytes()[0];
        }
        for (bits, there) in [
            (Cr4::VMXE, has(basic.ecx, 5)),
            (Cr4::SMXE, has(basic.ecx, 6)),
            (Cr4::PCIDE, has(basic.ecx, 17)),
            (Cr4::OSXSAVE, has(basic.ecx, 26)),
            (Cr4::FSGSBASE, has(seven.ebx, 0)),
            (Cr4::SMEP, has(seven.ebx, 7)),
            (Cr4::SMAP, has(seven.ebx, 20)),
            (Cr4::UMIP, has(seven.ecx, 2)),
            (Cr4::PKE, has(seven.ecx, 3)),
            (Cr4::LA57, has(seven.ecx, 16)),
            (Cr4::KL, has(seven.ecx, 23)),
            (Cr4::PKS, has(seven.ecx, 31)),
            (Cr4::UINTR, has(seven.edx, 5)),
            (Cr4::CET, has(seven.ecx, 7) || has(seven.edx, 20)),
            (FRED, has(cpuid.get(7, 1).eax, 17)),
            (LAM_SUP, has(cpuid.get(7, 1).eax, 26)),
        ] {
            limits.cr4.set(bits, there);
        }
        for (bits, there) in [
            (Efer::SCE, has(extended.edx, 11)),
            (Efer::NXE, has(extended.edx, 20)),
            (Efer::FFXSR, has(extended.edx, 25)),
            (Efer::LME | Efer::LMA, has(extended.edx, 29)),
            (Efer::SVME, has(extended.ecx, 2)),
            (Efer::LMSLE, has(extended.ecx, 2) && !has(sizes.ebx, 20)),
            (Efer::TCE, has(extended.ecx, 17)),
        ] {
            limits.efer.set(bits, there);
        }
        limits
    }

    /// The bits that an address has no room for.
    fn beyond_physical(&self) -> u64 {
        !((1 << self.phys_bits.clamp(32, 52)) - 1)
    }

    /// Width of a linear address that the processor can do at most. SDM 3A 5.1.1; APM 2 5.3.
    fn linear_bits(&self) -> u32 {
        if self.cr4.contains(Cr4::LA57) { 57 } else { 48 }
    }
}

/// Names every rule that `state` breaks, on a processor that can do what `limits` says. Nothing is named twice for the
/// same field; where one mistake breaks several rules, each is named.
///
/// ```
/// use strata_cpu::lint::{Limits, Rule, Verdict, lint};
/// use strata_cpu::{Cr4, X86State};
///
/// let mut state = X86State::long(0x10_0000, 0x9000, 0x500);
/// assert!(lint(&state, &Limits::ALL).is_empty());
/// state.cr4.remove(Cr4::PAE);
/// let violations = lint(&state, &Limits::ALL);
/// assert_eq!((violations[0].rule, violations[0].verdict), (Rule::LongModeWithoutPae, Verdict::Refused));
/// println!("{}", violations[0]); // CR4.PAE is 0x0, but long mode needs it: set CR4.PAE (SDM ..
/// ```
pub fn lint(state: &X86State, limits: &Limits) -> Vec<Violation> {
    let mut findings = Findings { limits: *limits, violations: Vec::new() };
    control::check(state, &mut findings);
    flow::check(state, &mut findings);
    segments::check(state, &mut findings);
    findings.violations
}

/// What the checks write to.
struct Findings {
    limits: Limits,
    violations: Vec<Violation>,
}

impl Findings {
    /// `found` breaks `rule`, with the verdict that is usual for it.
    fn add(&mut self, rule: Rule, register: Register, field: &'static str, found: u64) {
        let violation = Violation { rule, register, field, found, verdict: rule.verdict() };
        self.violations.push(violation);
    }

    /// The bits `found`, if there are any, must not be.
    fn clear(&mut self, rule: Rule, register: Register, field: &'static str, found: u64) {
        if found != 0 {
            self.add(rule, register, field, found);
        }
    }

    /// `address` has to be canonical for a processor of these limits.
    fn canonical(&mut self, rule: Rule, register: Register, address: u64) {
        if !is_canonical(address, self.limits.linear_bits()) {
            self.add(rule, register, "base", address);
        }
    }
}

/// Long mode as KVM and the processor decide it for an entry: not LMA, which must follow.
fn is_long(state: &X86State) -> bool {
    state.efer.contains(Efer::LME) && state.cr0.contains(Cr0::PG)
}

/// The first instruction is 64-bit code.
fn is_64_bit(state: &X86State) -> bool {
    is_long(state) && state.cs.long
}

/// Virtual-8086 mode, where it can be.
fn is_v86(state: &X86State) -> bool {
    state.regs.rflags.contains(RFlags::VM) && state.cr0.contains(Cr0::PE) && !is_long(state)
}

/// Bits from `bits - 1` on are all the same. SDM 1 3.3.7.1; APM 2 1.1.3.
fn is_canonical(address: u64, bits: u32) -> bool {
    let shift = 64 - bits;
    (address << shift).cast_signed() >> shift == address.cast_signed()
}

#[cfg(test)]
#[path = "lint/lint_test.rs"]
mod tests;
