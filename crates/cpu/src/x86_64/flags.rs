//! Control registers, RFLAGS, page-table entries and the page-fault error code, bit by bit.
//!
//! Bits without a name are kept, never dropped: a state read from a newer processor goes back unchanged.

use bitflags::bitflags;

bitflags! {
    /// CR0: protection, paging, caching, FPU. SDM 3A 2.5 "Control Registers"; APM 2 3.1.1.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Cr0: u64 {
        /// Protection Enable: protected mode; clear in real mode. SDM 3A 2.5, CR0.PE.
        const PE = 1 << 0;
        /// Monitor Coprocessor: WAIT obeys TS. SDM 3A 2.5, CR0.MP.
        const MP = 1 << 1;
        /// Emulation: x87 instructions fault, there is no FPU. SDM 3A 2.5, CR0.EM.
        const EM = 1 << 2;
        /// Task Switched: the next FPU use faults, so that an OS can swap lazily. SDM 3A 2.5, CR0.TS.
        const TS = 1 << 3;
        /// Extension Type: always 1 since the Pentium. SDM 3A 2.5, CR0.ET.
        const ET = 1 << 4;
        /// Numeric Error: x87 errors as #MF and not through the PIC. SDM 3A 2.5, CR0.NE.
        const NE = 1 << 5;
        /// Write Protect: ring 0 too obeys read-only pages. SDM 3A 2.5, CR0.WP.
        const WP = 1 << 16;
        /// Alignment Mask: RFLAGS.AC checks alignment in ring 3. SDM 3A 2.5, CR0.AM.
        const AM = 1 << 18;
        /// Not Write-through: with CD, a way to turn caching off. SDM 3A 2.5, CR0.NW.
        const NW = 1 << 29;
        /// Cache Disable; set at reset. SDM 3A 2.5, CR0.CD.
        const CD = 1 << 30;
        /// Paging; needs PE, and in 64-bit mode PAE. SDM 3A 2.5, CR0.PG.
        const PG = 1 << 31;
        /// Bits without a name.
        const _ = !0;
    }
}

bitflags! {
    /// CR4: the extensions an operating system has turned on. SDM 3A 2.5 "Control Registers"; APM 2 3.1.3.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Cr4: u64 {
        /// Virtual-8086 Mode Extensions. SDM 3A 2.5, CR4.VME.
        const VME = 1 << 0;
        /// Protected-Mode Virtual Interrupts. SDM 3A 2.5, CR4.PVI.
        const PVI = 1 << 1;
        /// Time Stamp Disable: RDTSC in ring 0 only. SDM 3A 2.5, CR4.TSD.
        const TSD = 1 << 2;
        /// Debugging Extensions: DR4 and DR5 no longer alias DR6 and DR7. SDM 3A 2.5, CR4.DE.
        const DE = 1 << 3;
        /// Page Size Extensions: 4 MiB pages under 32-bit paging. SDM 3A 2.5, CR4.PSE.
        const PSE = 1 << 4;
        /// Physical Address Extension: 8-byte entries; long mode needs it. SDM 3A 2.5, CR4.PAE.
        const PAE = 1 << 5;
        /// Machine-Check Enable. SDM 3A 2.5, CR4.MCE.
        const MCE = 1 << 6;
        /// Page Global Enable: global pages outlive a CR3 load in the TLB. SDM 3A 2.5, CR4.PGE.
        const PGE = 1 << 7;
        /// Performance-Monitoring Counter Enable: RDPMC in ring 3. SDM 3A 2.5, CR4.PCE.
        const PCE = 1 << 8;
        /// The OS saves SSE state: SSE instructions work. SDM 3A 2.5, CR4.OSFXSR.
        const OSFXSR = 1 << 9;
        /// The OS handles #XM. SDM 3A 2.5, CR4.OSXMMEXCPT.
        const OSXMMEXCPT = 1 << 10;
        /// User-Mode Instruction Prevention: SGDT, SIDT.. fault in ring 3. SDM 3A 2.5, CR4.UMIP.
        const UMIP = 1 << 11;
        /// 57-bit linear addresses: 5-level paging. SDM 3A 2.5, CR4.LA57.
        const LA57 = 1 << 12;
        /// Virtual Machine Extensions Enable (VMX). SDM 3A 2.5, CR4.VMXE.
        const VMXE = 1 << 13;
        /// Safer Mode Extensions Enable. SDM 3A 2.5, CR4.SMXE.
        const SMXE = 1 << 14;
        /// RDFSBASE and its three siblings work. SDM 3A 2.5, CR4.FSGSBASE.
        const FSGSBASE = 1 << 16;
        /// Process-Context Identifiers. SDM 3A 2.5, CR4.PCIDE.
        const PCIDE = 1 << 17;
        /// The OS saves extended state by XSAVE. SDM 3A 2.5, CR4.OSXSAVE.
        const OSXSAVE = 1 << 18;
        /// Key Locker Enable. SDM 3A 2.5, CR4.KL.
        const KL = 1 << 19;
        /// Supervisor Mode Execution Prevention: ring 0 executes no user page. SDM 3A 2.5, CR4.SMEP.
        const SMEP = 1 << 20;
        /// Supervisor Mode Access Prevention: ring 0 touches no user page unless AC is set. SDM 3A 2.5,
        /// CR4.SMAP.
        const SMAP = 1 << 21;
        /// Protection keys for user pages. SDM 3A 2.5, CR4.PKE.
        const PKE = 1 << 22;
        /// Control-flow Enforcement Technology. SDM 3A 2.5, CR4.CET.
        const CET = 1 << 23;
        /// Protection keys for supervisor pages. SDM 3A 2.5, CR4.PKS.
        const PKS = 1 << 24;
        /// User interrupts. SDM 3A 2.5, CR4.UINTR.
        const UINTR = 1 << 25;
        /// Bits without a name.
        const _ = !0;
    }
}

bitflags! {
    /// The Extended Feature Enable Register, MSR `0xc000_0080`. SDM 3A 2.2.1; APM 2 3.1.7.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Efer: u64 {
        /// System Call Extensions: SYSCALL and SYSRET work. SDM 3A 2.2.1, table 2-1; APM 2 3.1.7.
        const SCE = 1 << 0;
        /// Long Mode Enable: paging, once turned on, is 4-level. SDM 3A 2.2.1, table 2-1; APM 2 3.1.7.
        const LME = 1 << 8;
        /// Long Mode Active: set by the processor when LME and CR0.PG are. SDM 3A 2.2.1, table 2-1; APM 2
        /// 3.1.7.
        const LMA = 1 << 10;
        /// No-Execute Enable: entry bit 63 means no-execute, else it is reserved. SDM 3A 2.2.1, table 2-1;
        /// APM 2 3.1.7.
        const NXE = 1 << 11;
        /// Secure Virtual Machine Enable (AMD). APM 2 3.1.7.
        const SVME = 1 << 12;
        /// Long Mode Segment Limit Enable (AMD). APM 2 3.1.7.
        const LMSLE = 1 << 13;
        /// Fast FXSAVE and FXRSTOR (AMD). APM 2 3.1.7.
        const FFXSR = 1 << 14;
        /// Translation Cache Extension (AMD). APM 2 3.1.7.
        const TCE = 1 << 15;
        /// Bits without a name.
        const _ = !0;
    }
}

impl Efer {
    /// The number RDMSR and WRMSR know this register by. SDM 4 table 2-2; APM 2 3.1.7.
    pub const MSR: u32 = 0xc000_0080;
}

bitflags! {
    /// RFLAGS. SDM 1 3.4.3 "EFLAGS Register"; APM 2 3.1.6.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RFlags: u64 {
        /// Carry. SDM 1 3.4.3.1.
        const CF = 1 << 0;
        /// Reads as 1, always; a state without it is refused by VMX. SDM 1 3.4.3, figure 3-8.
        const ALWAYS_ONE = 1 << 1;
        /// Parity. SDM 1 3.4.3.1.
        const PF = 1 << 2;
        /// Auxiliary carry. SDM 1 3.4.3.1.
        const AF = 1 << 4;
        /// Zero. SDM 1 3.4.3.1.
        const ZF = 1 << 6;
        /// Sign. SDM 1 3.4.3.1.
        const SF = 1 << 7;
        /// Trap: single-step, a #DB after each instruction. SDM 1 3.4.3.3.
        const TF = 1 << 8;
        /// Interrupts are taken. SDM 1 3.4.3.3.
        const IF = 1 << 9;
        /// Direction of string instructions: set is downwards. SDM 1 3.4.3.2.
        const DF = 1 << 10;
        /// Overflow. SDM 1 3.4.3.1.
        const OF = 1 << 11;
        /// I/O privilege level, low bit: rings up to it may use IN and OUT. SDM 1 3.4.3.3.
        const IOPL_LOW = 1 << 12;
        /// I/O privilege level, high bit. SDM 1 3.4.3.3.
        const IOPL_HIGH = 1 << 13;
        /// Nested task. SDM 1 3.4.3.3.
        const NT = 1 << 14;
        /// Resume: one instruction breakpoint is passed over. SDM 1 3.4.3.3.
        const RF = 1 << 16;
        /// Virtual-8086 mode. SDM 1 3.4.3.3.
        const VM = 1 << 17;
        /// Alignment check in ring 3; in ring 0 lifts SMAP. SDM 1 3.4.3.3.
        const AC = 1 << 18;
        /// Virtual interrupt flag. SDM 1 3.4.3.3.
        const VIF = 1 << 19;
        /// Virtual interrupt pending. SDM 1 3.4.3.3.
        const VIP = 1 << 20;
        /// Can be toggled where CPUID exists. SDM 1 3.4.3.3.
        const ID = 1 << 21;
        /// Bits without a name.
        const _ = !0;
    }
}

bitflags! {
    /// An entry of a paging structure with 8-byte entries. SDM 3A 5.5.4 "Linear-Address Translation with
    /// 4-Level Paging", tables 5-15 to 5-20; APM 2 5.3.
    ///
    /// The frame address is not among the flags: mask it with [`PageEntry::ADDRESS`]. The low eight flags
    /// mean the same in the 4-byte entries of 32-bit paging (SDM 3A 5.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PageEntry: u64 {
        /// P: without it no other bit means anything. SDM 3A 5.5.4.
        const PRESENT = 1 << 0;
        /// R/W: writes are allowed. SDM 3A 5.5.4, 5.6.1.
        const WRITABLE = 1 << 1;
        /// U/S: ring 3 may use it. SDM 3A 5.5.4, 5.6.1.
        const USER = 1 << 2;
        /// PWT: write-through caching. SDM 3A 5.9.2.
        const WRITE_THROUGH = 1 << 3;
        /// PCD: no caching. SDM 3A 5.9.2.
        const CACHE_DISABLE = 1 << 4;
        /// A: set by the processor when it uses the entry. SDM 3A 5.8 "Accessed and Dirty Flags".
        const ACCESSED = 1 << 5;
        /// D: set by the processor when it writes through a leaf. SDM 3A 5.8.
        const DIRTY = 1 << 6;
        /// PS: this PDE or PDPTE is a leaf. In a PTE the bit is [`Self::PAT_4K`]. SDM 3A 5.5.4.
        const HUGE = 1 << 7;
        /// G: the translation outlives a CR3 load, with CR4.PGE. SDM 3A 5.10.2.4 "Global Pages".
        const GLOBAL = 1 << 8;
        /// XD (APM: NX): no instruction is fetched; reserved without EFER.NXE. SDM 3A 5.6.1; APM 2 5.6.3.
        const NO_EXECUTE = 1 << 63;
        /// The frame address, and bits that software may use.
        const _ = !0;
    }
}

impl PageEntry {
    /// PAT in a 4 KiB leaf, the same bit as PS above it. SDM 3A 5.9.2, table 5-20.
    pub const PAT_4K: u64 = 1 << 7;
    /// PAT in a 2 MiB, 4 MiB or 1 GiB leaf. SDM 3A 5.9.2, tables 5-16 and 5-18.
    pub const PAT_HUGE: u64 = 1 << 12;
    /// Where the frame address lies: bits 12 to 51, the most the architecture has. SDM 3A 5.5.4; APM 2 5.3.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

bitflags! {
    /// The error code a page fault pushes. SDM 3A 5.7 "Page-Fault Exceptions"; APM 2 8.4.2.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PageFaultCode: u32 {
        /// P: set when the page was present and its rights forbade the access. SDM 3A 5.7.
        const PRESENT = 1 << 0;
        /// W/R: the access was a write. SDM 3A 5.7.
        const WRITE = 1 << 1;
        /// U/S: the access was made in ring 3. SDM 3A 5.7.
        const USER = 1 << 2;
        /// RSVD: a reserved bit was set in an entry. SDM 3A 5.7.
        const RESERVED = 1 << 3;
        /// I/D: the access was an instruction fetch; reported with SMEP or NX only. SDM 3A 5.7.
        const FETCH = 1 << 4;
        /// PK: a protection key forbade it. SDM 3A 5.7.
        const PROTECTION_KEY = 1 << 5;
        /// SS: it was a shadow-stack access. SDM 3A 5.7.
        const SHADOW_STACK = 1 << 6;
        /// HLAT: it happened in hypervisor-managed translation. SDM 3A 5.7.
        const HLAT = 1 << 7;
        /// Bits without a name.
        const _ = !0;
    }
}

#[cfg(test)]
#[path = "flags_test.rs"]
mod tests;
