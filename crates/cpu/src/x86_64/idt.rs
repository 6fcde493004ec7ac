//! The interrupt descriptor table and its gates.
//!
//! SDM 3A 7.11 "IDT Descriptors" (32-bit) and 7.14.1 "64-Bit Mode IDT"; APM 2 4.6.5, 4.8.4.

use thiserror::Error;

/// Whether taking the interrupt turns further ones off. SDM 3A 7.12.1; APM 2 4.7.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateKind {
    /// Clears RFLAGS.IF on entry: type 14.
    Interrupt,
    /// Leaves RFLAGS.IF: type 15.
    Trap,
}

impl GateKind {
    const fn type_bits(self) -> u64 {
        match self {
            Self::Interrupt => 0xe,
            Self::Trap => 0xf,
        }
    }
}

/// The size of a gate. A processor in long mode takes 64-bit gates only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdtWidth {
    /// Eight bytes, 32-bit handlers: protected mode.
    Bits32,
    /// Sixteen bytes, 64-bit handlers: long mode.
    Bits64,
}

impl IdtWidth {
    /// Bytes of one gate.
    pub const fn gate_bytes(self) -> usize {
        match self {
            Self::Bits32 => 8,
            Self::Bits64 => 16,
        }
    }
}

/// Why a gate has no encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GateError {
    /// A 32-bit gate holds a 32-bit offset.
    #[error("handler offset {offset:#x} does not fit into a 32-bit gate")]
    OffsetTooLarge {
        /// The handler's address.
        offset: u64,
    },
    /// There are seven interrupt stacks, and none outside long mode.
    #[error("interrupt stack {ist} does not exist: use 0 (none) to 7 in a 64-bit gate, 0 in a 32-bit one")]
    NoSuchStack {
        /// The stack's number.
        ist: u8,
    },
    /// Privilege levels are 0 to 3.
    #[error("privilege level {dpl} does not exist: use 0 to 3")]
    NoSuchRing {
        /// The level.
        dpl: u8,
    },
}

/// One way into the guest's kernel: where an interrupt or exception goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    /// Address of the handler in its code segment.
    pub offset: u64,
    /// Selector of the handler's code segment.
    pub selector: u16,
    /// Interrupt or trap.
    pub kind: GateKind,
    /// The least privileged ring (0 to 3) that may come here by INT.
    pub dpl: u8,
    /// Which interrupt stack of the TSS to switch to, 1 to 7; 0 is none. 64-bit gates only.
    pub ist: u8,
}

impl Gate {
    /// An interrupt gate for ring 0 without a stack of its own.
    pub const fn interrupt(selector: u16, offset: u64) -> Self {
        Self { offset, selector, kind: GateKind::Interrupt, dpl: 0, ist: 0 }
    }

    /// A trap gate for ring 0 without a stack of its own.
    pub const fn trap(selector: u16, offset: u64) -> Self {
        Self { kind: GateKind::Trap, ..Self::interrupt(selector, offset) }
    }

    /// The eight bytes of a 32-bit gate, present. SDM 3A 7.11, figure 7-2.
    pub const fn encode32(&self) -> Result<u64, GateError> {
        if self.offset > u32::MAX as u64 {
            return Err(GateError::OffsetTooLarge { offset: self.offset });
        }
        if self.ist != 0 {
            return Err(GateError::NoSuchStack { ist: self.ist });
        }
        self.low_word()
    }

    /// The sixteen bytes of a 64-bit gate, present. SDM 3A 7.14.1.
    pub const fn encode64(&self) -> Result<[u64; 2], GateError> {
        if self.ist > 7 {
            return Err(GateError::NoSuchStack { ist: self.ist });
        }
        match self.low_word() {
            Ok(low) => Ok([low | (self.ist as u64) << 32, self.offset >> 32]),
            Err(error) => Err(error),
        }
    }

    const fn low_word(&self) -> Result<u64, GateError> {
        if self.dpl > 3 {
            return Err(GateError::NoSuchRing { dpl: self.dpl });
        }
        let present = 1 << 47;
        Ok(self.offset & 0xffff
            | (self.selector as u64) << 16
            | self.kind.type_bits() << 40
            | (self.dpl as u64) << 45
            | present
            | (self.offset >> 16 & 0xffff) << 48)
    }

    /// The gate in these eight bytes; `None` where no present 32-bit interrupt or trap gate lies.
    pub const fn decode32(bits: u64) -> Option<Self> {
        Self::decode(bits, 0, 0)
    }

    /// The gate in these sixteen bytes; `None` where no present 64-bit interrupt or trap gate lies.
    pub const fn decode64([low, high]: [u64; 2]) -> Option<Self> {
        Self::decode(low, high, (low >> 32 & 7) as u8)
    }

    const fn decode(low: u64, high: u64, ist: u8) -> Option<Self> {
        let present = low >> 47 & 1 != 0;
        // Bit 44 (S) is clear in every gate, so five bits tell the kind.
        let kind = match low >> 40 & 0x1f {
            0xe => GateKind::Interrupt,
            0xf => GateKind::Trap,
            _ => return None,
        };
        if !present {
            return None;
        }
        let offset = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
        Some(Self { offset, selector: (low >> 16 & 0xffff) as u16, kind, dpl: (low >> 45 & 3) as u8, ist })
    }
}

/// An interrupt descriptor table, built as data. Vectors without a gate raise a fault if they occur.
///
/// ```
/// use strata_cpu::{Gate, Gdt, Idt, IdtWidth};
///
/// let mut idt = Idt::new(IdtWidth::Bits64);
/// idt.set(14, Gate::interrupt(Gdt::CODE, 0x10_2000))?; // #PF
/// assert_eq!((idt.limit(), idt.bytes().len()), (15 * 16 - 1, 15 * 16));
/// # Ok::<(), strata_cpu::GateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idt {
    width: IdtWidth,
    /// `width.gate_bytes()` for each vector up to the highest with a gate.
    bytes: Vec<u8>,
}

impl Idt {
    /// A table without gates.
    pub const fn new(width: IdtWidth) -> Self {
        Self { width, bytes: Vec::new() }
    }

    /// Sends `vector` to `gate`; a gate set before is replaced.
    pub fn set(&mut self, vector: u8, gate: Gate) -> Result<&mut Self, GateError> {
        let words = match self.width {
            IdtWidth::Bits32 => [gate.encode32()?, 0],
            IdtWidth::Bits64 => gate.encode64()?,
        };
        let size = self.width.gate_bytes();
        let at = usize::from(vector) * size;
        if self.bytes.len() < at + size {
            self.bytes.resize(at + size, 0);
        }
        let source = words.iter().flat_map(|word| word.to_le_bytes());
        for (slot, byte) in self.bytes.iter_mut().skip(at).take(size).zip(source) {
            *slot = byte;
        }
        Ok(self)
    }

    /// What IDTR's limit is for this table: its length in bytes less one; 0 when it is empty, which any
    /// interrupt then turns into a triple fault.
    #[expect(clippy::cast_possible_truncation, reason = "at most 256 gates of 16 bytes")]
    pub fn limit(&self) -> u16 {
        self.bytes.len().saturating_sub(1) as u16
    }

    /// The table as it lies in memory, to be written at IDTR's base.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[path = "idt_test.rs"]
mod tests;
