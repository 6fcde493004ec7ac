use super::*;
use crate::x86_64::{descriptor::Descriptor, segment::SegmentKind};

#[test]
fn each_state_is_in_its_mode() {
    assert_eq!(X86State::real(0x7c00).mode(), Mode::Real16);
    assert_eq!(X86State::protected(0x10_0000, 0x500).mode(), Mode::Protected32);
    let long = X86State::long(0x10_0000, 0x9000, 0x500);
    assert_eq!(long.mode(), Mode::Long64);
    let compatibility = X86State { cs: Segment::code32(Gdt::CODE), ..long };
    assert_eq!(compatibility.mode(), Mode::Protected32);
}

#[test]
fn real_mode_starts_at_the_linear_address_asked_for() {
    for (cs, ip, linear) in [(0, 0x7c00, 0x7c00), (0x100, 0, 0x1000), (0xf000, 0xfff0, 0xf_fff0)] {
        let state = X86State::real_at(cs, ip);
        assert_eq!(state.cs.base + state.regs.rip, linear);
        assert_eq!(state.cs.selector, cs);
    }
    assert_eq!(X86State::real(0x7c00), X86State::real_at(0, 0x7c00));
}

#[test]
fn flags_have_their_fixed_bit_and_interrupts_are_off() {
    for state in [X86State::real(0), X86State::protected(0, 0), X86State::long(0, 0, 0)] {
        assert_eq!(state.regs.rflags, RFlags::ALWAYS_ONE);
        assert_eq!(Registers { rip: 0, ..state.regs }, Registers::default());
    }
}

#[test]
fn the_loaded_segments_are_those_in_the_tables() {
    let states =
        [(X86State::protected(0, 0x500), Gdt::flat32()), (X86State::long(0, 0, 0x500), Gdt::long64())];
    for (state, gdt) in states {
        assert_eq!(gdt.segment(state.cs.selector), Some(state.cs));
        for segment in [state.ds, state.es, state.fs, state.gs, state.ss] {
            assert_eq!(gdt.segment(segment.selector), Some(segment));
        }
        assert_eq!((state.gdt.base, state.gdt.limit), (0x500, gdt.limit()));
    }
}

#[test]
fn a_task_register_is_loaded_in_every_mode() {
    for state in [X86State::real(0), X86State::protected(0, 0), X86State::long(0, 0, 0)] {
        assert_eq!(state.tr.kind, SegmentKind::Tss { busy: true });
        assert!(state.tr.present && !state.tr.unusable);
        assert!(Descriptor::encode(&state.tr).is_ok());
    }
}

#[test]
fn long_mode_has_everything_that_paging_needs() {
    let state = X86State::long(0xffff_8000_0000_0000, 0x9000, 0x500);
    assert!(state.cr0.contains(Cr0::PE | Cr0::PG | Cr0::WP));
    assert!(state.cr4.contains(Cr4::PAE));
    assert!(state.efer.contains(Efer::LME | Efer::LMA | Efer::NXE));
    assert_eq!((state.cr3, state.regs.rip), (0x9000, 0xffff_8000_0000_0000));
}

#[test]
fn the_walk_context_is_taken_from_the_state() {
    let mut state = X86State::long(0, 0x9000, 0);
    state.ss = state.ss.for_ring(3);
    state.regs.rflags |= RFlags::AC;
    let expected =
        WalkContext { cr0: state.cr0, cr3: 0x9000, cpl: 3, alignment_check: true, ..WalkContext::LONG_MODE };
    assert_eq!(state.walk_context(), expected);
}
