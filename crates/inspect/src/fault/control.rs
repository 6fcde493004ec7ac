//! #GP for values that control registers and MSRs do not take.

use iced_x86::{Mnemonic, Register};
use strata_cpu::{Cr0, Cr4, Efer, Exception, Mode, msr};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::step::{Step, is_canonical};
use super::{Fault, Next, Unknown, Verdict};

/// Why a register refuses a value. SDM 3A 2.5, 2.2.1, 5.1.1; APM 2 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Bits that have to be clear.
    #[error("it sets the reserved bits {bits:#x} of {register}")]
    Reserved {
        /// The register.
        register: &'static str,
        /// Those of the value's bits.
        bits: u64,
    },
    /// PAE cannot go while long mode is on.
    #[error("it clears CR4.PAE in long mode")]
    PaeCleared,
    /// LA57 cannot change while long mode is on.
    #[error("it changes CR4.LA57 in long mode")]
    La57Changed,
    /// PCIDs are for long mode.
    #[error("it sets CR4.PCIDE outside long mode")]
    PcideOutsideLongMode,
    /// PCIDs begin with 0.
    #[error("it sets CR4.PCIDE while CR3 is {cr3:#x}, whose low 12 bits have to be 0")]
    PcideWithPcid {
        /// CR3.
        cr3: u64,
    },
    /// CET wants CR0.WP.
    #[error("it would leave CR4.CET set with CR0.WP clear")]
    CetWithoutWp,
    /// Paging wants protection.
    #[error("it sets CR0.PG without CR0.PE")]
    PgWithoutPe,
    /// Not write-through wants the cache off.
    #[error("it sets CR0.NW without CR0.CD")]
    NwWithoutCd,
    /// Long mode wants PAE.
    #[error("it sets CR0.PG with EFER.LME set, and CR4.PAE is clear")]
    PgWithoutPae,
    /// Long mode cannot be entered from a segment that claims to be 64-bit code already.
    #[error("it sets CR0.PG with EFER.LME set, and CS has its L bit set already")]
    PgFromLongSegment,
    /// Paging cannot go in 64-bit mode.
    #[error("it clears CR0.PG in 64-bit mode")]
    PgCleared,
    /// LME cannot change while paging is on.
    #[error("it changes EFER.LME while CR0.PG is set")]
    LmeChanged,
    /// An address for an MSR or for the base of a segment or table.
    #[error("{value:#x} for {register} is not canonical")]
    NonCanonical {
        /// The register.
        register: &'static str,
        /// The value.
        value: u64,
    },
    /// A memory type of the PAT that does not exist. SDM 3A 13.12.2.
    #[error("byte {byte} of {value:#x} is no memory type for IA32_PAT")]
    PatType {
        /// The value.
        value: u64,
        /// Which byte, 0 to 7.
        byte: u32,
    },
    /// An MSR that nobody has heard of.
    #[error("there is probably no MSR {index:#x}")]
    NoMsr {
        /// Its number.
        index: u32,
    },
}

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let regs = &step.state.regs;
    let index = (regs.rcx & 0xffff_ffff) as u32;
    let error = match step.instruction.mnemonic() {
        Mnemonic::Mov => {
            let (to, from) = (step.instruction.op0_register(), step.instruction.op1_register());
            let Some(value) = step.register(from).filter(|_| to.is_cr()) else { return Ok(()) };
            mov_cr(step, to, value)
        }
        Mnemonic::Lgdt | Mnemonic::Lidt => table(step)?,
        Mnemonic::Wrmsr => {
            let value = regs.rax & 0xffff_ffff | regs.rdx << 32;
            wrmsr(step, index, value)
        }
        Mnemonic::Wrfsbase => base(step, "FS's base"),
        Mnemonic::Wrgsbase => base(step, "GS's base"),
        _ => None,
    };
    let unknown =
        matches!(step.instruction.mnemonic(), Mnemonic::Rdmsr | Mnemonic::Wrmsr) && !is_plausible(index);
    match error {
        Some(error) => Err(Fault::new(step.gp(0), error).into()),
        None if unknown => {
            let fault = Fault::new(Exception::gp(0), ControlError::NoMsr { index });
            Err(Box::new(Next::Perhaps(fault)))
        }
        None => Ok(()),
    }
}

fn mov_cr<M: Bytes<GuestAddress>>(step: &Step<'_, M>, to: Register, value: u64) -> Option<ControlError> {
    match to {
        Register::CR0 => cr0(step, Cr0::from_bits_retain(value)),
        Register::CR3 => cr3(step, value),
        Register::CR4 => cr4(step, Cr4::from_bits_retain(value)),
        Register::CR8 => reserved("CR8", value & !0xf),
        _ => None,
    }
}

fn reserved(register: &'static str, bits: u64) -> Option<ControlError> {
    (bits != 0).then_some(ControlError::Reserved { register, bits })
}

/// SDM 3A 2.5, CR0; 5.1.1 and 11.8.5 "Initializing IA-32e Mode"; APM 2 14.6.
fn cr0<M: Bytes<GuestAddress>>(step: &Step<'_, M>, new: Cr0) -> Option<ControlError> {
    let state = step.state;
    let paging_on = new.contains(Cr0::PG) && !state.cr0.contains(Cr0::PG);
    let enters_long = paging_on && state.efer.contains(Efer::LME);
    let rules = [
        (new.contains(Cr0::PG) && !new.contains(Cr0::PE), ControlError::PgWithoutPe),
        (new.contains(Cr0::NW) && !new.contains(Cr0::CD), ControlError::NwWithoutCd),
        (enters_long && !state.cr4.contains(Cr4::PAE), ControlError::PgWithoutPae),
        (enters_long && state.cs.long, ControlError::PgFromLongSegment),
        (step.is_long64() && !new.contains(Cr0::PG), ControlError::PgCleared),
        (state.cr4.contains(Cr4::CET) && !new.contains(Cr0::WP), ControlError::CetWithoutWp),
    ];
    reserved("CR0", new.bits() & !0xffff_ffff)
        .or_else(|| rules.into_iter().find(|(broken, _)| *broken).map(|(_, error)| error))
}

/// SDM 3A 2.5, CR3, 5.5.2. Bits 61 to 63 have meanings of their own (LAM, no flush of a PCID).
fn cr3<M: Bytes<GuestAddress>>(step: &Step<'_, M>, value: u64) -> Option<ControlError> {
    const ALWAYS_RESERVED: u64 = 0x1ff << 52;
    if step.state.mode() == Mode::Long64 { reserved("CR3", value & ALWAYS_RESERVED) } else { None }
}

/// SDM 3A 2.5, CR4. Bits that some processor has are not called reserved here.
fn cr4<M: Bytes<GuestAddress>>(step: &Step<'_, M>, new: Cr4) -> Option<ControlError> {
    /// Bit 32 is FRED.
    const ALWAYS_RESERVED: u64 = !0x1_ffff_ffff | 1 << 15;
    let state = step.state;
    let long = state.efer.contains(Efer::LMA);
    let sets_pcide = new.contains(Cr4::PCIDE) && !state.cr4.contains(Cr4::PCIDE);
    let la57_changes = (new ^ state.cr4).contains(Cr4::LA57);
    let rules = [
        (long && !new.contains(Cr4::PAE), ControlError::PaeCleared),
        (long && la57_changes, ControlError::La57Changed),
        (sets_pcide && !long, ControlError::PcideOutsideLongMode),
        (sets_pcide && state.cr3 & 0xfff != 0, ControlError::PcideWithPcid { cr3: state.cr3 }),
        (new.contains(Cr4::CET) && !state.cr0.contains(Cr0::WP), ControlError::CetWithoutWp),
    ];
    reserved("CR4", new.bits() & ALWAYS_RESERVED)
        .or_else(|| rules.into_iter().find(|(broken, _)| *broken).map(|(_, error)| error))
}

/// SDM 2B WRMSR; SDM 4 table 2-2; APM 2, appendix A.
fn wrmsr<M: Bytes<GuestAddress>>(step: &Step<'_, M>, index: u32, value: u64) -> Option<ControlError> {
    let address = |register| {
        (!is_canonical(step.state, value)).then_some(ControlError::NonCanonical { register, value })
    };
    match index {
        Efer::MSR => efer(step, Efer::from_bits_retain(value)),
        msr::FS_BASE => address("FS_BASE"),
        msr::GS_BASE => address("GS_BASE"),
        msr::KERNEL_GS_BASE => address("KERNEL_GS_BASE"),
        msr::LSTAR => address("LSTAR"),
        msr::CSTAR => address("CSTAR"),
        msr::IA32_PAT => (0..8).find_map(|byte| {
            let kind = value >> (byte * 8) & 0xff;
            (!matches!(kind, 0 | 1 | 4..=7)).then_some(ControlError::PatType { value, byte })
        }),
        _ => None,
    }
}

fn efer<M: Bytes<GuestAddress>>(step: &Step<'_, M>, new: Efer) -> Option<ControlError> {
    /// What some processor has: the named ones, and MCOMMIT, INTWB, UAIE and AIBRSE of newer AMD processors. APM 2 3.1.7.
    const KNOWN: u64 = 0xfd01 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 21;
    let old = step.state.efer;
    let lme_changes = (new ^ old).contains(Efer::LME) && step.state.cr0.contains(Cr0::PG);
    reserved("EFER", new.bits() & !KNOWN).or(lme_changes.then_some(ControlError::LmeChanged))
}

fn base<M: Bytes<GuestAddress>>(step: &Step<'_, M>, register: &'static str) -> Option<ControlError> {
    let value = step.operand(0)?;
    (!is_canonical(step.state, value)).then_some(ControlError::NonCanonical { register, value })
}

/// In 64-bit mode the base has to be canonical. SDM 2A LGDT/LIDT.
fn table<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict<Option<ControlError>> {
    if !step.is_long64() {
        return Ok(None);
    }
    let at = step.address().ok_or(Unknown::Operand)?;
    let value = step.read_number(at.wrapping_add(2), 8).ok_or(Unknown::Operand)?;
    let register = if step.instruction.mnemonic() == Mnemonic::Lgdt { "GDTR" } else { "IDTR" };
    Ok((!is_canonical(step.state, value)).then_some(ControlError::NonCanonical { register, value }))
}

/// The ranges in which processors and hypervisors have MSRs at all. SDM 4 chapter 2; APM 2, appendix A; the kernel's
/// `Documentation/virt/kvm/x86/msr.rst` (from `0x4b56_4d00`); Hyper-V's from `0x4000_0000`.
fn is_plausible(index: u32) -> bool {
    matches!(
        index,
        0..=0x1fff
            | 0x4000_0000..=0x4000_01ff
            | 0x4b56_4d00..=0x4b56_4dff
            | 0xc000_0000..=0xc000_1fff
            | 0xc001_0000..=0xc001_1fff
    )
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
