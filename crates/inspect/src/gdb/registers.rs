//! The registers of a processor as gdb reads and writes them.

use strata_cpu::fpu::Fxsave;
use strata_cpu::{Cr0, Cr4, Efer, Mode, RFlags, X86State};
use strata_vmm::kvm::CallError;
use strata_vmm::vcpu::{Hidden, Vcpu};

use super::layout::{FpuWord, Reg, Row, Segment};

/// Everything that gdb can see of a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) state: X86State,
    /// What not every vCPU can tell.
    fpu: Option<Fxsave>,
    hidden: Option<Hidden>,
}

impl Cpu {
    pub(super) fn read(vcpu: &mut dyn Vcpu) -> Result<Self, CallError> {
        let state = vcpu.state()?;
        Ok(Self { state, fpu: vcpu.fpu().ok(), hidden: vcpu.hidden().ok() })
    }

    /// Writes what differs from `before`.
    pub(super) fn write(&self, before: &Self, vcpu: &mut dyn Vcpu) -> Result<(), CallError> {
        if self.state != before.state {
            vcpu.set_state(&self.state)?;
        }
        if let Some(fpu) = self.fpu
            && self.fpu != before.fpu
        {
            vcpu.set_fpu(&fpu)?;
        }
        if let Some(hidden) = self.hidden
            && self.hidden != before.hidden
        {
            vcpu.set_hidden(&hidden)?;
        }
        Ok(())
    }

    /// The bytes of a register, lowest first; `None` where the vCPU does not tell.
    pub(super) fn get(&self, row: &Row) -> Option<Vec<u8>> {
        let state = &self.state;
        let number = match row.reg {
            Reg::General(of) => *of(&mut { state.regs }),
            Reg::Rip => state.regs.rip.wrapping_add(self.code_base()),
            Reg::Flags => state.regs.rflags.bits(),
            Reg::Selector(which) => self.segment(which).selector.into(),
            Reg::Base(which) => self.segment(which).base,
            Reg::Cr0 => state.cr0.bits(),
            Reg::Cr2 => state.cr2,
            Reg::Cr3 => state.cr3,
            Reg::Cr4 => state.cr4.bits(),
            Reg::Efer => state.efer.bits(),
            Reg::Cr8 => self.hidden?.cr8,
            Reg::KernelGsBase => self.hidden?.kernel_gs_base,
            Reg::St(n) => return self.image(ST + 16 * n, 10),
            Reg::Xmm(n) => return self.image(XMM + 16 * n, 16),
            Reg::Mxcsr => return self.image(MXCSR, 4),
            Reg::Fpu(part) => self.fpu_word(part)?.into(),
        };
        number.to_le_bytes().get(..row.bytes).map(<[u8]>::to_vec)
    }

    /// Sets a register to these bytes; `None` if there are not as many as it has, or it cannot be set.
    pub(super) fn set(&mut self, row: &Row, bytes: &[u8]) -> Option<()> {
        if bytes.len() != row.bytes {
            return None;
        }
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(bytes) {
            *to = *from;
        }
        let value = u64::from_le_bytes(value);
        let base = self.code_base();
        let is_real = self.state.mode() == Mode::Real16;
        let state = &mut self.state;
        match row.reg {
            Reg::General(of) => {
                let target = of(&mut state.regs);
                // A 32-bit gdb changes the half that it sees.
                let keep = if row.bytes == 4 { *target & !0xffff_ffff } else { 0 };
                *target = keep | value;
            }
            Reg::Rip => state.regs.rip = value.wrapping_sub(base),
            Reg::Flags => state.regs.rflags = RFlags::from_bits_retain(value),
            Reg::Selector(which) => {
                let segment = self.segment_mut(which);
                segment.selector = u16::try_from(value).ok()?;
                if is_real {
                    segment.base = value << 4;
                }
            }
            Reg::Base(which) => self.segment_mut(which).base = value,
            Reg::Cr0 => state.cr0 = Cr0::from_bits_retain(value),
            Reg::Cr2 => state.cr2 = value,
            Reg::Cr3 => state.cr3 = value,
            Reg::Cr4 => state.cr4 = Cr4::from_bits_retain(value),
            Reg::Efer => state.efer = Efer::from_bits_retain(value),
            Reg::Cr8 => self.hidden.as_mut()?.cr8 = value,
            Reg::KernelGsBase => self.hidden.as_mut()?.kernel_gs_base = value,
            Reg::St(n) => self.set_image(ST + 16 * n, bytes)?,
            Reg::Xmm(n) => self.set_image(XMM + 16 * n, bytes)?,
            Reg::Mxcsr => self.set_image(MXCSR, bytes)?,
            Reg::Fpu(part) => self.set_fpu_word(part, value)?,
        }
        Some(())
    }

    /// What gdb calls the program counter is an address to it, and a breakpoint's is compared with it: outside of 64-bit
    /// mode, the base of CS has to be in it.
    fn code_base(&self) -> u64 {
        if self.state.mode() == Mode::Long64 { 0 } else { self.state.cs.base }
    }

    fn segment(&self, which: Segment) -> &strata_cpu::Segment {
        let state = &self.state;
        match which {
            Segment::Cs => &state.cs,
            Segment::Ss => &state.ss,
            Segment::Ds => &state.ds,
            Segment::Es => &state.es,
            Segment::Fs => &state.fs,
            Segment::Gs => &state.gs,
        }
    }

    fn segment_mut(&mut self, which: Segment) -> &mut strata_cpu::Segment {
        let state = &mut self.state;
        match which {
            Segment::Cs => &mut state.cs,
            Segment::Ss => &mut state.ss,
            Segment::Ds => &mut state.ds,
            Segment::Es => &mut state.es,
            Segment::Fs => &mut state.fs,
            Segment::Gs => &mut state.gs,
        }
    }

    fn image(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        self.fpu.as_ref()?.0.get(at..at + len).map(<[u8]>::to_vec)
    }

    fn set_image(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        self.fpu.as_mut()?.0.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    fn fpu_word(&self, part: FpuWord) -> Option<u32> {
        let (at, len) = place(part);
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(self.image(at, len)?) {
            *to = from;
        }
        let word = u32::from_le_bytes(bytes);
        Some(if matches!(part, FpuWord::Tags) { full_tags(word) } else { word })
    }

    fn set_fpu_word(&mut self, part: FpuWord, value: u64) -> Option<()> {
        let (at, len) = place(part);
        let value = if matches!(part, FpuWord::Tags) { abridged_tags(value) } else { value };
        self.set_image(at, value.to_le_bytes().get(..len)?)
    }
}

/// Where things are in FXSAVE64's image (SDM 1 10.5.1, table 10-2).
const MXCSR: usize = 24;
const ST: usize = 32;
const XMM: usize = 160;

/// Likewise: first byte and length. The 64-bit form keeps pointers whole, where gdb wants a segment and an offset: these are
/// the halves.
const fn place(part: FpuWord) -> (usize, usize) {
    match part {
        FpuWord::Control => (0, 2),
        FpuWord::Status => (2, 2),
        FpuWord::Tags => (4, 1),
        FpuWord::Opcode => (6, 2),
        FpuWord::CodeOffset => (8, 4),
        FpuWord::CodeSegment => (12, 4),
        FpuWord::DataOffset => (16, 4),
        FpuWord::DataSegment => (20, 4),
    }
}

/// Two bits for each register, 3 for an empty one, of one bit each (SDM 1 10.5.1.1). Which of the others are zero or special
/// is not worked out: they are all called valid.
fn full_tags(abridged: u32) -> u32 {
    (0..8).filter(|n| abridged >> n & 1 == 0).map(|n| 3 << (2 * n)).sum()
}

fn abridged_tags(full: u64) -> u64 {
    (0..8).filter(|n| full >> (2 * n) & 3 != 3).map(|n| 1 << n).sum()
}

#[cfg(test)]
#[path = "registers_test.rs"]
mod tests;
