//! The way into KVM's structs and back (feature `kvm`). No ioctl is made here.
//!
//! Linux `Documentation/virt/kvm/api.rst`, 4.11 to 4.14, `KVM_GET_REGS` to `KVM_SET_SREGS`.

/// The structs, from the exact version that this crate was built with.
pub use kvm_bindings;
use kvm_bindings::{
    KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2, kvm_dtable, kvm_fpu, kvm_lapic_state, kvm_msr_entry,
    kvm_regs, kvm_segment, kvm_sregs,
};

use super::{
    cpuid::Leaf,
    flags::{Cr0, Cr4, Efer, RFlags},
    fpu::Fpu,
    lapic::LapicPage,
    msr::Msr,
    segment::{Segment, SegmentKind},
    state::{Registers, TableRegister, X86State},
};

/// Patches a struct of another interface with the fields this value owns, and leaves the others alone.
///
/// ```
/// use kvm_bindings::kvm_sregs;
/// use strata_cpu::{ApplyTo, X86State};
///
/// let mut sregs = kvm_sregs { apic_base: 0xfee0_0900, ..Default::default() }; // from KVM_GET_SREGS
/// X86State::real(0x7c00).apply_to(&mut sregs);
/// assert_eq!((sregs.cs.limit, sregs.apic_base), (0xffff, 0xfee0_0900));
/// ```
pub trait ApplyTo<T> {
    /// Patches `target`.
    fn apply_to(&self, target: &mut T);
}

impl ApplyTo<kvm_regs> for X86State {
    fn apply_to(&self, target: &mut kvm_regs) {
        self.regs.apply_to(target);
    }
}

/// A state owns all of `kvm_regs`.
impl ApplyTo<kvm_regs> for Registers {
    fn apply_to(&self, target: &mut kvm_regs) {
        let &Self {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp,
            rbp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            rflags,
        } = self;
        let rflags = rflags.bits();
        *target = kvm_regs {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp,
            rbp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            rflags,
        };
    }
}

/// Leaves `apic_base`, `cr8` and `interrupt_bitmap` alone: they belong to the interrupt controller.
impl ApplyTo<kvm_sregs> for X86State {
    fn apply_to(&self, target: &mut kvm_sregs) {
        let &Self { regs: _, cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, efer } = self;
        cs.apply_to(&mut target.cs);
        ds.apply_to(&mut target.ds);
        es.apply_to(&mut target.es);
        fs.apply_to(&mut target.fs);
        gs.apply_to(&mut target.gs);
        ss.apply_to(&mut target.ss);
        tr.apply_to(&mut target.tr);
        ldt.apply_to(&mut target.ldt);
        gdt.apply_to(&mut target.gdt);
        idt.apply_to(&mut target.idt);
        target.cr0 = cr0.bits();
        target.cr2 = cr2;
        target.cr3 = cr3;
        target.cr4 = cr4.bits();
        target.efer = efer.bits();
    }
}

impl ApplyTo<kvm_segment> for Segment {
    fn apply_to(&self, target: &mut kvm_segment) {
        let &Self { selector, base, limit, kind, dpl, present, long, big, granular, available, unusable } =
            self;
        target.selector = selector;
        target.base = base;
        target.limit = limit;
        target.type_ = kind.type_bits();
        target.s = kind.is_code_or_data().into();
        target.dpl = dpl & 3;
        target.present = present.into();
        target.l = long.into();
        target.db = big.into();
        target.g = granular.into();
        target.avl = available.into();
        target.unusable = unusable.into();
    }
}

impl ApplyTo<kvm_dtable> for TableRegister {
    fn apply_to(&self, target: &mut kvm_dtable) {
        target.base = self.base;
        target.limit = self.limit;
    }
}

impl From<&kvm_regs> for Registers {
    fn from(regs: &kvm_regs) -> Self {
        let &kvm_regs {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp,
            rbp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            rflags,
        } = regs;
        let rflags = RFlags::from_bits_retain(rflags);
        Self { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
    }
}

impl From<&kvm_segment> for Segment {
    fn from(segment: &kvm_segment) -> Self {
        let &kvm_segment {
            base,
            limit,
            selector,
            type_,
            present,
            dpl,
            db,
            s,
            l,
            g,
            avl,
            unusable,
            padding: _,
        } = segment;
        Self {
            selector,
            base,
            limit,
            kind: SegmentKind::from_bits(s != 0, type_),
            dpl: dpl & 3,
            present: present != 0,
            long: l != 0,
            big: db != 0,
            granular: g != 0,
            available: avl != 0,
            unusable: unusable != 0,
        }
    }
}

impl From<&kvm_dtable> for TableRegister {
    fn from(table: &kvm_dtable) -> Self {
        Self { base: table.base, limit: table.limit }
    }
}

impl X86State {
    /// The state in what `KVM_GET_REGS` and `KVM_GET_SREGS` gave.
    pub fn from_kvm(regs: &kvm_regs, sregs: &kvm_sregs) -> Self {
        Self {
            regs: regs.into(),
            cs: (&sregs.cs).into(),
            ds: (&sregs.ds).into(),
            es: (&sregs.es).into(),
            fs: (&sregs.fs).into(),
            gs: (&sregs.gs).into(),
            ss: (&sregs.ss).into(),
            tr: (&sregs.tr).into(),
            ldt: (&sregs.ldt).into(),
            gdt: (&sregs.gdt).into(),
            idt: (&sregs.idt).into(),
            cr0: Cr0::from_bits_retain(sregs.cr0),
            cr2: sregs.cr2,
            cr3: sregs.cr3,
            cr4: Cr4::from_bits_retain(sregs.cr4),
            efer: Efer::from_bits_retain(sregs.efer),
        }
    }
}

/// Linux `Documentation/virt/kvm/api.rst`, 4.46, `KVM_GET_SUPPORTED_CPUID`. Flags of the stateful leaf 2 are no longer used by KVM.
impl From<&kvm_cpuid_entry2> for Leaf {
    fn from(entry: &kvm_cpuid_entry2) -> Self {
        let &kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, padding: _ } = entry;
        let index = (flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0).then_some(index);
        Self { function, index, eax, ebx, ecx, edx }
    }
}

/// Linux `Documentation/virt/kvm/api.rst`, 4.47, `KVM_SET_CPUID2`.
impl From<&Leaf> for kvm_cpuid_entry2 {
    fn from(leaf: &Leaf) -> Self {
        let &Leaf { function, index, eax, ebx, ecx, edx } = leaf;
        let flags = if index.is_some() { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 };
        Self { function, index: index.unwrap_or(0), flags, eax, ebx, ecx, edx, ..Default::default() }
    }
}

/// Linux `Documentation/virt/kvm/api.rst`, 4.19, `KVM_SET_MSRS`.
impl From<Msr> for kvm_msr_entry {
    fn from(msr: Msr) -> Self {
        Self { index: msr.index, data: msr.value, ..Default::default() }
    }
}

/// Linux `Documentation/virt/kvm/api.rst`, 4.57, `KVM_GET_LAPIC`.
impl From<&kvm_lapic_state> for LapicPage {
    fn from(state: &kvm_lapic_state) -> Self {
        Self(state.regs.map(i8::cast_unsigned))
    }
}

/// Owns the whole page.
impl ApplyTo<kvm_lapic_state> for LapicPage {
    fn apply_to(&self, target: &mut kvm_lapic_state) {
        target.regs = self.0.map(u8::cast_signed);
    }
}

/// Owns the three control words of the x87 and MXCSR; registers, and where the last instruction was, stay as they are.
impl ApplyTo<kvm_fpu> for Fpu {
    fn apply_to(&self, target: &mut kvm_fpu) {
        let &Self { fcw, fsw, ftw, mxcsr } = self;
        target.fcw = fcw;
        target.fsw = fsw;
        target.ftwx = ftw;
        target.mxcsr = mxcsr;
    }
}

impl From<&kvm_fpu> for Fpu {
    fn from(fpu: &kvm_fpu) -> Self {
        Self { fcw: fpu.fcw, fsw: fpu.fsw, ftw: fpu.ftwx, mxcsr: fpu.mxcsr }
    }
}

#[cfg(test)]
#[path = "kvm_test.rs"]
mod tests;
