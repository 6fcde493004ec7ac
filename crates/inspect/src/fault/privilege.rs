//! #GP for what this ring may not do.

use iced_x86::{Mnemonic, OpKind};
use strata_cpu::{Cr4, Exception, RFlags, SegmentKind};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::selector::implicit;
use super::step::Step;
use super::{Fault, Unknown, Verdict};

/// Why a ring may not execute an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// A privileged instruction. SDM 3A 6.9 "Privileged Instructions"; APM 3.
    #[error("it is for ring 0 only, and the guest was in ring {ring}")]
    Ring0 {
        /// The current ring.
        ring: u8,
    },
    /// CLI or STI above IOPL.
    #[error("it is for rings up to IOPL {iopl}, and the guest was in ring {ring}")]
    Iopl {
        /// The current ring.
        ring: u8,
        /// RFLAGS.IOPL.
        iopl: u8,
    },
    /// A port, above IOPL. SDM 1 20.5 "Protected-Mode I/O".
    #[error(
        "ring {ring} is above IOPL {iopl}, and {} port {port:#x}",
        if *.bitmap { "the TSS's I/O bitmap forbids" } else { "the TSS has no I/O bitmap to allow" }
    )]
    Port {
        /// The current ring.
        ring: u8,
        /// RFLAGS.IOPL.
        iopl: u8,
        /// The first port that is refused.
        port: u16,
        /// There is a bitmap, and a bit of it is set; else the bitmap does not reach so far.
        bitmap: bool,
    },
    /// A switch of CR4 keeps ring 3 from it.
    #[error("CR4.{flag} is {}, and the guest was in ring {ring}", if *.set { "set" } else { "clear" })]
    Switch {
        /// The current ring.
        ring: u8,
        /// The flag's name.
        flag: &'static str,
        /// How the flag stands.
        set: bool,
    },
}

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    use Mnemonic as M;
    let ring = step.cpl;
    if ring == 0 {
        return Ok(());
    }
    let refuse = |why| Err(Fault::new(step.gp(0), why).into());
    let iopl = iopl(step);
    match step.instruction.mnemonic() {
        M::In | M::Out | M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd => port(step, iopl),
        // Ring 3 may do it with CR4.PVI, in a way of its own.
        M::Cli | M::Sti if ring > iopl && !step.state.cr4.contains(Cr4::PVI) => {
            refuse(PrivilegeError::Iopl { ring, iopl })
        }
        M::Cli | M::Sti => Ok(()),
        M::Monitor | M::Mwait => Err(Fault::new(Exception::UD, PrivilegeError::Ring0 { ring }).into()),
        M::Rdtsc | M::Rdtscp if step.state.cr4.contains(Cr4::TSD) => {
            refuse(PrivilegeError::Switch { ring, flag: "TSD", set: true })
        }
        M::Rdpmc if !step.state.cr4.contains(Cr4::PCE) => {
            refuse(PrivilegeError::Switch { ring, flag: "PCE", set: false })
        }
        M::Sgdt | M::Sidt | M::Sldt | M::Smsw | M::Str if step.state.cr4.contains(Cr4::UMIP) => {
            refuse(PrivilegeError::Switch { ring, flag: "UMIP", set: true })
        }
        mnemonic if is_ring0(mnemonic) || moves_system_register(step) => {
            refuse(PrivilegeError::Ring0 { ring })
        }
        _ => Ok(()),
    }
}

/// SDM 3A 6.9 "Privileged Instructions"; and MSRs, which are of rings 1 and 2 no more than of 3.
fn is_ring0(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Hlt
            | M::Lgdt
            | M::Lidt
            | M::Lldt
            | M::Ltr
            | M::Lmsw
            | M::Clts
            | M::Invd
            | M::Wbinvd
            | M::Invlpg
            | M::Invpcid
            | M::Rdmsr
            | M::Wrmsr
            | M::Swapgs
            | M::Xsetbv
            | M::Sysret
            | M::Sysretq
            | M::Sysexit
            | M::Sysexitq
    )
}

fn moves_system_register<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> bool {
    let registers = [step.instruction.op0_register(), step.instruction.op1_register()];
    step.instruction.mnemonic() == Mnemonic::Mov
        && registers.iter().any(|register| register.is_cr() || register.is_dr())
}

fn iopl<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> u8 {
    let flags = step.state.regs.rflags;
    u8::from(flags.contains(RFlags::IOPL_LOW)) | u8::from(flags.contains(RFlags::IOPL_HIGH)) << 1
}

/// SDM 1 20.5.2 "I/O Permission Bit Map"; APM 2 12.2.4.
fn port<M: Bytes<GuestAddress>>(step: &Step<'_, M>, iopl: u8) -> Verdict {
    const BITMAP_AT: u64 = 102;
    let ring = step.cpl;
    if ring <= iopl {
        return Ok(());
    }
    let (port, width) = accessed(step).ok_or(Unknown::Operand)?;
    let refuse =
        |port, bitmap| Err(Fault::new(step.gp(0), PrivilegeError::Port { ring, iopl, port, bitmap }).into());
    let tr = &step.state.tr;
    // A 16-bit TSS has no bitmap; TR with a null selector has no segment.
    if tr.unusable || !matches!(tr.kind, SegmentKind::Tss { .. }) || u64::from(tr.limit) < BITMAP_AT + 1 {
        return refuse(port, false);
    }
    let start = implicit(step, tr.base.wrapping_add(BITMAP_AT), 2)?;
    // Two bytes are read always, and both have to be within the segment.
    let byte_at = start + u64::from(port / 8);
    if byte_at + 1 > u64::from(tr.limit) {
        return refuse(port, false);
    }
    let bits = implicit(step, tr.base.wrapping_add(byte_at), 2)?;
    let mask = ((1_u64 << width) - 1) << (port % 8);
    match bits & mask {
        0 => Ok(()),
        set => {
            let first = u16::try_from(set.trailing_zeros()).unwrap_or(0).saturating_sub(port % 8);
            refuse(port.wrapping_add(first), true)
        }
    }
}

/// The port and how many bytes are moved.
fn accessed<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Option<(u16, u16)> {
    use Mnemonic as M;
    let instruction = &step.instruction;
    let dx = || (step.state.regs.rdx & 0xffff) as u16;
    let value = |number: u32| match instruction.op_kind(number) {
        OpKind::Immediate8 => Some(u16::from(instruction.immediate8())),
        OpKind::Register => Some(dx()),
        _ => None,
    };
    let width = |number: u32| u16::try_from(instruction.op_register(number).size()).ok();
    match instruction.mnemonic() {
        M::In => Some((value(1)?, width(0)?)),
        M::Out => Some((value(0)?, width(1)?)),
        M::Insb | M::Outsb => Some((dx(), 1)),
        M::Insw | M::Outsw => Some((dx(), 2)),
        M::Insd | M::Outsd => Some((dx(), 4)),
        _ => None,
    }
}
