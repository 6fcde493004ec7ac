//! The registers a guest is entered with, as data.

use super::{
    flags::{Cr0, Cr4, Efer, RFlags},
    gdt::Gdt,
    mode::Mode,
    paging::WalkContext,
    segment::{Segment, SegmentKind},
};

/// The general-purpose registers, RIP and RFLAGS. SDM 1 3.4.1, 3.4.3, 3.5; APM 1 3.1.
///
/// In memory they lie as KVM has them in `struct kvm_regs`.
#[expect(missing_docs, reason = "each field is the register of that name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: RFlags,
}

impl Default for Registers {
    /// All zero, interrupts off; RFLAGS has the one bit that cannot be clear.
    fn default() -> Self {
        ZERO
    }
}

impl Registers {
    /// The general-purpose registers by name, without RIP and RFLAGS.
    pub const fn general(&self) -> [(&'static str, u64); 16] {
        let &Self { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, .. } = self;
        [
            ("rax", rax),
            ("rbx", rbx),
            ("rcx", rcx),
            ("rdx", rdx),
            ("rsi", rsi),
            ("rdi", rdi),
            ("rsp", rsp),
            ("rbp", rbp),
            ("r8", r8),
            ("r9", r9),
            ("r10", r10),
            ("r11", r11),
            ("r12", r12),
            ("r13", r13),
            ("r14", r14),
            ("r15", r15),
        ]
    }
}

/// GDTR or IDTR. SDM 3A 2.4.1, 2.4.3; APM 2 4.6.2, 4.6.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TableRegister {
    /// Linear address of the table.
    pub base: u64,
    /// Length of the table in bytes, less one.
    pub limit: u16,
}

/// Everything that decides how the processor runs its next instruction, except the FPU and the MSRs.
///
/// The constructors give the three states a guest can be entered in. Interrupts are off, the general-purpose
/// registers are zero, caching is on; change any field afterwards: they are all public, none depends on
/// another.
///
/// ```
/// use strata_cpu::{Mode, X86State};
///
/// let mut state = X86State::long(0x10_0000, 0x9000, 0x500);
/// state.regs.rsp = 0x8ff0;
/// assert_eq!((state.mode(), state.cs.selector, state.gdt.limit), (Mode::Long64, 0x08, 23));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct X86State {
    /// General-purpose registers, RIP and RFLAGS.
    pub regs: Registers,
    /// Code segment.
    pub cs: Segment,
    /// Data segment.
    pub ds: Segment,
    /// Extra segment.
    pub es: Segment,
    /// F segment; in 64-bit mode its base is an MSR too.
    pub fs: Segment,
    /// G segment; in 64-bit mode its base is an MSR too.
    pub gs: Segment,
    /// Stack segment; its DPL is the current ring.
    pub ss: Segment,
    /// Task register.
    pub tr: Segment,
    /// Local descriptor table register.
    pub ldt: Segment,
    /// Where the GDT lies. Segments already loaded do not need it; loading one does.
    pub gdt: TableRegister,
    /// Where the IDT lies.
    pub idt: TableRegister,
    /// Control register 0.
    pub cr0: Cr0,
    /// Control register 2: the address of the last page fault.
    pub cr2: u64,
    /// Control register 3: the address of the top page table, PCID or cache bits in its low 12 bits.
    pub cr3: u64,
    /// Control register 4.
    pub cr4: Cr4,
    /// Extended feature enables.
    pub efer: Efer,
}

impl X86State {
    /// Real mode at linear address `ip`: CS 0, as kernels' boot sectors expect to be entered.
    pub const fn real(ip: u16) -> Self {
        Self::real_at(0, ip)
    }

    /// Real mode at `cs`:`ip`, linear address `cs * 16 + ip`; the other segments are 0. The interrupt vectors
    /// lie at 0, as after reset. SDM 3A "Processor State After Reset", SDM 3B "8086 Emulation"; APM 2 14.1.3.
    ///
    /// Unlike after reset the caches are on, since CR0.CD and CR0.NW have no use in a virtual machine.
    pub const fn real_at(cs: u16, ip: u16) -> Self {
        let data = Segment::real(0, SegmentKind::DATA);
        Self {
            regs: Registers { rip: ip as u64, ..ZERO },
            cs: Segment::real(cs, SegmentKind::CODE),
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            // VMX and SVM want a busy TSS here in every mode, also where no task exists. SDM 3C "Checks on
            // Guest Segment Registers".
            tr: Segment::real(0, SegmentKind::Tss { busy: true }),
            ldt: Segment::real(0, SegmentKind::Ldt),
            gdt: TableRegister { base: 0, limit: 0xffff },
            idt: TableRegister { base: 0, limit: 0xffff },
            cr0: Cr0::ET,
            cr2: 0,
            cr3: 0,
            cr4: Cr4::empty(),
            efer: Efer::empty(),
        }
    }

    /// 32-bit protected mode at `eip`: flat segments, paging off, no IDT.
    ///
    /// GDTR points to `gdt_base`, where the bytes of [`Gdt::flat32`] have to be by the time the guest loads a
    /// segment register. SDM 3A "Switching to Protected Mode"; APM 2 14.4.
    pub const fn protected(eip: u32, gdt_base: u64) -> Self {
        let data = Segment::data(Gdt::DATA);
        Self {
            regs: Registers { rip: eip as u64, ..ZERO },
            cs: Segment::code32(Gdt::CODE),
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            gdt: TableRegister { base: gdt_base, limit: Gdt::ENTRY_LIMIT },
            idt: TableRegister { base: 0, limit: 0 },
            cr0: Cr0::ET.union(Cr0::NE).union(Cr0::PE),
            ..Self::real(0)
        }
    }

    /// 64-bit mode at `rip`: paging by the 4-level tables at `cr3`, no IDT, no SSE (set [`Cr4::OSFXSR`] for
    /// it).
    ///
    /// GDTR points to `gdt_base`, where the bytes of [`Gdt::long64`] have to be by the time the guest loads a
    /// segment register. Write protection and no-execute are on, so the tables' rights hold in ring 0 too.
    /// SDM 3A "Initializing IA-32e Mode"; APM 2 14.6.
    pub const fn long(rip: u64, cr3: u64, gdt_base: u64) -> Self {
        let flat = Self::protected(0, gdt_base);
        Self {
            regs: Registers { rip, ..ZERO },
            cs: Segment::code64(Gdt::CODE),
            cr0: flat.cr0.union(Cr0::PG).union(Cr0::WP),
            cr3,
            cr4: Cr4::PAE,
            efer: Efer::LME.union(Efer::LMA).union(Efer::NXE),
            ..flat
        }
    }

    /// The mode the next instruction runs in. 16-bit and 32-bit code under long mode is
    /// [`Mode::Protected32`],
    /// so is 16-bit and virtual-8086 code under protected mode: its addresses go through the same tables.
    pub const fn mode(&self) -> Mode {
        if self.efer.contains(Efer::LMA) && self.cs.long {
            Mode::Long64
        } else if self.cr0.contains(Cr0::PE) {
            Mode::Protected32
        } else {
            Mode::Real16
        }
    }

    /// What [`walk`](super::paging::walk) needs to translate an address as this state would.
    pub const fn walk_context(&self) -> WalkContext {
        WalkContext {
            cr0: self.cr0,
            cr3: self.cr3,
            cr4: self.cr4,
            efer: self.efer,
            cpl: self.ss.dpl,
            alignment_check: self.regs.rflags.contains(RFlags::AC),
            ..WalkContext::LONG_MODE
        }
    }
}

/// [`Registers::default`], where a `const` is needed.
const ZERO: Registers = Registers {
    rax: 0,
    rbx: 0,
    rcx: 0,
    rdx: 0,
    rsi: 0,
    rdi: 0,
    rsp: 0,
    rbp: 0,
    r8: 0,
    r9: 0,
    r10: 0,
    r11: 0,
    r12: 0,
    r13: 0,
    r14: 0,
    r15: 0,
    rip: 0,
    rflags: RFlags::ALWAYS_ONE,
};

#[cfg(test)]
#[path = "state_test.rs"]
mod tests;
