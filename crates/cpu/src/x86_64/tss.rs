//! The task-state segment: which stack an interrupt switches to.
//!
//! SDM 3A 9.2.1 (32-bit), 9.7 (64-bit); APM 2 12.2.4, 12.2.5. Hardware task switching, which the 32-bit
//! layout was made for, is left to the guest.

/// The smallest limit of a 32-bit or 64-bit TSS: 104 bytes, less one. SDM 3A 9.2.2.
pub const TSS_LIMIT: u32 = 0x67;

/// Bytes of a TSS without an I/O permission bitmap.
pub const TSS_BYTES: usize = NO_IOMAP as usize;

/// A bitmap that starts behind the segment is none.
const NO_IOMAP: u16 = 104;

/// Offset of the bitmap's offset, the same in both layouts. SDM 3A figures 9-2 and 9-11.
const IOMAP_BASE_AT: usize = 102;

/// A 64-bit TSS. SDM 3A 9.7 "Task Management in 64-bit Mode", figure 9-11; APM 2 12.2.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tss64 {
    /// RSP0 to RSP2: the stack loaded when an interrupt or call goes to ring 0, 1, 2.
    pub rsp: [u64; 3],
    /// IST1 to IST7: stacks that an IDT gate can name, whatever the ring.
    pub ist: [u64; 7],
    /// Offset of the I/O permission bitmap in bytes from the TSS; beyond the limit means there is none, and
    /// ring 3 has no port below its IOPL.
    pub iomap_base: u16,
}

impl Default for Tss64 {
    /// No stacks, no I/O bitmap.
    fn default() -> Self {
        Self { rsp: [0; 3], ist: [0; 7], iomap_base: NO_IOMAP }
    }
}

impl Tss64 {
    /// The segment as it lies in memory.
    pub fn bytes(&self) -> [u8; TSS_BYTES] {
        let mut bytes = [0; TSS_BYTES];
        put(&mut bytes, 4, self.rsp.iter().flat_map(|rsp| rsp.to_le_bytes()));
        put(&mut bytes, 36, self.ist.iter().flat_map(|ist| ist.to_le_bytes()));
        put(&mut bytes, IOMAP_BASE_AT, self.iomap_base.to_le_bytes());
        bytes
    }
}

/// A 32-bit TSS, as far as an interrupt from ring 3 needs it. SDM 3A 9.2.1, figure 9-2; APM 2 12.2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tss32 {
    /// ESP0: the stack pointer an interrupt to ring 0 loads.
    pub esp0: u32,
    /// SS0: the stack segment that goes with it.
    pub ss0: u16,
    /// Offset of the I/O permission bitmap in bytes from the TSS; beyond the limit means there is none.
    pub iomap_base: u16,
}

impl Default for Tss32 {
    /// No stack, no I/O bitmap.
    fn default() -> Self {
        Self { esp0: 0, ss0: 0, iomap_base: NO_IOMAP }
    }
}

impl Tss32 {
    /// The segment as it lies in memory; what task switching would use is zero.
    pub fn bytes(&self) -> [u8; TSS_BYTES] {
        let mut bytes = [0; TSS_BYTES];
        put(&mut bytes, 4, self.esp0.to_le_bytes());
        put(&mut bytes, 8, self.ss0.to_le_bytes());
        put(&mut bytes, IOMAP_BASE_AT, self.iomap_base.to_le_bytes());
        bytes
    }
}

fn put(bytes: &mut [u8; TSS_BYTES], at: usize, value: impl IntoIterator<Item = u8>) {
    for (slot, byte) in bytes.iter_mut().skip(at).zip(value) {
        *slot = byte;
    }
}

#[cfg(test)]
#[path = "tss_test.rs"]
mod tests;
