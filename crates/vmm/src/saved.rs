//! Processor state as it is saved: types of their own, with their version in their name, apart from the running ones.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use serde::{Deserialize, Serialize};
use strata_cpu::{ApplyTo as _, X86State};

/// An [`X86State`], version 1. Field by field as KVM has it (`struct kvm_regs`, `struct kvm_sregs`, api.rst 4.11, 4.13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the registers' own names")]
pub struct StateV1 {
    /// RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8 to R15.
    pub general: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub cs: SegmentV1,
    pub ds: SegmentV1,
    pub es: SegmentV1,
    pub fs: SegmentV1,
    pub gs: SegmentV1,
    pub ss: SegmentV1,
    pub tr: SegmentV1,
    pub ldt: SegmentV1,
    /// Base and limit.
    pub gdt: (u64, u16),
    /// Base and limit.
    pub idt: (u64, u16),
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
}

/// A segment register with its hidden part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentV1 {
    /// Base address.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u32,
    /// Selector.
    pub selector: u16,
    /// The descriptor's bits 40 to 55 without the limit's: type, S, DPL, P in the low byte; AVL, L, D/B, G in bits
    /// 12 to 15. Bit 8 is not a descriptor's: the register is unusable.
    pub attributes: u16,
}

impl From<&kvm_segment> for SegmentV1 {
    fn from(segment: &kvm_segment) -> Self {
        let kvm_segment {
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
        } = *segment;
        let bits = [
            (type_, 0),
            (s, 4),
            (dpl, 5),
            (present, 7),
            (unusable, 8),
            (avl, 12),
            (l, 13),
            (db, 14),
            (g, 15),
        ];
        let attributes = bits.into_iter().fold(0, |all, (value, at)| all | u16::from(value) << at);
        Self { base, limit, selector, attributes }
    }
}

impl From<&SegmentV1> for kvm_segment {
    fn from(segment: &SegmentV1) -> Self {
        let SegmentV1 { base, limit, selector, attributes } = *segment;
        let field = |at: u16, mask: u16| (attributes >> at & mask).to_le_bytes()[0];
        Self {
            base,
            limit,
            selector,
            type_: field(0, 0xf),
            s: field(4, 1),
            dpl: field(5, 3),
            present: field(7, 1),
            unusable: field(8, 1),
            avl: field(12, 1),
            l: field(13, 1),
            db: field(14, 1),
            g: field(15, 1),
            padding: 0,
        }
    }
}

impl From<&X86State> for StateV1 {
    fn from(state: &X86State) -> Self {
        let (mut regs, mut sregs) = (kvm_regs::default(), kvm_sregs::default());
        state.apply_to(&mut regs);
        state.apply_to(&mut sregs);
        let kvm_regs {
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
        let table = |table: &kvm_dtable| (table.base, table.limit);
        Self {
            general: [rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15],
            rip,
            rflags,
            cs: (&sregs.cs).into(),
            ds: (&sregs.ds).into(),
            es: (&sregs.es).into(),
            fs: (&sregs.fs).into(),
            gs: (&sregs.gs).into(),
            ss: (&sregs.ss).into(),
            tr: (&sregs.tr).into(),
            ldt: (&sregs.ldt).into(),
            gdt: table(&sregs.gdt),
            idt: table(&sregs.idt),
            cr0: sregs.cr0,
            cr2: sregs.cr2,
            cr3: sregs.cr3,
            cr4: sregs.cr4,
            efer: sregs.efer,
        }
    }
}

impl From<&StateV1> for X86State {
    fn from(saved: &StateV1) -> Self {
        let StateV1 {
            general,
            rip,
            rflags,
            cs,
            ds,
            es,
            fs,
            gs,
            ss,
            tr,
            ldt,
            gdt,
            idt,
            cr0,
            cr2,
            cr3,
            cr4,
            efer,
        } = saved;
        let [rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15] = *general;
        let (rip, rflags) = (*rip, *rflags);
        let regs = kvm_regs {
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
        let table = |&(base, limit): &(u64, u16)| kvm_dtable { base, limit, ..Default::default() };
        let sregs = kvm_sregs {
            cs: cs.into(),
            ds: ds.into(),
            es: es.into(),
            fs: fs.into(),
            gs: gs.into(),
            ss: ss.into(),
            tr: tr.into(),
            ldt: ldt.into(),
            gdt: table(gdt),
            idt: table(idt),
            cr0: *cr0,
            cr2: *cr2,
            cr3: *cr3,
            cr4: *cr4,
            efer: *efer,
            ..Default::default()
        };
        Self::from_kvm(&regs, &sregs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_state_comes_back_as_it_was() {
        for mut state in
            [X86State::real(0x7c00), X86State::protected(0x10_0000, 0x500), X86State::long(1, 0x9000, 0)]
        {
            state.regs.r15 = u64::MAX;
            state.cr2 = 0x1234;
            state.idt.limit = 0xfff;
            let saved = StateV1::from(&state);
            assert_eq!(X86State::from(&saved), state);
            assert_eq!(StateV1::from(&X86State::from(&saved)), saved);
        }
    }

    #[test]
    fn attributes_are_the_descriptors_bits() {
        let code = StateV1::from(&X86State::long(0, 0, 0)).cs;
        // Present, code, readable, accessed; long; granular: a 64-bit code segment's 0x9b and 0xa.
        assert_eq!((code.attributes, code.limit), (0xa09b, u32::MAX));
    }
}
