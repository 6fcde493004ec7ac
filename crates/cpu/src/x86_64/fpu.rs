//! The FPU's registers as a boot finds them.
//!
//! **A boot sets none of them.** A vCPU of KVM begins with the state that the boot protocols ask for: FCW `0x37f`, as after
//! FNINIT, and MXCSR `0x1f80` (`arch/x86/kvm`: a fresh guest FPU is the kernel's initial one). Linux executes FNINIT and
//! LDMXCSR itself. [`Fpu::INIT`] is there for those who run a vCPU a second time; `KVM_SET_FPU` then resets x87 and the XMM
//! registers. MXCSR it does not: KVM leaves that field out on both ways, though `kvm_fpu` has it. `KVM_SET_XSAVE` sets it.

/// What of the FPU has a value other than 0 before the first instruction. SDM 1 8.1.5, 10.2.3; APM 2 14.1.3, table 14-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fpu {
    /// x87 control word: which exceptions are masked, precision, rounding. SDM 1 8.1.5.
    pub fcw: u16,
    /// x87 status word. SDM 1 8.1.3.
    pub fsw: u16,
    /// Which x87 registers hold something, one bit each, as FXSAVE abridges the tag word. SDM 1 10.5.1.1.
    pub ftw: u8,
    /// SSE control and status. SDM 1 10.2.3.
    pub mxcsr: u32,
}

impl Fpu {
    /// After FNINIT, and SSE as after reset: every exception masked, round to nearest. SDM 3A 11.1.1, table 11-1 (INIT and
    /// FNINIT) gives `0x37f`; SDM 1 10.2.3 gives `0x1f80`.
    pub const INIT: Self = Self { fcw: 0x37f, fsw: 0, ftw: 0, mxcsr: 0x1f80 };
}

impl Default for Fpu {
    fn default() -> Self {
        Self::INIT
    }
}

/// The FPU's and SSE's registers as FXSAVE64 lays them out: x87 control words, eight x87 registers of 10 bytes in 16 each,
/// sixteen XMM registers. SDM 1 10.5.1, table 10-2; APM 2 11.4.4, figure 11-9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fxsave(pub [u8; Self::LEN]);

impl Fxsave {
    /// How many bytes there are.
    pub const LEN: usize = 512;
}

impl Default for Fxsave {
    /// As [`Fpu::INIT`], with every register zero.
    fn default() -> Self {
        let mut bytes = [0; Self::LEN];
        let [low, high] = Fpu::INIT.fcw.to_le_bytes();
        bytes[0] = low;
        bytes[1] = high;
        let mxcsr = Fpu::INIT.mxcsr.to_le_bytes();
        bytes[24..28].copy_from_slice(&mxcsr);
        Self(bytes)
    }
}
