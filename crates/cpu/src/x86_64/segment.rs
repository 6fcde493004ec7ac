//! Segments as the processor caches them when a segment register is loaded.
//!
//! SDM 3A 3.4 "Logical and Linear Addresses"; APM 2 4.5. The eight bytes in a table that such a cache is
//! loaded from are a [`Descriptor`](super::descriptor::Descriptor).

/// What a segment holds: the S bit and the four type bits of a descriptor.
///
/// SDM 3A 3.4.5.1 (code and data), 3.5 (system); APM 2 4.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// Data or stack. SDM 3A 3.4.5.1, table 3-1, types 0 to 7.
    Data {
        /// Can be written; it can always be read.
        writable: bool,
        /// Valid offsets lie *above* the limit.
        expand_down: bool,
        /// The processor has loaded it since the bit was cleared.
        accessed: bool,
    },
    /// Code. SDM 3A 3.4.5.1, table 3-1, types 8 to 15.
    Code {
        /// Can be read as data as well.
        readable: bool,
        /// Can be called from a less privileged ring, which keeps its privilege.
        conforming: bool,
        /// The processor has loaded it since the bit was cleared.
        accessed: bool,
    },
    /// A local descriptor table. SDM 3A 3.5, table 3-2, type 2.
    Ldt,
    /// A task-state segment, 32-bit or 64-bit. SDM 3A 3.5, table 3-2, types 9 and 11.
    Tss {
        /// It is the current task's, as the one in TR must be.
        busy: bool,
    },
    /// Any other system type (16-bit TSS, gates, reserved), by its four bits. SDM 3A 3.5, table 3-2.
    System(u8),
}

impl SegmentKind {
    /// Data that can be read and written, marked as loaded.
    pub const DATA: Self = Self::Data { writable: true, expand_down: false, accessed: true };
    /// Code that can be executed and read, marked as loaded.
    pub const CODE: Self = Self::Code { readable: true, conforming: false, accessed: true };

    /// The four type bits (descriptor bits 40 to 43).
    pub const fn type_bits(self) -> u8 {
        match self {
            Self::Data { writable, expand_down, accessed } => {
                (expand_down as u8) << 2 | (writable as u8) << 1 | accessed as u8
            }
            Self::Code { readable, conforming, accessed } => {
                8 | (conforming as u8) << 2 | (readable as u8) << 1 | accessed as u8
            }
            Self::Ldt => 2,
            Self::Tss { busy } => 9 | (busy as u8) << 1,
            Self::System(bits) => bits & 0xf,
        }
    }

    /// The S bit (descriptor bit 44): set for code and data, clear for system segments.
    pub const fn is_code_or_data(self) -> bool {
        matches!(self, Self::Data { .. } | Self::Code { .. })
    }

    /// The kind with these S and type bits; of `type_bits` the low four count.
    pub const fn from_bits(code_or_data: bool, type_bits: u8) -> Self {
        let (low, middle, high) = (type_bits & 1 != 0, type_bits & 2 != 0, type_bits & 4 != 0);
        match (code_or_data, type_bits & 0xf) {
            (true, 0..=7) => Self::Data { writable: middle, expand_down: high, accessed: low },
            (true, _) => Self::Code { readable: middle, conforming: high, accessed: low },
            (false, 2) => Self::Ldt,
            (false, 9 | 11) => Self::Tss { busy: middle },
            (false, bits) => Self::System(bits),
        }
    }
}

/// One segment register: its selector, and what the processor cached when it was loaded.
///
/// SDM 3A 3.4.3 "Segment Registers" and 3.4.5 "Segment Descriptors"; APM 2 4.5.3.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one bit of the descriptor, named as the manual names it"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// What was loaded: index in the table times 8, table indicator (bit 2), requested privilege (bits 0 and
    /// 1).
    pub selector: u16,
    /// Linear address of the first byte. In 64-bit mode it counts for FS, GS and the system segments only.
    pub base: u64,
    /// Last valid offset in *bytes*, as it is after the granularity is applied: flat 4 GiB is `0xffff_ffff`.
    pub limit: u32,
    /// What it holds.
    pub kind: SegmentKind,
    /// Descriptor privilege level, 0 to 3; of the stack segment, the current ring. Other bits are ignored.
    pub dpl: u8,
    /// P: the descriptor was present.
    pub present: bool,
    /// L: 64-bit code. Excludes [`big`](Self::big).
    pub long: bool,
    /// D/B: operands and addresses (code) or the stack pointer (stack) are 32-bit by default.
    pub big: bool,
    /// G: the limit is counted in pages of 4 KiB, so its low 12 bits are ones.
    pub granular: bool,
    /// AVL: free for the operating system.
    pub available: bool,
    /// Nothing is loaded (a null selector): any use faults. SDM 3C "Guest Register State", "segment
    /// unusable".
    pub unusable: bool,
}

impl Segment {
    /// A real-mode segment: 64 KiB from `selector` * 16. SDM 3B "Address Translation in Real-Address Mode".
    pub const fn real(selector: u16, kind: SegmentKind) -> Self {
        Self {
            selector,
            base: (selector as u64) << 4,
            limit: 0xffff,
            kind,
            dpl: 0,
            present: true,
            long: false,
            big: false,
            granular: false,
            available: false,
            unusable: false,
        }
    }

    /// Flat 32-bit code: ring 0, 4 GiB from 0. SDM 3A 3.2.1 "Basic Flat Model".
    pub const fn code32(selector: u16) -> Self {
        Self {
            selector,
            base: 0,
            limit: u32::MAX,
            big: true,
            granular: true,
            ..Self::real(0, SegmentKind::CODE)
        }
    }

    /// 64-bit code, ring 0. Base and limit mean nothing then; they are flat. SDM 3A 3.2.4, 3.4.5 (L flag);
    /// APM 2 4.8.1.
    pub const fn code64(selector: u16) -> Self {
        Self { long: true, big: false, ..Self::code32(selector) }
    }

    /// Flat data and stack for 32-bit and 64-bit code: ring 0, 4 GiB from 0. SDM 3A 3.2.1; APM 2 4.8.2.
    pub const fn data(selector: u16) -> Self {
        Self { kind: SegmentKind::DATA, ..Self::code32(selector) }
    }

    /// A 32-bit or 64-bit task-state segment at `base`, busy as TR needs it. SDM 3A 9.2.2, 9.2.3; APM 2 12.2.
    ///
    /// `limit` is its size in bytes less one: at least [`TSS_LIMIT`](super::tss::TSS_LIMIT).
    pub const fn tss(selector: u16, base: u64, limit: u32) -> Self {
        Self { selector, base, limit, ..Self::real(0, SegmentKind::Tss { busy: true }) }
    }

    /// The same segment for ring `ring` (0 to 3), in its selector and its descriptor.
    #[must_use]
    pub const fn for_ring(self, ring: u8) -> Self {
        Self { selector: self.selector & !3 | (ring & 3) as u16, dpl: ring & 3, ..self }
    }

    /// A register that holds a null selector. SDM 3A 3.4.2 "Segment Selectors".
    pub const fn null() -> Self {
        Self {
            limit: 0,
            kind: SegmentKind::System(0),
            present: false,
            unusable: true,
            ..Self::real(0, SegmentKind::DATA)
        }
    }
}

#[cfg(test)]
#[path = "segment_test.rs"]
mod tests;
