//! The model-specific registers that a boot needs.
//!
//! Most of them a vCPU already has as the processor's reset leaves them, and setting those would only cost time. What
//! KVM leaves otherwise than firmware does is in [`boot_msrs`]: one `KVM_SET_MSRS` a vCPU.
//!
//! | register | KVM's reset | set? |
//! | --- | --- | --- |
//! | [`IA32_MTRR_DEF_TYPE`] | 0: MTRRs off | **yes** |
//! | [`IA32_MISC_ENABLE`] | 0 or fast strings alone, by its version | **yes**, in the same call |
//! | [`IA32_TSC`] | counts from 0 at the machine's first vCPU, the others in step | no: writing it can only put them out of step |
//! | [`IA32_APIC_BASE`] | `0xfee0_0000`, enabled, BSP on vCPU 0 | no |
//! | [`IA32_PAT`] | as the processor's reset | no |
//! | [`Efer::MSR`](crate::Efer::MSR), FS and GS base | 0 | no: `KVM_SET_SREGS` carries them |
//! | [`IA32_SYSENTER_CS`] and its two, [`STAR`] and its three, [`KERNEL_GS_BASE`] | 0 | no: the kernel writes them before it uses them |
//! | `IA32_MTRR_PHYSBASE0`.. | 0: no ranges | no: the default type holds everywhere, also for devices, whose pages the kernel maps uncached |

/// Time stamp counter. SDM 4 table 2-2; APM 2, appendix A.
pub const IA32_TSC: u32 = 0x10;
/// Address and state of the local APIC. SDM 3A 12.4.4; APM 2 16.3.1.
pub const IA32_APIC_BASE: u32 = 0x1b;
/// Where SYSENTER finds CS and SS. SDM 4 table 2-2; APM 2 6.1.2.
pub const IA32_SYSENTER_CS: u32 = 0x174;
/// Where SYSENTER finds RSP. SDM 4 table 2-2; APM 2 6.1.2.
pub const IA32_SYSENTER_ESP: u32 = 0x175;
/// Where SYSENTER finds RIP. SDM 4 table 2-2; APM 2 6.1.2.
pub const IA32_SYSENTER_EIP: u32 = 0x176;
/// What the processor's abilities are turned on and off by. SDM 4 table 2-2.
pub const IA32_MISC_ENABLE: u32 = 0x1a0;
/// The eight memory types that a page can select. SDM 3A 13.12.2; APM 2 7.8.2.
pub const IA32_PAT: u32 = 0x277;
/// The memory type of whatever no MTRR covers, and whether there are MTRRs. SDM 3A 13.11.2.1; APM 2 7.7.2.
pub const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
/// When the APIC timer fires in TSC-deadline mode. SDM 3A 12.5.4.1.
pub const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// The segments of SYSCALL and SYSRET. SDM 4 table 2-2; APM 2 6.1.1.
pub const STAR: u32 = 0xc000_0081;
/// Where SYSCALL from 64-bit code goes. SDM 4 table 2-2; APM 2 6.1.1.
pub const LSTAR: u32 = 0xc000_0082;
/// Where SYSCALL from compatibility mode goes. SDM 4 table 2-2; APM 2 6.1.1.
pub const CSTAR: u32 = 0xc000_0083;
/// Which flags SYSCALL clears. SDM 4 table 2-2; APM 2 6.1.1.
pub const SFMASK: u32 = 0xc000_0084;
/// The base of FS. SDM 4 table 2-2; APM 2 4.5.3.
pub const FS_BASE: u32 = 0xc000_0100;
/// The base of GS. SDM 4 table 2-2; APM 2 4.5.3.
pub const GS_BASE: u32 = 0xc000_0101;
/// What SWAPGS exchanges with GS's base. SDM 4 table 2-2; APM 2 4.5.3.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// What RDTSCP and RDPID read: the processor's number, for Linux. SDM 4 table 2-2; APM 2, appendix A.
pub const TSC_AUX: u32 = 0xc000_0103;

/// `IA32_MTRR_DEF_TYPE`: the MTRRs are on. SDM 3A 13.11.2.1, bit 11.
pub const MTRR_ENABLE: u64 = 1 << 11;
/// `IA32_MTRR_DEF_TYPE`: the default type is write-back. SDM 3A 13.3, table 13-2; bits 7:0.
pub const MTRR_WRITE_BACK: u64 = 6;
/// `IA32_MISC_ENABLE`: string instructions move whole cache lines. SDM 4 table 2-2, bit 0.
pub const FAST_STRINGS: u64 = 1 << 0;
/// `IA32_MISC_ENABLE`: there is no branch trace storage. SDM 4 table 2-2, bit 11.
pub const BTS_UNAVAILABLE: u64 = 1 << 11;
/// `IA32_MISC_ENABLE`: there is no precise event sampling. SDM 4 table 2-2, bit 12.
pub const PEBS_UNAVAILABLE: u64 = 1 << 12;

/// A register and what goes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Msr {
    /// The number that WRMSR takes in ECX.
    pub index: u32,
    /// The value.
    pub value: u64,
}

/// What firmware would have left for the kernel and KVM's reset does not, for every vCPU alike.
///
/// * `IA32_MTRR_DEF_TYPE`: on, write-back. With MTRRs off memory would be uncached by the manual (SDM 3A 13.11.2.1), which KVM
///   does not imitate; but Linux before 6.3 then does without the PAT too (`arch/x86/kernel/cpu/mtrr/mtrr.c`), and where
///   only vCPU 0 had it, Linux would report inconsistent MTRRs.
/// * `IA32_MISC_ENABLE`: fast strings. Without, Linux on Intel takes REP MOVS for slow and never uses it
///   (`arch/x86/kernel/cpu/intel.c`). The other two bits say that there is neither branch trace nor event sampling.
///
/// # Examples
///
/// ```
/// use strata_cpu::x86_64::msr::{IA32_MTRR_DEF_TYPE, boot_msrs};
/// assert!(boot_msrs().iter().any(|msr| msr.index == IA32_MTRR_DEF_TYPE && msr.value == 0x806));
/// ```
pub const fn boot_msrs() -> [Msr; 2] {
    [
        Msr { index: IA32_MTRR_DEF_TYPE, value: MTRR_ENABLE | MTRR_WRITE_BACK },
        Msr { index: IA32_MISC_ENABLE, value: FAST_STRINGS | BTS_UNAVAILABLE | PEBS_UNAVAILABLE },
    ]
}
