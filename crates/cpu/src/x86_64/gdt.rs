//! The global descriptor table. SDM 3A 3.5.1 "Segment Descriptor Tables"; APM 2 4.6.1.

use thiserror::Error;

use super::{
    descriptor::{Descriptor, EncodeError, SystemDescriptor},
    segment::Segment,
};

/// Why a segment was not added to a [`Gdt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GdtError {
    /// A selector has 13 bits for the index.
    #[error("a GDT holds at most 8192 entries of eight bytes, and this one is full")]
    Full,
    /// The segment has no descriptor.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// A global descriptor table, built as data; entry 0 is the null descriptor, as the processor wants it.
///
/// ```
/// use strata_cpu::{Gdt, Segment};
///
/// let mut gdt = Gdt::long64();
/// let user_code = gdt.push(&Segment::code64(0).for_ring(3))?;
/// let tss = gdt.push_system(&Segment::tss(0, 0x5000, 0x67))?;
/// assert_eq!((user_code, tss, gdt.limit()), (0x18 | 3, 0x20, 0x2f));
/// # Ok::<(), strata_cpu::GdtError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gdt {
    entries: Vec<u64>,
}

impl Default for Gdt {
    fn default() -> Self {
        Self::new()
    }
}

impl Gdt {
    /// Selector of the ring-0 code segment in [`Gdt::flat32`] and [`Gdt::long64`].
    pub const CODE: u16 = 0x08;
    /// Selector of the ring-0 data segment in [`Gdt::flat32`] and [`Gdt::long64`].
    pub const DATA: u16 = 0x10;
    /// GDTR's limit for [`Gdt::flat32`] and [`Gdt::long64`]: three entries of eight bytes, less one.
    pub const ENTRY_LIMIT: u16 = 23;
    /// Bytes that [`Gdt::flat32`] and [`Gdt::long64`] take up.
    pub const ENTRY_BYTES: u64 = Self::ENTRY_LIMIT as u64 + 1;
    /// A selector's index has 13 bits. SDM 3A 3.4.2.
    const MAX_ENTRIES: usize = 8192;

    /// The null descriptor alone.
    pub fn new() -> Self {
        Self { entries: vec![Descriptor::NULL.0] }
    }

    /// What [`X86State::protected`](super::state::X86State::protected) enters with: null, flat code, flat
    /// data.
    pub fn flat32() -> Self {
        Self::of_entry(&Segment::code32(Self::CODE))
    }

    /// What [`X86State::long`](super::state::X86State::long) enters with: null, 64-bit code, flat data.
    pub fn long64() -> Self {
        Self::of_entry(&Segment::code64(Self::CODE))
    }

    fn of_entry(code: &Segment) -> Self {
        let mut gdt = Self::new();
        for segment in [code, &Segment::data(Self::DATA)] {
            // Both are flat, which always has an encoding.
            gdt.entries.extend(Descriptor::encode(segment).ok().map(|descriptor| descriptor.0));
        }
        gdt
    }

    /// Adds an eight-byte descriptor and says the selector that loads it, with the segment's DPL as RPL.
    ///
    /// The selector in `segment` is ignored. Outside long mode this is the one for TSS and LDT too.
    pub fn push(&mut self, segment: &Segment) -> Result<u16, GdtError> {
        let descriptor = Descriptor::encode(segment)?;
        self.append(&[descriptor.0], segment.dpl)
    }

    /// Adds a long-mode system segment (TSS, LDT), which takes two entries, and says the selector that loads
    /// it.
    ///
    /// LTR refuses a busy TSS (SDM 2A "LTR"): push it with `kind: SegmentKind::Tss { busy: false }` if the
    /// guest is to load it, and busy if the state that enters the guest has it loaded.
    pub fn push_system(&mut self, segment: &Segment) -> Result<u16, GdtError> {
        let descriptor = SystemDescriptor::encode(segment)?;
        self.append(&descriptor.0, segment.dpl)
    }

    fn append(&mut self, words: &[u64], rpl: u8) -> Result<u16, GdtError> {
        if self.entries.len() + words.len() > Self::MAX_ENTRIES {
            return Err(GdtError::Full);
        }
        let index = u16::try_from(self.entries.len()).map_err(|_| GdtError::Full)?;
        self.entries.extend_from_slice(words);
        Ok(index << 3 | u16::from(rpl & 3))
    }

    /// The segment that loading `selector` would give, from its eight-byte descriptor; `None` beyond the
    /// table, in the LDT, and for entry 0.
    pub fn segment(&self, selector: u16) -> Option<Segment> {
        let in_ldt = selector & 4 != 0;
        let index = usize::from(selector >> 3);
        let bits = self.entries.get(index).filter(|_| index != 0 && !in_ldt)?;
        Some(Descriptor(*bits).decode(selector))
    }

    /// The entries, eight bytes each.
    pub fn entries(&self) -> &[u64] {
        &self.entries
    }

    /// What GDTR's limit is for this table: its length in bytes less one.
    #[expect(clippy::cast_possible_truncation, reason = "1 to 8192 entries make a limit of 7 to 65535")]
    pub fn limit(&self) -> u16 {
        (self.entries.len() * 8 - 1) as u16
    }

    /// The table as it lies in memory, to be written at GDTR's base.
    pub fn bytes(&self) -> Vec<u8> {
        self.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
    }
}

#[cfg(test)]
#[path = "gdt_test.rs"]
mod tests;
