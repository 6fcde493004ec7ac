//! Protected mode: 16-bit and 32-bit gates. SDM 3A 7.11 to 7.12; APM 2 8.7, 8.8.

use super::{
    Delivered, DeliveryError, DeliveryFault, HandlerError, PushError, StackSource, TssField,
    cpu::{Code, Cpu, Stack, accessed, raise},
};
use crate::x86_64::{
    exception::Exception,
    flags::RFlags,
    segment::{Segment, SegmentKind},
};

/// SDM 3A 7.11, figure 7-2.
const GATE_BYTES: u16 = 8;

/// What is pushed.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) words: u64,
    /// Bytes of one.
    pub(super) word: u64,
}

impl Frame {
    /// The offset of word `n`, the first being 1, in the stack's segment.
    fn offset(self, stack: &Stack, n: u64) -> u64 {
        stack.pointer.wrapping_sub(n * self.word) & stack.mask()
    }

    /// Linear address and size of each word, in the order in which they are pushed.
    pub(super) fn addresses(self, stack: &Stack) -> impl Iterator<Item = (u64, u64)> {
        let linear = move |n| stack.ss.base.wrapping_add(self.offset(stack, n)) & 0xffff_ffff;
        (1..=self.words).map(move |n| (linear(n), self.word))
    }

    /// What RSP is then; a 16-bit stack leaves the upper bits alone.
    pub(super) fn pointer_after(self, stack: &Stack) -> u64 {
        stack.pointer & !stack.mask() | self.offset(stack, self.words)
    }
}

impl Stack {
    /// The bits of the pointer that count: SS.B. SDM 3A 3.4.5, "D/B flag".
    pub(super) fn mask(&self) -> u64 {
        if self.ss.big { 0xffff_ffff } else { 0xffff }
    }

    /// Whether a word lies in the segment. SDM 3A 6.3 "Limit Checking".
    fn holds(&self, offset: u64, bytes: u64) -> bool {
        let (first, last, limit) = (offset, offset + bytes - 1, u64::from(self.ss.limit));
        match self.ss.kind {
            SegmentKind::Data { expand_down: true, .. } => first > limit && last <= self.mask(),
            _ => last <= limit,
        }
    }
}

/// All of the frame lies in the stack's segment.
pub(super) fn segment_room<R: FnMut(u64) -> Option<u64>>(
    cpu: &Cpu<'_, R>,
    stack: &Stack,
    frame: Frame,
) -> Result<(), DeliveryFault> {
    let mut offsets = (1..=frame.words).map(|n| frame.offset(stack, n));
    match offsets.find(|offset| !stack.holds(*offset, frame.word)) {
        None => Ok(()),
        Some(offset) => {
            let why = PushError::Limit { offset, limit: stack.ss.limit };
            Err(raise(stack.overflow, cpu.no_room(stack, why)))
        }
    }
}

/// A gate as it was read.
struct Gate {
    at: u64,
    selector: u16,
    offset: u64,
    /// Clears RFLAGS.IF.
    interrupt: bool,
    /// Bytes of a word of the frame.
    word: u64,
}

pub(super) fn deliver<R: FnMut(u64) -> Option<u64>>(
    cpu: &mut Cpu<'_, R>,
) -> Result<Delivered, DeliveryFault> {
    let gate = gate(cpu)?;
    let code = cpu.code_segment(gate.selector)?;
    let from_8086 = cpu.virtual_8086();
    let inner = code.cpl < cpu.cpl();
    let stack = stack(cpu, &code, inner)?;
    // (GS, FS, DS, ES), (SS, ESP), EFLAGS, CS, EIP, (error code). SDM 3A figure 7-4.
    let optional = [(4, from_8086), (2, inner), (1, cpu.exception.error_code.is_some())];
    let words = 3 + optional.iter().filter(|(_, there)| *there).map(|(words, _)| words).sum::<u64>();
    let frame = Frame { words, word: gate.word };
    segment_room(cpu, &stack, frame)?;
    if gate.offset > u64::from(code.segment.limit) {
        let why = HandlerError::BeyondLimit { selector: gate.selector, limit: code.segment.limit };
        let vector = cpu.vector();
        let why = DeliveryError::Handler { vector, handler: gate.offset, why };
        return Err(raise(Exception::gp(cpu.ext()), why));
    }
    cpu.push(&stack, code.cpl, frame.addresses(&stack))?;

    let mut mask = RFlags::NT | RFlags::VM;
    mask.set(RFlags::IF, gate.interrupt);
    let mut after = cpu.entered(mask);
    after.cs = accessed(code.segment);
    after.cs.selector = gate.selector & !3 | u16::from(code.cpl);
    after.regs.rip = gate.offset;
    after.regs.rsp = frame.pointer_after(&stack);
    after.ss = stack.ss;
    if from_8086 {
        for segment in [&mut after.ds, &mut after.es, &mut after.fs, &mut after.gs] {
            *segment = Segment::null();
        }
    }
    let handler = cpu.wrap(code.segment.base.wrapping_add(gate.offset));
    Ok(Delivered {
        handler,
        stack: cpu.wrap(stack.ss.base.wrapping_add(after.regs.rsp & stack.mask())),
        cpl: code.cpl,
        entry_at: gate.at,
        handler_fetch: cpu.can_fetch(handler, code.cpl),
        state: Box::new(after),
    })
}

/// SDM 2A "INT n", PROTECTED-MODE.
fn gate<R: FnMut(u64) -> Option<u64>>(cpu: &mut Cpu<'_, R>) -> Result<Gate, DeliveryFault> {
    let (vector, state) = (cpu.vector(), cpu.state);
    let refused = Exception::gp(cpu.entry_code());
    let offset = u16::from(vector) * GATE_BYTES;
    let limit = state.idt.limit;
    if offset + (GATE_BYTES - 1) > limit {
        return Err(raise(refused, DeliveryError::BeyondIdt { vector, limit }));
    }
    let at = cpu.wrap(state.idt.base.wrapping_add(offset.into()));
    let bits = cpu.load(at, GATE_BYTES.into()).map_err(|cause| DeliveryFault {
        raised: cause.raises(refused),
        why: DeliveryError::IdtUnreadable { vector, at, cause },
    })?;
    let (kind, dpl, present) = ((bits >> 40 & 0x1f) as u8, (bits >> 45 & 3) as u8, bits >> 47 & 1 != 0);
    let selector = (bits >> 16 & 0xffff) as u16;
    // SDM 3A 3.5, table 3-2.
    let (word, interrupt) = match kind {
        0x5 => (0, false),
        0x6 | 0x7 => (2, kind == 0x6),
        0xe | 0xf => (4, kind == 0xe),
        _ => return Err(raise(refused, DeliveryError::NotAGate { vector, at, kind, present })),
    };
    let cpl = cpu.cpl();
    if cpu.software() && dpl < cpl {
        return Err(raise(refused, DeliveryError::NotAdmitted { vector, at, dpl, cpl }));
    }
    if !present {
        let raised = Exception::with_code(11, cpu.entry_code());
        return Err(raise(raised, DeliveryError::NotPresent { vector, at }));
    }
    if word == 0 {
        return Err(DeliveryFault { raised: None, why: DeliveryError::TaskGate { vector, at, selector } });
    }
    let high = if word == 4 { bits >> 32 & 0xffff_0000 } else { 0 };
    Ok(Gate { at, selector, offset: bits & 0xffff | high, interrupt, word })
}

/// The stack in use, or that of the TSS for the handler's ring.
#[expect(clippy::cast_possible_truncation, reason = "a selector is 16 bits of what was read")]
fn stack<R: FnMut(u64) -> Option<u64>>(
    cpu: &mut Cpu<'_, R>,
    code: &Code,
    inner: bool,
) -> Result<Stack, DeliveryFault> {
    let state = cpu.state;
    if !inner {
        let overflow = Exception::with_code(12, cpu.ext());
        return Ok(Stack { ss: state.ss, pointer: state.regs.rsp, from: StackSource::Current, overflow });
    }
    let (ring, field) = (code.cpl, TssField::Esp(code.cpl));
    // SDM 3A 9.2.1, figure 9-2; 9.6, figure 9-10.
    let small = matches!(state.tr.kind, SegmentKind::System(1 | 3));
    let (offset, bytes) = if small { (u64::from(ring) * 4 + 2, 2) } else { (u64::from(ring) * 8 + 4, 4) };
    let pointer = cpu.tss(field, offset, (bytes, bytes + 2))?;
    let selector = cpu.tss(field, offset + bytes, (2, 2))? as u16;
    let tss = cpu.tss_at();
    let ss = cpu.stack_segment(selector, ring).map_err(|(raised, why)| DeliveryFault {
        raised,
        why: DeliveryError::Stack { ring, tss, selector, why },
    })?;
    let from = StackSource::Tss { field, tss, value: pointer };
    let overflow = Exception::with_code(12, cpu.selector_code(selector));
    Ok(Stack { ss: accessed(ss), pointer, from, overflow })
}
