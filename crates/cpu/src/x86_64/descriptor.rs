//! Segment descriptors as they lie in a table: eight bytes, or sixteen for system segments in long mode.
//!
//! SDM 3A 3.4.5 "Segment Descriptors", figure 3-8; 9.2.3 "TSS Descriptor in 64-bit mode"; APM 2 4.7, 4.8.

use thiserror::Error;

use super::segment::{Segment, SegmentKind};

/// Why a segment cannot be written as a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A byte-granular limit has 20 bits.
    #[error("segment limit {limit:#x} needs page granularity: set `granular`, or keep it at most 0xfffff")]
    LimitTooLarge {
        /// The limit in bytes.
        limit: u32,
    },
    /// A page-granular limit ends at the end of a page.
    #[error("page-granular segment limit {limit:#x} must end in 0xfff")]
    LimitNotPaged {
        /// The limit in bytes.
        limit: u32,
    },
    /// An eight-byte descriptor has a 32-bit base.
    #[error("segment base {base:#x} is beyond 4 GiB; only a 16-byte system descriptor can hold it")]
    BaseTooLarge {
        /// The base, a linear address.
        base: u64,
    },
    /// Only system segments (LDT, TSS) have 16-byte descriptors.
    #[error("a code or data segment has an 8-byte descriptor, not a 16-byte one")]
    NotSystem,
}

/// The eight bytes of a code or data segment, or of a system segment outside long mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// The null descriptor, entry 0 of every GDT. SDM 3A 3.5.1.
    pub const NULL: Self = Self(0);

    /// The descriptor that loads as `segment`; an unusable segment is the null descriptor.
    ///
    /// The selector is not part of a descriptor.
    pub const fn encode(segment: &Segment) -> Result<Self, EncodeError> {
        if segment.base > u32::MAX as u64 {
            return Err(EncodeError::BaseTooLarge { base: segment.base });
        }
        match encode_low(segment) {
            Ok(bits) => Ok(Self(bits)),
            Err(error) => Err(error),
        }
    }

    /// What the processor would cache when `selector` names this descriptor.
    ///
    /// Any eight bytes decode, and encode to the same bytes again.
    pub const fn decode(self, selector: u16) -> Segment {
        decode_low(self.0, selector)
    }
}

/// The sixteen bytes of an LDT or TSS in long mode. SDM 3A 9.2.3, figure 9-4; APM 2 4.8.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SystemDescriptor(pub [u64; 2]);

impl SystemDescriptor {
    /// The descriptor that loads as `segment`; an unusable segment is all zeros.
    pub const fn encode(segment: &Segment) -> Result<Self, EncodeError> {
        if segment.kind.is_code_or_data() {
            return Err(EncodeError::NotSystem);
        }
        match encode_low(segment) {
            Ok(bits) if segment.unusable => Ok(Self([bits, 0])),
            Ok(bits) => Ok(Self([bits, segment.base >> 32])),
            Err(error) => Err(error),
        }
    }

    /// What the processor would cache when `selector` names this descriptor; the reserved upper half of the
    /// second word is ignored.
    pub const fn decode(self, selector: u16) -> Segment {
        let [low, high] = self.0;
        let segment = decode_low(low, selector);
        Segment { base: segment.base | high << 32, ..segment }
    }
}

/// The fields of figure 3-8. The base's upper half, if any, is the caller's.
const fn encode_low(segment: &Segment) -> Result<u64, EncodeError> {
    if segment.unusable {
        return Ok(0);
    }
    let limit = match (segment.granular, segment.limit) {
        (true, limit) if limit & 0xfff != 0xfff => return Err(EncodeError::LimitNotPaged { limit }),
        (false, limit) if limit > 0xf_ffff => return Err(EncodeError::LimitTooLarge { limit }),
        (true, limit) => (limit >> 12) as u64,
        (false, limit) => limit as u64,
    };
    // The 80286 had a 24-bit base and a 16-bit limit; the 80386 put the rest where there was room.
    Ok(limit & 0xffff
        | (segment.base & 0xff_ffff) << 16
        | (segment.kind.type_bits() as u64) << 40
        | (segment.kind.is_code_or_data() as u64) << 44
        | ((segment.dpl & 3) as u64) << 45
        | (segment.present as u64) << 47
        | (limit >> 16) << 48
        | (segment.available as u64) << 52
        | (segment.long as u64) << 53
        | (segment.big as u64) << 54
        | (segment.granular as u64) << 55
        | (segment.base >> 24 & 0xff) << 56)
}

#[expect(clippy::cast_possible_truncation, reason = "each field is masked to its width before the cast")]
const fn decode_low(bits: u64, selector: u16) -> Segment {
    let limit = (bits & 0xffff | bits >> 32 & 0xf_0000) as u32;
    let granular = bits >> 55 & 1 != 0;
    Segment {
        selector,
        base: bits >> 16 & 0xff_ffff | bits >> 32 & 0xff00_0000,
        limit: if granular { limit << 12 | 0xfff } else { limit },
        kind: SegmentKind::from_bits(bits >> 44 & 1 != 0, (bits >> 40 & 0xf) as u8),
        dpl: (bits >> 45 & 3) as u8,
        present: bits >> 47 & 1 != 0,
        available: bits >> 52 & 1 != 0,
        long: bits >> 53 & 1 != 0,
        big: bits >> 54 & 1 != 0,
        granular,
        unusable: bits == 0,
    }
}

#[cfg(test)]
#[path = "descriptor_test.rs"]
mod tests;
