//! Real mode: the vectors of the 8086. SDM 3B "Interrupt and Exception Handling" in "8086 Emulation"; APM 2 8.6.

use super::{
    Delivered, DeliveryError, DeliveryFault, StackSource,
    cpu::{Cpu, Stack, raise},
    protected::{Frame, segment_room},
};
use crate::x86_64::{exception::Exception, flags::RFlags};

/// IP and CS. SDM 3B figure "Interrupt Vector Table in Real-Address Mode".
const VECTOR_BYTES: u16 = 4;
/// FLAGS, CS and IP; no exception has an error code.
const FRAME: Frame = Frame { words: 3, word: 2 };

pub(super) fn deliver<R: FnMut(u64) -> Option<u64>>(
    cpu: &mut Cpu<'_, R>,
) -> Result<Delivered, DeliveryFault> {
    let (vector, state) = (cpu.vector(), cpu.state);
    let offset = u16::from(vector) * VECTOR_BYTES;
    let limit = state.idt.limit;
    if offset + (VECTOR_BYTES - 1) > limit {
        return Err(raise(Exception::plain(13), DeliveryError::BeyondIdt { vector, limit }));
    }
    let at = cpu.wrap(state.idt.base.wrapping_add(offset.into()));
    let entry = cpu.load(at, VECTOR_BYTES.into()).map_err(|cause| DeliveryFault {
        raised: cause.raises(Exception::plain(13)),
        why: DeliveryError::IdtUnreadable { vector, at, cause },
    })?;
    let stack = Stack {
        ss: state.ss,
        pointer: state.regs.rsp,
        from: StackSource::Current,
        overflow: Exception::plain(12),
    };
    segment_room(cpu, &stack, FRAME)?;
    cpu.push(&stack, 0, FRAME.addresses(&stack))?;

    let mut after = cpu.entered(RFlags::IF | RFlags::AC);
    let (ip, cs) = (entry & 0xffff, entry >> 16 & 0xffff);
    after.regs.rip = ip;
    after.cs.selector = u16::try_from(cs).unwrap_or_default();
    after.cs.base = cs << 4;
    after.regs.rsp = FRAME.pointer_after(&stack);
    let handler = cpu.wrap(after.cs.base + ip);
    Ok(Delivered {
        handler,
        stack: cpu.wrap(state.ss.base.wrapping_add(after.regs.rsp & stack.mask())),
        cpl: 0,
        entry_at: at,
        handler_fetch: cpu.can_fetch(handler, 0),
        state: Box::new(after),
    })
}
