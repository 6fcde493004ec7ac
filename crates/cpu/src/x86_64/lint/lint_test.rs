use proptest::prelude::*;

use super::*;
use crate::testing::config;
use crate::x86_64::{
    cpuid::Leaf,
    paging::{Access, PageSize, PageTables},
    segment::{Segment, SegmentKind},
    state::TableRegister,
};

fn rules(state: &X86State) -> Vec<Rule> {
    lint(state, &Limits::ALL).iter().map(|violation| violation.rule).collect()
}

#[test]
fn what_the_constructors_give_is_right() {
    proptest!(config(), |(at: u32, page in 0..1u64 << 24, stack: u32, rip: u64)| {
        let [cs, ip] = [at >> 16, at & 0xffff].map(|half| u16::try_from(half).unwrap());
        let canonical = (rip << 16).cast_signed() >> 16;
        for mut state in [
            X86State::real_at(cs, ip),
            X86State::protected(at, page),
            X86State::long(canonical.cast_unsigned(), page << 12, page),
        ] {
            state.regs.rsp = stack.into();
            state.idt = TableRegister { base: page, limit: ip };
            prop_assert_eq!(lint(&state, &Limits { phys_bits: 36, ..Limits::ALL }), []);
        }
    });
}

/// No value of any register is too much for the linter.
#[test]
fn any_state_can_be_looked_at() {
    let segment = (any::<(u16, u64, u32, u8)>(), any::<[bool; 6]>(), any::<u8>()).prop_map(
        |((selector, base, limit, dpl), [present, long, big, granular, unusable, code], bits)| Segment {
            kind: SegmentKind::from_bits(code, bits),
            dpl,
            present,
            long,
            big,
            granular,
            unusable,
            limit,
            ..Segment { base, ..Segment::real(selector, SegmentKind::DATA) }
        },
    );
    let state = (any::<[u64; 8]>(), prop::collection::vec(segment, 8), any::<[u16; 2]>()).prop_map(
        |([rip, rsp, rflags, cr0, cr3, cr4, efer, base], segments, limits)| {
            let mut state = X86State::long(rip, cr3, base);
            state.regs.rsp = rsp;
            state.regs.rflags = RFlags::from_bits_retain(rflags);
            (state.cr0, state.cr4) = (Cr0::from_bits_retain(cr0), Cr4::from_bits_retain(cr4));
            state.efer = Efer::from_bits_retain(efer);
            let [cs, ss, ds, es, fs, gs, tr, ldt] = segments.try_into().unwrap();
            (state.gdt.limit, state.idt) = (limits[0], TableRegister { base, limit: limits[1] });
            X86State { cs, ds, es, fs, gs, ss, tr, ldt, ..state }
        },
    );
    proptest!(config(), |(state in state, width: u8, seed: u64)| {
        for violation in lint(&state, &Limits { phys_bits: width, ..Limits::ALL }) {
            prop_assert!(!violation.to_string().is_empty());
        }
        let mut asked = 0;
        let memory = |at: u64| {
            asked += 1;
            // Half of memory is there, and leads anywhere.
            let word = (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (word >> 63 == 0).then_some(word | 7)
        };
        for finding in lint_memory(memory, &state) {
            prop_assert!(!finding.to_string().contains('\n'), "{}", finding);
        }
        prop_assert!(asked <= 300, "{}", asked);
    });
}

#[test]
fn a_violation_is_one_sentence() {
    let mut state = X86State::long(0x1000, 0x9000, 0x500);
    state.cs.big = true;
    let violations = lint(&state, &Limits::ALL);
    assert_eq!(
        violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "CS.D is 0x1, but 64-bit code (CS.L=1) must have CS.D=0 (SDM 3C, checks on guest segment registers; \
          APM 2 15.5.1); processors refuse to enter the guest"
        ]
    );
    assert!(violations[0].is_fatal());
    state = X86State::long(0x1000, 0x9000, 0x500);
    state.regs.rflags = RFlags::empty();
    let violations = lint(&state, &Limits::ALL);
    assert_eq!(
        violations[0].to_string(),
        "RFLAGS is 0x0, but bit 1 is always 1 (SDM 3C, checks on guest RIP, RFLAGS and SSP); KVM lets it pass"
    );
    assert!(!violations[0].is_fatal());
}

#[test]
fn virtual_8086_mode_has_segments_of_its_own() {
    let segment = |selector| Segment { dpl: 3, ..Segment::real(selector, SegmentKind::DATA) };
    let mut state = X86State::protected(0x100, 0x500);
    state.regs.rflags |= RFlags::VM;
    [state.cs, state.ss, state.ds, state.es, state.fs, state.gs] = [0x1001, 0x2002, 3, 4, 5, 6].map(segment);
    assert_eq!(rules(&state), []);
    state.gs.base += 1;
    assert_eq!(rules(&state), [Rule::Virtual8086Segment]);
}

#[test]
fn ring_3_is_a_ring_to_enter() {
    let mut state = X86State::long(0x1000, 0x9000, 0x500);
    for segment in [&mut state.cs, &mut state.ss, &mut state.ds, &mut state.es, &mut state.fs, &mut state.gs]
    {
        *segment = segment.for_ring(3);
    }
    assert_eq!(rules(&state), []);
}

#[test]
fn only_vmx_cares_for_what_long_mode_needs_pcid_and_write_protection_for() {
    let mut state = X86State::long(0x1000, 0x9000, 0x500);
    state.cr4 |= Cr4::PCIDE | Cr4::CET;
    assert_eq!(rules(&state), []);
    state.cr0 -= Cr0::WP;
    assert_eq!(rules(&state), [Rule::CetWithoutWriteProtect]);
    state = X86State::protected(0x1000, 0x500);
    state.cr4 |= Cr4::PCIDE;
    assert_eq!(rules(&state), [Rule::PcidOutsideLongMode]);
}

#[test]
fn limits_are_what_cpuid_says() {
    let none = Limits::of(&Cpuid::default());
    assert_eq!(
        (none.phys_bits, none.cr4.contains(Cr4::PAE), none.cr4.contains(Cr4::SMEP)),
        (36, true, false)
    );
    assert!(!none.efer.intersects(Efer::LME | Efer::NXE | Efer::SVME | Efer::SCE));
    let cpuid = Cpuid::new([
        Leaf { ecx: 1 << 17, ..Leaf::zero(1, None) },
        Leaf { ebx: 1 << 7, ecx: 1 << 16, ..Leaf::zero(7, Some(0)) },
        Leaf { eax: 1 << 26, ..Leaf::zero(7, Some(1)) },
        Leaf { edx: 1 << 29 | 1 << 20, ..Leaf::zero(0x8000_0001, None) },
        Leaf { eax: 0x3028, ..Leaf::zero(0x8000_0008, None) },
    ]);
    let some = Limits::of(&cpuid);
    assert_eq!(some.phys_bits, 40);
    assert!(some.cr4.contains(Cr4::PCIDE | Cr4::SMEP | Cr4::LA57 | LAM_SUP) && !some.cr4.contains(Cr4::SMAP));
    assert!(some.efer.contains(Efer::LME | Efer::LMA | Efer::NXE) && !some.efer.contains(Efer::SCE));

    let mut state = X86State::long(0x1000, 0x9000 | 3 << 61, 0x500);
    assert_eq!(lint(&state, &some), [], "CR3's bits of linear address masking");
    state.cr3 = 1 << 40;
    assert_eq!(lint(&state, &some)[0].found, 1 << 40);
    // Canonical where there are five levels, though four of them are in use; RIP has to be one of these four.
    state = X86State::long(1 << 50, 0x9000, 1 << 50);
    let rules: Vec<_> = lint(&state, &some).iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::RipNotCanonical]);
}

#[test]
fn page_directory_pointers_are_loaded_with_cr3() {
    let mut state = X86State::protected(0x1000, 0x500);
    (state.cr0, state.cr4, state.cr3) = (state.cr0 | Cr0::PG, Cr4::PAE, 0x9020);
    let findings = lint_memory(|at| (at < 0x10000).then_some(if at == 0x9038 { 0x3 } else { 0 }), &state);
    assert_eq!(
        findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "the page-directory-pointer table cannot be read at 0x9020: the PDPTE at 0x9038 has reserved bits 0x2 set"
        ]
    );
    assert!(findings[0].is_fatal());
    let findings = lint_memory(|at| (at < 0x9000).then_some(0), &state);
    assert_eq!(findings[0].trouble, Trouble::NoRam { phys: 0x9020 });
}

#[test]
fn a_state_whose_memory_is_there_has_no_findings() {
    let tables = PageTables::identity(0x9000, 4 << 30, PageSize::Size2M, Access::RWX).unwrap();
    let memory = |at: u64| {
        let Some((_, page)) = tables.pages().find(|(start, _)| *start == at & !0xfff) else {
            return (at < 0x10_0000).then_some(0);
        };
        page.as_chunks()
            .0
            .get(usize::try_from(at & 0xfff).unwrap() / 8)
            .map(|entry| u64::from_le_bytes(*entry))
    };
    for mut state in [
        X86State::real(0x7c00),
        X86State::protected(0x1000, 0x500),
        X86State::long(0x1000, tables.cr3(), 0x500),
    ] {
        state.regs.rsp = 0x8000;
        assert_eq!(lint_memory(memory, &state), []);
    }
    // Offsets wrap where the segment does.
    let mut state = X86State::real_at(0xf000, 0xfff0);
    assert_eq!(lint_memory(memory, &state), []);
    state.regs.rsp = 1;
    state.ss = Segment::real(0xffff, SegmentKind::DATA);
    assert_eq!(lint_memory(memory, &state)[0].address, 0x10_ffef);
}
