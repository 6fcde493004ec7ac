//! #DE.

use iced_x86::Mnemonic;
use strata_cpu::Exception;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::step::Step;
use super::{Fault, Unknown, Verdict};

/// Why a division has no result. SDM 3A 7.15, "Interrupt 0".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DivideError {
    /// The divisor is 0.
    #[error("it divides by zero")]
    Zero,
    /// The quotient has more bits than its register.
    #[error("the quotient of {dividend:#x} by {divisor:#x} does not fit into {bits} bits")]
    Overflow {
        /// The dividend, all its bits.
        dividend: u128,
        /// The divisor.
        divisor: u64,
        /// Bits of the quotient's register.
        bits: u32,
    },
}

pub(super) fn check<M: Bytes<GuestAddress>>(step: &Step<'_, M>) -> Verdict {
    let refuse = |why| Err(Fault::new(Exception::DE, why).into());
    let signed = match step.instruction.mnemonic() {
        Mnemonic::Div => false,
        Mnemonic::Idiv => true,
        Mnemonic::Aam if step.instruction.immediate8() == 0 => return refuse(DivideError::Zero),
        _ => return Ok(()),
    };
    let bits = match step.instruction.op0_register().size() {
        0 => step.instruction.memory_size().size() * 8,
        bytes => bytes * 8,
    };
    let bits = u32::try_from(bits).unwrap_or(64);
    let divisor = step.operand(0).ok_or(Unknown::Operand)?;
    if divisor == 0 {
        return refuse(DivideError::Zero);
    }
    let dividend = dividend(step, bits);
    let fits = if signed { fits_signed(dividend, divisor, bits) } else { fits(dividend, divisor, bits) };
    if fits { Ok(()) } else { refuse(DivideError::Overflow { dividend, divisor, bits }) }
}

/// AX, DX:AX, EDX:EAX or RDX:RAX. SDM 2A DIV.
fn dividend<M: Bytes<GuestAddress>>(step: &Step<'_, M>, bits: u32) -> u128 {
    let (rax, rdx) = (u128::from(step.state.regs.rax), u128::from(step.state.regs.rdx));
    let low = (1 << bits) - 1;
    if bits == 8 { rax & 0xffff } else { (rdx & low) << bits | rax & low }
}

fn fits(dividend: u128, divisor: u64, bits: u32) -> bool {
    dividend / u128::from(divisor) < 1 << bits
}

fn fits_signed(dividend: u128, divisor: u64, bits: u32) -> bool {
    let dividend = (dividend << (128 - 2 * bits)).cast_signed() >> (128 - 2 * bits);
    let divisor = i128::from((divisor << (64 - bits)).cast_signed() >> (64 - bits));
    // The only quotient of 128 bits that does not exist is too large anyway.
    let Some(quotient) = dividend.checked_div(divisor) else { return false };
    let most = 1_i128 << (bits - 1);
    (-most..most).contains(&quotient)
}
