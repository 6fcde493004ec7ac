//! Registers that KVM leaves in the shared page beside an exit, without a call of their own.

use kvm_bindings::{kvm_regs, kvm_sregs};
use strata_cpu::{ApplyTo as _, RFlags, Registers, X86State};

/// Which registers to have with every exit (api.rst, `KVM_CAP_SYNC_REGS`). The kernel copies them each time, so more of
/// them make every exit dearer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sync {
    /// None.
    #[default]
    Nothing,
    /// The general-purpose registers, RIP and RFLAGS.
    General,
    /// Those, and segments, tables and control registers: a whole [`X86State`].
    All,
}

/// What the kernel left of a vCPU's registers beside an exit: what was asked for with [`Vcpu::sync`](super::Vcpu::sync), if it can.
#[derive(Debug, Clone, Copy)]
pub struct Synced<'a> {
    general: Option<&'a Registers>,
    system: Option<&'a kvm_sregs>,
}

impl<'a> Synced<'a> {
    /// No registers.
    pub const NONE: Self = Self { general: None, system: None };

    #[inline]
    pub(crate) fn new(general: Option<&'a Registers>, system: Option<&'a kvm_sregs>) -> Self {
        Self { general, system }
    }

    /// The general-purpose registers as they were found, valid or not: see [`registers`](Self::registers).
    #[inline]
    pub(crate) fn found(&self) -> Option<&'a Registers> {
        self.general
    }

    /// The general-purpose registers; a kernel before 4.17 gives none: it ignores the request and leaves zeroes, and bit 1
    /// of RFLAGS is never zero. RIP names the instruction, or the one behind it, as KVM left it; of a read, the
    /// register that will take the answer is still what it was.
    #[inline]
    pub fn registers(&self) -> Option<&'a Registers> {
        self.general.filter(|registers| are_valid(registers))
    }

    /// The whole state; only with [`Sync::All`].
    pub fn state(&self) -> Option<X86State> {
        let mut regs = kvm_regs::default();
        self.registers()?.apply_to(&mut regs);
        Some(X86State::from_kvm(&regs, self.system?))
    }
}

/// Whether a kernel has left these registers.
#[inline]
pub(super) fn are_valid(registers: &Registers) -> bool {
    registers.rflags.contains(RFlags::ALWAYS_ONE)
}
