//! Fetching and decoding.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};
use strata_cpu::{AccessKind, Exception, FaultReason, Mode};
use vm_memory::{Bytes, GuestAddress};

use super::operand::OperandError;
use super::step::with_code;
use super::undefined::UndefinedError;
use super::{Fault, Next, Verdict};
use crate::View;

/// No instruction is longer. SDM 2A 2.3.11; APM 3 1.1.
pub(super) const LONGEST: usize = 15;

/// The instruction at RIP, or what fetching it raises.
///
/// Bytes are fetched one by one as the decoder needs them: an instruction may end right before a page that is not mapped.
pub(super) fn instruction<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Verdict<Instruction> {
    let mut bytes = [0; LONGEST];
    let (count, end) = fetch(view, &mut bytes);
    let fetched = bytes.get(..count).unwrap_or_default();
    let mut decoder = Decoder::with_ip(view.bitness(), fetched, view.state().regs.rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if !instruction.is_invalid() {
        return Ok(instruction);
    }
    match (decoder.last_error(), end) {
        (DecoderError::NoMoreBytes, Some(end)) => Err(end),
        (_, None) if fetched.iter().all(|byte| is_prefix(*byte)) => {
            let exception = with_code(view.state(), Exception::gp(0));
            Err(Fault::new(exception, UndefinedError::TooLong).into())
        }
        // No byte was needed that could not be fetched.
        _ => Err(Fault::new(Exception::UD, UndefinedError::invalid(fetched)).into()),
    }
}

/// The legacy prefixes. SDM 2A 2.1.1.
fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// How many bytes could be fetched, and what stopped the next one.
fn fetch<M: Bytes<GuestAddress>>(view: &View<'_, M>, into: &mut [u8; LONGEST]) -> (usize, Option<Box<Next>>) {
    let (state, mut page) = (view.state(), None);
    for (count, byte) in (0_u64..).zip(into.iter_mut()) {
        let done = usize::try_from(count).unwrap_or(LONGEST);
        let offset = state.regs.rip.wrapping_add(count);
        let linear = view.rip().wrapping_add(count);
        let linear = if state.mode() == Mode::Long64 { linear } else { linear & 0xffff_ffff };
        if state.mode() != Mode::Long64 && offset > u64::from(state.cs.limit) {
            let why = OperandError::Limit { segment: "CS", offset, limit: state.cs.limit };
            return (done, Some(Fault::new(with_code(state, Exception::gp(0)), why).into()));
        }
        let phys = match page {
            Some((start, phys)) if linear & !0xfff == start => phys + (linear & 0xfff),
            _ => match view.translate(linear, AccessKind::Fetch) {
                Ok(found) => {
                    page = Some((linear & !0xfff, found.phys & !0xfff));
                    found.phys
                }
                Err(fault) => {
                    let mut fault = Fault::walk(fault, false);
                    if let super::Why::Walk(walk) = &fault.why
                        && walk.why == FaultReason::NonCanonical
                    {
                        fault.exception = with_code(state, fault.exception);
                    }
                    return (done, Some(fault.into()));
                }
            },
        };
        if view.memory().read_slice(std::slice::from_mut(byte), GuestAddress(phys)).is_err() {
            return (done, Some(Box::new(Next::NoCode { linear, phys })));
        }
    }
    (LONGEST, None)
}
