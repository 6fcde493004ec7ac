//! `int n`, `int3`, `int1` and `into`: the gate of a software interrupt.

use iced_x86::Mnemonic;
use strata_cpu::{Efer, Exception, RFlags};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::selector::implicit;
use super::step::Step;
use super::{Fault, Verdict};

/// Why a software interrupt does not get through. SDM 3A 7.12; 2A INT n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GateFault {
    /// The table is not that long.
    #[error("IDT entry {vector} lies beyond the IDT's limit {limit:#x}")]
    Beyond {
        /// The vector.
        vector: u8,
        /// The table's last byte.
        limit: u16,
    },
    /// No interrupt, trap or task gate.
    #[error("IDT entry {vector} at {at:#x} is no interrupt or trap gate (type {kind:#x})")]
    Kind {
        /// The vector.
        vector: u8,
        /// The entry's linear address.
        at: u64,
        /// Its five bits of type.
        kind: u8,
    },
    /// P is clear.
    #[error("IDT entry {vector} at {at:#x} is not present (P=0)")]
    NotPresent {
        /// The vector.
        vector: u8,
        /// The entry's linear address.
        at: u64,
    },
    /// The gate is not for this ring.
    #[error(
        "IDT entry {vector} at {at:#x} is for rings up to its DPL {dpl}, and the guest was in ring {ring}"
    )]
    Ring {
        /// The vector.
        vector: u8,
        /// The entry's linear address.
        at: u64,
        /// The gate's DPL.
        dpl: u8,
        /// The current ring.
        ring: u8,
    },
}

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let vector = match step.instruction.mnemonic() {
        Mnemonic::Int => step.instruction.immediate8(),
        Mnemonic::Int1 => 1,
        Mnemonic::Int3 => 3,
        Mnemonic::Into if step.state.regs.rflags.contains(RFlags::OF) => 4,
        _ => return Ok(()),
    };
    let state = step.state;
    let long = state.efer.contains(Efer::LMA);
    let entry_bytes: u32 = match (step.is_protected(), long) {
        (false, _) => 4,
        (true, false) => 8,
        (true, true) => 16,
    };
    // The error code of a fault that an IDT entry is to blame for. SDM 3A 7.13.
    let code = u32::from(vector) << 3 | 2;
    let offset = u32::from(vector) * entry_bytes;
    let limit = state.idt.limit;
    if offset + entry_bytes - 1 > limit.into() {
        return Err(Fault::new(step.gp(code), GateFault::Beyond { vector, limit }).into());
    }
    if !step.is_protected() {
        return Ok(());
    }
    let at = state.idt.base.wrapping_add(offset.into());
    let at = if long { at } else { at & 0xffff_ffff };
    let low = implicit(step, at, 8)?;
    let kind = (low >> 40 & 0x1f) as u8;
    let dpl = (low >> 45 & 3) as u8;
    // Task gate, and 16-bit and 32-bit interrupt and trap gates; in long mode the latter two are 64-bit.
    let is_gate = if long { matches!(kind, 14 | 15) } else { matches!(kind, 5 | 6 | 7 | 14 | 15) };
    if !is_gate {
        return Err(Fault::new(step.gp(code), GateFault::Kind { vector, at, kind }).into());
    }
    // INT1 is an event of the processor's, not of the program's: no check. SDM 2A INT n.
    if dpl < step.cpl && step.instruction.mnemonic() != Mnemonic::Int1 {
        let why = GateFault::Ring { vector, at, dpl, ring: step.cpl };
        return Err(Fault::new(step.gp(code), why).into());
    }
    if low >> 47 & 1 == 0 {
        let exception = Exception::with_code(11, code);
        return Err(Fault::new(exception, GateFault::NotPresent { vector, at }).into());
    }
    Ok(())
}
