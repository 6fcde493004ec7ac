//! #UD and #NM: instructions that do not exist, or that are turned off.

use std::fmt;

use iced_x86::{CpuidFeature, EncodingKind, Instruction, Mnemonic, Register, UsedRegister};
use strata_cpu::{Cr0, Cr4, Efer, Exception};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::fetch::LONGEST;
use super::step::Step;
use super::{Fault, Verdict};

/// Why an instruction is none, or cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UndefinedError {
    /// `ud0`, `ud1`, `ud2`: made to raise #UD.
    #[error("the instruction is {0}, which raises #UD by design")]
    Deliberate(&'static str),
    /// No instruction has this encoding.
    #[error("{bytes} is no instruction in this mode", bytes = Hex(.0))]
    InvalidHere([u8; 4]),
    /// Too many prefixes.
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    /// CR4.OSFXSR is clear. SDM 3A 2.5; APM 2 3.1.3.
    #[error("it is an SSE instruction, and CR4.OSFXSR is clear")]
    NoOsfxsr,
    /// CR4.OSXSAVE is clear.
    #[error("it needs XSAVE (AVX and newer), and CR4.OSXSAVE is clear")]
    NoOsxsave,
    /// CR0.EM is set. SDM 3A 2.5, table 2-2.
    #[error("it uses the FPU or SSE, and CR0.EM is set")]
    Emulated,
    /// CR0.TS is set. SDM 3A 2.5.
    #[error("it uses the FPU or SSE, and CR0.TS is set")]
    TaskSwitched,
    /// CR4.FSGSBASE is clear.
    #[error("CR4.FSGSBASE is clear")]
    NoFsgsbase,
    /// EFER.SCE is clear.
    #[error("EFER.SCE is clear")]
    NoSyscall,
    /// EFER.SVME is clear.
    #[error("it is an instruction of SVM, and EFER.SVME is clear")]
    NoSvm,
    /// CR4.VMXE is clear.
    #[error("it is an instruction of VMX, and CR4.VMXE is clear")]
    NoVmx,
    /// Not in real mode.
    #[error("it exists in protected mode only, and CR0.PE is clear")]
    RealMode,
    /// DR4 and DR5 with CR4.DE.
    #[error("there is no DR{0} while CR4.DE is set")]
    NoDebugRegister(u32),
}

impl UndefinedError {
    pub(super) fn invalid(bytes: &[u8]) -> Self {
        let mut first = [0; 4];
        first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self::InvalidHere(first)
    }
}

struct Hex<'a>(&'a [u8; 4]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x} "))?;
        f.write_str("..")
    }
}

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let undefined = [deliberate, by_mode, by_enable, by_register];
    if let Some(why) = undefined.iter().find_map(|rule| rule(&step.instruction, step.state)) {
        return Err(Fault::new(Exception::UD, why).into());
    }
    floating(step)
}

fn deliberate(instruction: &Instruction, _: &strata_cpu::X86State) -> Option<UndefinedError> {
    Some(UndefinedError::Deliberate(match instruction.mnemonic() {
        Mnemonic::Ud0 => "ud0",
        Mnemonic::Ud1 => "ud1",
        Mnemonic::Ud2 => "ud2",
        _ => return None,
    }))
}

/// SDM 2: each instruction's "Real-Address Mode Exceptions".
fn by_mode(instruction: &Instruction, state: &strata_cpu::X86State) -> Option<UndefinedError> {
    use Mnemonic::{Arpl, Lar, Lldt, Lsl, Ltr, Sldt, Str, Verr, Verw};
    let protected_only =
        matches!(instruction.mnemonic(), Arpl | Lar | Lldt | Lsl | Ltr | Sldt | Str | Verr | Verw);
    let vex = matches!(instruction.encoding(), EncodingKind::VEX | EncodingKind::EVEX);
    let real = !state.cr0.contains(Cr0::PE);
    (real && (protected_only || vex)).then_some(UndefinedError::RealMode)
}

/// Instructions with a switch of their own.
fn by_enable(instruction: &Instruction, state: &strata_cpu::X86State) -> Option<UndefinedError> {
    use Mnemonic as M;
    let (cr4, efer) = (state.cr4, state.efer);
    match instruction.mnemonic() {
        M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => {
            (!cr4.contains(Cr4::FSGSBASE)).then_some(UndefinedError::NoFsgsbase)
        }
        M::Syscall | M::Sysret | M::Sysretq => {
            (!efer.contains(Efer::SCE)).then_some(UndefinedError::NoSyscall)
        }
        M::Vmrun | M::Vmload | M::Vmsave | M::Clgi | M::Invlpga => {
            (!efer.contains(Efer::SVME)).then_some(UndefinedError::NoSvm)
        }
        M::Vmxon | M::Vmxoff | M::Vmptrld | M::Vmptrst | M::Vmclear | M::Vmlaunch | M::Vmresume => {
            (!cr4.contains(Cr4::VMXE)).then_some(UndefinedError::NoVmx)
        }
        M::Xgetbv
        | M::Xsetbv
        | M::Xsave
        | M::Xsave64
        | M::Xsaveopt
        | M::Xsaveopt64
        | M::Xrstor
        | M::Xrstor64
        | M::Xsavec
        | M::Xsavec64
        | M::Xsaves
        | M::Xsaves64
        | M::Xrstors
        | M::Xrstors64 => (!cr4.contains(Cr4::OSXSAVE)).then_some(UndefinedError::NoOsxsave),
        _ => None,
    }
}

/// SDM 2B "MOV - Move to/from Debug Registers". Control registers that there are not, the decoder refuses.
fn by_register(instruction: &Instruction, state: &strata_cpu::X86State) -> Option<UndefinedError> {
    let registers = [instruction.op0_register(), instruction.op1_register()];
    let alias = registers.into_iter().find(|register| matches!(register, Register::DR4 | Register::DR5))?;
    let number = u32::try_from(alias.number()).ok()?;
    state.cr4.contains(Cr4::DE).then_some(UndefinedError::NoDebugRegister(number))
}

/// SDM 3A table 2-2 "Action Taken By x87 FPU Instructions", 14.1 "Providing Operating System Support for SSE"; APM 2 11.3.
fn floating<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let (cr0, cr4) = (step.state.cr0, step.state.cr4);
    let ud = |why| Err(Fault::new(Exception::UD, why).into());
    let nm = |why| Err(Fault::new(Exception::NM, why).into());
    let (em, ts) = (cr0.contains(Cr0::EM), cr0.contains(Cr0::TS));
    match Unit::of(step) {
        Unit::Wait if ts && cr0.contains(Cr0::MP) => nm(UndefinedError::TaskSwitched),
        Unit::None | Unit::Wait => Ok(()),
        Unit::Fpu if em => nm(UndefinedError::Emulated),
        Unit::Mmx | Unit::Sse if em => ud(UndefinedError::Emulated),
        Unit::Sse if !cr4.contains(Cr4::OSFXSR) => ud(UndefinedError::NoOsfxsr),
        Unit::Avx if !cr4.contains(Cr4::OSXSAVE) => ud(UndefinedError::NoOsxsave),
        _ if ts => nm(UndefinedError::TaskSwitched),
        _ => Ok(()),
    }
}

/// Whose registers an instruction uses.
enum Unit {
    None,
    /// `fwait`
    Wait,
    Fpu,
    Mmx,
    Sse,
    Avx,
}

impl Unit {
    fn of<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Self {
        let instruction = &step.instruction;
        let uses = |test: fn(Register) -> bool| {
            let explicit = (0..instruction.op_count()).map(|number| instruction.op_register(number));
            explicit.chain(step.info.used_registers().iter().map(UsedRegister::register)).any(test)
        };
        let vector = uses(|register| register.is_vector_register() || register.is_k());
        match instruction.mnemonic() {
            Mnemonic::Wait => return Self::Wait,
            Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr => return Self::Sse,
            // These save and restore registers rather than use them; their own rules are not looked into.
            Mnemonic::Fxsave | Mnemonic::Fxsave64 | Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => {
                return Self::None;
            }
            _ => {}
        }
        if instruction.is_save_restore_instruction() {
            return Self::None;
        }
        match instruction.encoding() {
            EncodingKind::VEX | EncodingKind::EVEX if vector => Self::Avx,
            EncodingKind::Legacy if vector => Self::Sse,
            EncodingKind::Legacy if uses(Register::is_mm) || instruction.mnemonic() == Mnemonic::Emms => {
                Self::Mmx
            }
            EncodingKind::Legacy
                if [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU387]
                    .into_iter()
                    .any(|feature| step.has(feature)) =>
            {
                Self::Fpu
            }
            _ => Self::None,
        }
    }
}
