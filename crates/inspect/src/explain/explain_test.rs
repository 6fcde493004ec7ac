use proptest::prelude::*;
use strata_cpu::{Cr0, Cr4, Efer, RFlags, X86State};
use strata_vmm::Stop;

use super::*;
use crate::View;
use crate::testing::{CODE, Lab, RAM};

fn death(lab: &Lab, stop: &Stop) -> Explanation {
    let view = View::new(&lab.memory, &lab.state);
    explain(&Death {
        stop,
        view,
        vcpu: Some(1),
        symbols: None,
        exits: &[],
        trail: &[],
        machine: &Facts::default(),
    })
}

#[test]
fn good_ends_accuse_nobody() {
    for stop in [
        Stop::Halted,
        Stop::PowerOff,
        Stop::Reset,
        Stop::Panicked,
        Stop::DebugExit { value: 3 },
        Stop::OutputClosed,
        Stop::Interrupted,
        Stop::VcpuDied { vcpu: 0 },
        Stop::UnknownExit { reason: 99 },
    ] {
        let explanation = death(&Lab::long(), &stop);
        assert!(!explanation.is_accusation(), "{explanation}");
        assert_eq!(explanation.to_string(), stop.to_string());
    }
}

#[test]
fn a_processor_that_was_reset_needs_a_replay() {
    let mut lab = Lab::real();
    lab.state.cs.base = 0xffff_0000;
    lab.state.regs.rip = 0xfff0;
    lab.state.cr0 = Cr0::CD | Cr0::NW | Cr0::ET;
    let explanation = death(&lab, &Stop::TripleFault);
    assert_eq!(explanation.kind, Kind::StateGone);
    assert!(explanation.to_string().contains("replay"), "{explanation}");
}

#[test]
fn an_entry_that_fails_is_explained_by_the_rules() {
    let failed = Stop::FailEntry { reason: 0x8000_0021, cpu: 0 };
    let mut lab = Lab::long();
    assert!(!death(&lab, &failed).is_accusation(), "nothing is wrong with this state");
    lab.state.cr4 -= Cr4::PAE;
    for stop in [failed, Stop::VcpuFailed { vcpu: 0, call: "run", errno: 22 }] {
        let explanation = death(&lab, &stop);
        assert!(explanation.is_accusation());
        assert_eq!(explanation.kind, Kind::FailedEntry);
        assert!(explanation.to_string().contains("CR4.PAE is 0x0, but long mode"), "{explanation}");
    }
    let other = Stop::VcpuFailed { vcpu: 0, call: "run", errno: 5 };
    assert!(!death(&lab, &other).is_accusation(), "that is the host's trouble");
}

#[test]
fn an_instruction_that_runs_is_not_accused() {
    let lab = Lab::long();
    lab.code(&[0x90]);
    let explanation = death(&lab, &Stop::TripleFault);
    assert!(!explanation.is_accusation());
    assert!(explanation.summary().starts_with("nothing is wrong with the instruction at 0x100000"));
    let mut lab = lab;
    lab.state.regs.rflags |= RFlags::IF;
    let said = death(&lab, &Stop::TripleFault).summary();
    assert!(said.contains("one of vector 32 would not reach a handler: IDT entry 32 lies beyond"), "{said}");
}

#[test]
fn an_exception_that_is_handled_is_no_reason_to_die() {
    let mut lab = Lab::long();
    lab.code(&[0x0f, 0x0b]);
    lab.idt(&[(6, strata_cpu::Gate::interrupt(strata_cpu::Gdt::CODE, 0x7000))]);
    lab.write(0x7000, &[0xf4]);
    let explanation = death(&lab, &Stop::TripleFault);
    assert!(!explanation.is_accusation());
    assert!(
        explanation.summary().contains("#UD went to its handler at 0x7000; what the handler did"),
        "{explanation}"
    );
}

#[test]
fn a_report_is_one_line_a_text_and_json() {
    let lab = Lab::long();
    lab.code(&[0x48, 0x89, 0x07]);
    let explanation = death(&lab, &Stop::TripleFault);
    assert_eq!(
        explanation.summary(),
        "#PF at 0x100000 writing 0x0: the PTE at 0x13000 is not present (P=0); delivering #PF failed: IDT entry 14 lies \
         beyond the IDT's limit 0x0, which raises #GP: a double fault; delivering #DF failed the same way: IDT entry 8 lies beyond the IDT's limit 0x0: \
         triple fault"
    );
    assert!(
        explanation.to_string().starts_with("the guest died of a triple fault on vCPU 1\n  #PF at 0x100000 ")
    );
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["kind"], "triple-fault");
    assert_eq!(json["rip"], format!("{CODE:#x}"));
    assert_eq!(json["exception"], "#PF");
    assert_eq!(json["sentences"][0]["details"][0], "0x100000: mov [rdi],rax    48 89 07");
}

/// Registers of any value, half of them near to where something is.
fn state() -> impl Strategy<Value = X86State> {
    let value = || prop_oneof![any::<u64>(), 0..2 * RAM, Just(0), Just(u64::MAX - 3)];
    let flags = (any::<u64>(), any::<u32>(), any::<u16>(), 0..4_u8);
    (proptest::collection::vec(value(), 20), flags, any::<[u16; 4]>()).prop_map(|(values, flags, limits)| {
        let (cr4, bits, efer, mode) = flags;
        let [a, b, c, d] = limits;
        let at = |n: usize| values[n];
        let mut state = match mode {
            0 => X86State::real(a),
            1 => X86State::protected(bits, at(16)),
            _ => X86State::long(at(0), at(17) & !0xfff, at(16)),
        };
        let regs = &mut state.regs;
        let general = [
            &mut regs.rax,
            &mut regs.rbx,
            &mut regs.rcx,
            &mut regs.rdx,
            &mut regs.rsi,
            &mut regs.rdi,
            &mut regs.rsp,
            &mut regs.rbp,
            &mut regs.r8,
            &mut regs.r9,
            &mut regs.r10,
            &mut regs.r11,
        ];
        general.into_iter().zip(&values).for_each(|(to, from)| *to = *from);
        regs.rip = at(12);
        regs.rflags = RFlags::from_bits_retain(bits.into());
        (state.idt.base, state.idt.limit) = (at(13), b);
        (state.tr.base, state.tr.limit, state.tr.selector) = (at(14), c.into(), d);
        (state.ss.base, state.ss.dpl) = (at(15), a.to_le_bytes()[0]);
        (state.cs.base, state.cs.limit) = (at(18), bits);
        state.cr4 |= Cr4::from_bits_retain(cr4);
        if mode == 3 {
            state.efer = Efer::from_bits_retain(efer.into());
        }
        state
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// Whatever a guest leaves behind, looking at it does no harm.
    #[test]
    fn hostile_guests_do_no_harm(state in state(), code: [u8; 15], tables: [u64; 64]) {
        let mut lab = Lab::long();
        let mapped = lab.state;
        let bytes: Vec<u8> = tables.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        for (state, linear) in [(state, state.regs.rip % (RAM - 15)), (X86State { cr3: mapped.cr3, ..state }, CODE)] {
            lab.state = state;
            lab.write(linear, &code);
            lab.write(0x8000, &bytes);
            for rip in [state.regs.rip, linear] {
                lab.state.regs.rip = rip;
                for stop in [
                    Stop::TripleFault,
                    Stop::Halted,
                    Stop::InternalError { suberror: 1, data: tables.to_vec() },
                    Stop::Budget(strata_vmm::Budget::Exits(1)),
                ] {
                    prop_assert!(!death(&lab, &stop).to_string().is_empty());
                }
            }
        }
        // The same code and registers in a guest that is whole.
        lab.state = X86State { regs: state.regs, ..mapped };
        lab.state.regs.rip = CODE;
        prop_assert!(!death(&lab, &Stop::TripleFault).to_string().is_empty());
    }
}
