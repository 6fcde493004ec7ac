//! What all modes need: memory as the processor reaches it, selectors, and the place for a frame.

use super::{
    DeliveryError, DeliveryFault, DescriptorTable, MemoryFault, PushError, SelectorError, StackSource, TssAt,
    TssField,
};
use crate::x86_64::{
    descriptor::Descriptor,
    exception::Exception,
    flags::{Cr4, Efer, RFlags},
    paging::{AccessKind, FaultReason, WalkContext, walk},
    segment::{Segment, SegmentKind},
    state::X86State,
};

/// SDM 3A 5.1.1: the smallest page; what lies in one is reached by one translation.
const PAGE: u64 = 4096;

/// A processor that delivers an exception.
pub(super) struct Cpu<'a, R> {
    pub(super) read: R,
    pub(super) state: &'a X86State,
    pub(super) exception: Exception,
}

/// A selector that is not loaded: what is raised, and why.
pub(super) type Refused = (Option<Exception>, SelectorError);

/// A segment that is loaded.
pub(super) struct Loaded {
    pub(super) segment: Segment,
    at: u64,
}

/// The code segment of a handler.
pub(super) struct Code {
    pub(super) segment: Segment,
    /// The ring that the handler runs in.
    pub(super) cpl: u8,
}

/// A stack before a frame is pushed on it.
pub(super) struct Stack {
    /// Its segment; in long mode only the selector counts.
    pub(super) ss: Segment,
    /// The offset in it, in long mode the address.
    pub(super) pointer: u64,
    /// Where it comes from.
    pub(super) from: StackSource,
    /// #SS with its error code, should the frame not fit.
    pub(super) overflow: Exception,
}

/// A fault that is sure to be raised.
pub(super) fn raise(raised: Exception, why: DeliveryError) -> DeliveryFault {
    DeliveryFault { raised: Some(raised), why }
}

impl MemoryFault {
    /// What is raised for it; `otherwise` for an address that is none.
    pub(super) fn raises(&self, otherwise: Exception) -> Option<Exception> {
        match self {
            Self::NoRam { .. } => None,
            Self::Walk(fault) => match (fault.why, fault.error_code) {
                (FaultReason::NonCanonical, _) => Some(otherwise),
                (_, code) => code.map(|code| Exception::pf(fault.virt, code.bits())),
            },
        }
    }
}

impl<R: FnMut(u64) -> Option<u64>> Cpu<'_, R> {
    pub(super) fn vector(&self) -> u8 {
        self.exception.vector
    }

    /// The current ring.
    pub(super) fn cpl(&self) -> u8 {
        if self.virtual_8086() { 3 } else { self.state.ss.dpl & 3 }
    }

    pub(super) fn virtual_8086(&self) -> bool {
        self.state.regs.rflags.contains(RFlags::VM) && !self.long()
    }

    pub(super) fn long(&self) -> bool {
        self.state.efer.contains(Efer::LMA)
    }

    /// INT3 and INTO are instructions that ask for their exception. SDM 3A 7.4.2.
    pub(super) fn software(&self) -> bool {
        matches!(self.vector(), 3 | 4)
    }

    /// EXT, the lowest bit of an error code: what was being delivered was not asked for. SDM 3A 7.13.
    pub(super) fn ext(&self) -> u32 {
        u32::from(!self.software())
    }

    /// The error code that names the IDT's entry. SDM 3A 7.13, figure 7-7.
    pub(super) fn entry_code(&self) -> u32 {
        u32::from(self.vector()) << 3 | 2 | self.ext()
    }

    /// The error code that names a selector.
    pub(super) fn selector_code(&self, selector: u16) -> u32 {
        u32::from(selector & !3) | self.ext()
    }

    /// Linear addresses have 32 bits outside long mode, and wrap.
    pub(super) fn wrap(&self, linear: u64) -> u64 {
        if self.long() { linear } else { linear & 0xffff_ffff }
    }

    /// Bits 63 to 47, with 5-level paging to 56, are equal. SDM 1 3.3.7.1.
    pub(super) fn canonical(&self, linear: u64) -> bool {
        let above = if self.state.cr4.contains(Cr4::LA57) { 64 - 57 } else { 64 - 48 };
        (linear << above).cast_signed() >> above == linear.cast_signed()
    }

    fn reach(&mut self, context: &WalkContext, at: u64, kind: AccessKind) -> Result<u64, MemoryFault> {
        match walk(&mut self.read, context, at, kind) {
            Ok(found) => Ok(found.phys),
            Err(fault) => Err(MemoryFault::Walk(Box::new(fault))),
        }
    }

    fn word(&mut self, phys: u64) -> Result<u64, MemoryFault> {
        (self.read)(phys & !7).ok_or(MemoryFault::NoRam { phys })
    }

    /// Tables are read and marked by the processor itself: as ring 0, and SMAP holds whatever RFLAGS.AC is.
    /// SDM 3A 5.6.1, "implicit supervisor-mode accesses".
    fn implicit(&self) -> WalkContext {
        WalkContext { cpl: 0, alignment_check: false, ..self.state.walk_context() }
    }

    /// `bytes`, 1 to 8, of a table at a linear address.
    pub(super) fn load(&mut self, linear: u64, bytes: u64) -> Result<u64, MemoryFault> {
        let context = self.implicit();
        let (mut value, mut done) = (0, 0);
        // A piece ends where the aligned word ends that it is in, and so in one page.
        while done < bytes {
            let at = self.wrap(linear.wrapping_add(done));
            let phys = self.reach(&context, at, AccessKind::Read)?;
            let (skip, left) = (phys % 8, bytes - done);
            let piece = (8 - skip).min(left);
            let word = self.word(phys)? >> (skip * 8);
            let mask = u64::MAX >> (64 - piece * 8);
            value |= (word & mask) << (done * 8);
            done += piece;
        }
        Ok(value)
    }

    /// Whether `bytes`, not more than a page, can be written at a linear address; nothing is.
    fn can_store(&mut self, context: &WalkContext, linear: u64, bytes: u64) -> Result<(), MemoryFault> {
        let last = linear.wrapping_add(bytes.saturating_sub(1));
        let crosses = linear & !(PAGE - 1) != last & !(PAGE - 1);
        for at in [Some(linear), crosses.then_some(last & !(PAGE - 1))].into_iter().flatten() {
            let at = self.wrap(at);
            let phys = self.reach(context, at, AccessKind::Write)?;
            self.word(phys)?;
        }
        Ok(())
    }

    /// Whether the instruction at a linear address can be fetched in ring `cpl`.
    pub(super) fn can_fetch(&mut self, linear: u64, cpl: u8) -> Option<MemoryFault> {
        let context = WalkContext { cpl, ..self.state.walk_context() };
        let reached = self.reach(&context, self.wrap(linear), AccessKind::Fetch);
        reached.and_then(|phys| self.word(phys)).err()
    }

    /// The descriptor that a selector names; `outside` is raised where there is none. SDM 3A 3.4.2, 3.5.1.
    fn descriptor(&mut self, selector: u16, outside: Exception) -> Result<Loaded, Refused> {
        let state = self.state;
        let (table, base, limit) = if selector & 4 == 0 {
            (DescriptorTable::Gdt, state.gdt.base, u32::from(state.gdt.limit))
        } else if state.ldt.unusable || !state.ldt.present {
            return Err((Some(outside), SelectorError::NoLdt));
        } else {
            (DescriptorTable::Ldt, state.ldt.base, state.ldt.limit)
        };
        let offset = selector & !7;
        if u32::from(offset | 7) > limit {
            return Err((Some(outside), SelectorError::BeyondLimit { table, limit }));
        }
        let at = self.wrap(base.wrapping_add(offset.into()));
        match self.load(at, 8) {
            Ok(bits) => Ok(Loaded { segment: Descriptor(bits).decode(selector), at }),
            Err(cause) => Err((cause.raises(outside), SelectorError::Unreadable { at, cause })),
        }
    }

    /// A segment is marked when it is loaded: the processor writes to the table. SDM 3A 3.4.5.1.
    fn mark_accessed(&mut self, loaded: &Loaded, outside: Exception) -> Result<(), Refused> {
        let at = loaded.at;
        if loaded.segment.kind.type_bits() & 1 != 0 {
            return Ok(());
        }
        let context = self.implicit();
        let written = self.can_store(&context, at, 8);
        written.map_err(|cause| (cause.raises(outside), SelectorError::Unmarkable { at, cause }))
    }

    /// The code segment that a gate names. SDM 2A "INT n", TRAP-OR-INTERRUPT-GATE.
    pub(super) fn code_segment(&mut self, selector: u16) -> Result<Code, DeliveryFault> {
        self.load_code(selector).map_err(|(raised, why)| {
            let vector = self.vector();
            DeliveryFault { raised, why: DeliveryError::Code { vector, selector, why } }
        })
    }

    fn load_code(&mut self, selector: u16) -> Result<Code, Refused> {
        let refused = Exception::gp(self.selector_code(selector));
        let refuse = |why| Err((Some(refused), why));
        if selector & !3 == 0 {
            return Err((Some(Exception::gp(self.ext())), SelectorError::Null));
        }
        let loaded = self.descriptor(selector, refused)?;
        let (segment, cpl) = (loaded.segment, self.cpl());
        let dpl = segment.dpl;
        let SegmentKind::Code { conforming, .. } = segment.kind else {
            return refuse(SelectorError::NotCode);
        };
        if dpl > cpl {
            return refuse(SelectorError::LessPrivileged { dpl, cpl });
        }
        if self.long() && (!segment.long || segment.big) {
            return refuse(SelectorError::NotLong { long: segment.long, big: segment.big });
        }
        if !segment.present {
            let raised = Exception::with_code(11, self.selector_code(selector));
            return Err((Some(raised), SelectorError::NotPresent));
        }
        if self.virtual_8086() && (conforming || dpl != 0) {
            return refuse(SelectorError::NotFromVirtual8086);
        }
        self.mark_accessed(&loaded, refused)?;
        Ok(Code { segment, cpl: if conforming { cpl } else { dpl } })
    }

    /// The stack segment that the TSS has for ring `ring`. SDM 2A "INT n", INTER-PRIVILEGE-LEVEL-INTERRUPT.
    pub(super) fn stack_segment(&mut self, selector: u16, ring: u8) -> Result<Segment, Refused> {
        let refused = Exception::with_code(10, self.selector_code(selector));
        let refuse = |why| Err((Some(refused), why));
        if selector & !3 == 0 {
            return Err((Some(Exception::with_code(10, self.ext())), SelectorError::Null));
        }
        let loaded = self.descriptor(selector, refused)?;
        let (segment, rpl) = (loaded.segment, u8::from(selector & 1 != 0) | u8::from(selector & 2 != 0) << 1);
        let dpl = segment.dpl;
        if rpl != ring || dpl != ring {
            return refuse(SelectorError::OtherRing { dpl, rpl, ring });
        }
        if !matches!(segment.kind, SegmentKind::Data { writable: true, .. }) {
            return refuse(SelectorError::NotWritable);
        }
        if !segment.present {
            let raised = Exception::with_code(12, self.selector_code(selector));
            return Err((Some(raised), SelectorError::NotPresent));
        }
        self.mark_accessed(&loaded, refused)?;
        Ok(segment)
    }

    /// Which TSS is in use; whether it was ever loaded is for the one who reads the message.
    pub(super) fn tss_at(&self) -> TssAt {
        TssAt { base: self.state.tr.base, null: self.state.tr.selector & !3 == 0 }
    }

    /// `bytes` of the TSS from `offset` on, of which `needed` have to be within its limit.
    pub(super) fn tss(
        &mut self,
        field: TssField,
        offset: u64,
        (bytes, needed): (u64, u64),
    ) -> Result<u64, DeliveryFault> {
        let (tr, tss) = (&self.state.tr, self.tss_at());
        let invalid = Exception::with_code(10, self.selector_code(tr.selector));
        if tr.unusable || !tr.present {
            return Err(raise(invalid, DeliveryError::NoTss { field }));
        }
        let limit = tr.limit;
        if offset + needed > u64::from(limit) + 1 {
            return Err(raise(invalid, DeliveryError::TssTooShort { field, tss, limit }));
        }
        let at = self.wrap(tss.base.wrapping_add(offset));
        self.load(at, bytes).map_err(|cause| DeliveryFault {
            raised: cause.raises(invalid),
            why: DeliveryError::TssUnreadable { field, tss, cause },
        })
    }

    /// Writes a frame's words at `addresses` in ring `cpl`, as far as that can be tried.
    pub(super) fn push(
        &mut self,
        stack: &Stack,
        cpl: u8,
        addresses: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), DeliveryFault> {
        let context = WalkContext { cpl, ..self.state.walk_context() };
        for (at, bytes) in addresses {
            if let Err(cause) = self.can_store(&context, at, bytes) {
                let raised = cause.raises(stack.overflow);
                return Err(DeliveryFault { raised, why: self.no_room(stack, PushError::Memory(cause)) });
            }
        }
        Ok(())
    }

    /// The frame does not go where it should.
    pub(super) fn no_room(&self, stack: &Stack, why: PushError) -> DeliveryError {
        let base = if self.long() { 0 } else { stack.ss.base };
        let linear = self.wrap(base.wrapping_add(stack.pointer));
        DeliveryError::Push { vector: self.vector(), stack: linear, why, source_of: stack.from }
    }

    /// What a delivery does to the registers but for CS, RIP, SS and RSP. `mask` are flags to clear beside those that
    /// always are. SDM 3A 7.12.1.3; 7.15, "Interrupt 14".
    pub(super) fn entered(&self, mask: RFlags) -> X86State {
        let mut state = *self.state;
        let clear = RFlags::TF | RFlags::RF | mask;
        state.regs.rflags = state.regs.rflags.difference(clear);
        state.cr2 = self.exception.address.unwrap_or(state.cr2);
        state
    }
}

/// The processor has set the bit in the descriptor that it has loaded.
pub(super) fn accessed(segment: Segment) -> Segment {
    Segment {
        kind: SegmentKind::from_bits(segment.kind.is_code_or_data(), segment.kind.type_bits() | 1),
        ..segment
    }
}
