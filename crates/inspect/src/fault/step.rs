//! The instruction that is judged, and the values it works on.

use iced_x86::{CpuidFeature, Instruction, InstructionInfo, InstructionInfoFactory, OpKind, Register};
use strata_cpu::{Cr0, Exception, Mode, Registers, Segment, X86State};
use vm_memory::{Bytes, GuestAddress};

use crate::View;

/// One instruction, and the guest it is to run in.
pub(super) struct Step<'a, M> {
    pub(super) view: View<'a, M>,
    pub(super) state: &'a X86State,
    pub(super) instruction: Instruction,
    pub(super) info: InstructionInfo,
    /// The current ring.
    pub(super) cpl: u8,
}

impl<'a, M: Bytes<GuestAddress>> Step<'a, M> {
    pub(super) fn new(view: View<'a, M>, instruction: Instruction) -> Self {
        let info = InstructionInfoFactory::new().info(&instruction).clone();
        let state = view.state();
        let cpl = if state.cr0.contains(Cr0::PE) { state.ss.dpl & 3 } else { 0 };
        Self { view, state, instruction, info, cpl }
    }

    pub(super) fn is_long64(&self) -> bool {
        self.state.mode() == Mode::Long64
    }

    pub(super) fn is_protected(&self) -> bool {
        self.state.cr0.contains(Cr0::PE)
    }

    /// #GP with this selector or 0, as the mode has it.
    pub(super) fn gp(&self, code: u32) -> Exception {
        with_code(self.state, Exception::gp(code))
    }

    pub(super) fn has(&self, feature: CpuidFeature) -> bool {
        self.instruction.cpuid_features().contains(&feature)
    }

    /// The value of a general register, of RIP, or of a segment register's selector.
    pub(super) fn register(&self, register: Register) -> Option<u64> {
        general(&self.state.regs, register)
            .or_else(|| self.segment(register).map(|(_, segment)| segment.selector.into()))
    }

    /// A segment register and its name.
    pub(super) fn segment(&self, register: Register) -> Option<(&'static str, &'a Segment)> {
        let state = self.state;
        Some(match register {
            Register::CS => ("CS", &state.cs),
            Register::DS => ("DS", &state.ds),
            Register::ES => ("ES", &state.es),
            Register::FS => ("FS", &state.fs),
            Register::GS => ("GS", &state.gs),
            Register::SS => ("SS", &state.ss),
            _ => return None,
        })
    }

    /// What an operand of up to eight bytes is: a register, an immediate, or memory that can be read.
    pub(super) fn operand(&self, number: u32) -> Option<u64> {
        match self.instruction.try_op_kind(number).ok()? {
            OpKind::Register => self.register(self.instruction.op_register(number)),
            OpKind::Memory => {
                let mut bytes = [0; 8];
                let size = self.instruction.memory_size().size();
                let bytes_read = self.read(self.address()?, bytes.get_mut(..size)?)?;
                debug_assert_eq!(bytes_read, size);
                Some(u64::from_le_bytes(bytes))
            }
            _ => self.instruction.try_immediate(number).ok(),
        }
    }

    /// The linear address of the memory operand that the instruction spells out.
    pub(super) fn address(&self) -> Option<u64> {
        let number = self.instruction.op_kinds().position(|kind| kind == OpKind::Memory)?;
        let number = u32::try_from(number).ok()?;
        let linear =
            self.instruction.virtual_address(number, 0, |register, _, _| self.base_or_value(register))?;
        Some(if self.is_long64() { linear } else { linear & 0xffff_ffff })
    }

    /// What iced wants for computing an address: of a segment register its base.
    pub(super) fn base_or_value(&self, register: Register) -> Option<u64> {
        match self.segment(register) {
            Some((name, segment)) if self.is_long64() => {
                Some(if matches!(name, "FS" | "GS") { segment.base } else { 0 })
            }
            Some((_, segment)) => Some(segment.base),
            None => general(&self.state.regs, register),
        }
    }

    /// Fills `into` from a linear address; `None` if any byte cannot be read.
    pub(super) fn read(&self, linear: u64, into: &mut [u8]) -> Option<usize> {
        (self.view.read(linear, into) == into.len()).then_some(into.len())
    }

    /// A little-endian number of up to eight bytes.
    pub(super) fn read_number(&self, linear: u64, size: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(linear, bytes.get_mut(..size)?)?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The linear address of the top of the stack.
    pub(super) fn stack_top(&self) -> u64 {
        let (ss, rsp) = (&self.state.ss, self.state.regs.rsp);
        match (self.is_long64(), ss.big) {
            (true, _) => rsp,
            (false, true) => ss.base.wrapping_add(rsp & 0xffff_ffff) & 0xffff_ffff,
            (false, false) => ss.base.wrapping_add(rsp & 0xffff) & 0xffff_ffff,
        }
    }
}

/// Real mode pushes no error codes. SDM 3B "8086 Emulation", "Interrupt and Exception Handling".
pub(super) fn with_code(state: &X86State, exception: Exception) -> Exception {
    if state.cr0.contains(Cr0::PE) { exception } else { Exception::plain(exception.vector) }
}

/// Whether a 64-bit linear address is canonical: what is above the translated bits repeats the highest of them. SDM 1 3.3.7.1.
pub(super) fn is_canonical(state: &X86State, address: u64) -> bool {
    let width = if state.cr4.contains(strata_cpu::Cr4::LA57) { 57 } else { 48 };
    (address << (64 - width)).cast_signed() >> (64 - width) == address.cast_signed()
}

fn general(regs: &Registers, register: Register) -> Option<u64> {
    let full = match register.full_register() {
        Register::RAX => regs.rax,
        Register::RBX => regs.rbx,
        Register::RCX => regs.rcx,
        Register::RDX => regs.rdx,
        Register::RSI => regs.rsi,
        Register::RDI => regs.rdi,
        Register::RSP => regs.rsp,
        Register::RBP => regs.rbp,
        Register::R8 => regs.r8,
        Register::R9 => regs.r9,
        Register::R10 => regs.r10,
        Register::R11 => regs.r11,
        Register::R12 => regs.r12,
        Register::R13 => regs.r13,
        Register::R14 => regs.r14,
        Register::R15 => regs.r15,
        _ => return None,
    };
    Some(match (register, register.size()) {
        (Register::AH | Register::BH | Register::CH | Register::DH, _) => full >> 8 & 0xff,
        (_, 1) => full & 0xff,
        (_, 2) => full & 0xffff,
        (_, 4) => full & 0xffff_ffff,
        _ => full,
    })
}
