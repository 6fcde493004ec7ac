//! KVM takes the entry states, gives them back, and runs them.

use proptest::{prelude::*, test_runner::RngSeed};
use strata_cpu::{Access, Gdt, Mode, PageSize, PageTables, RFlags, Registers, TableRegister, X86State};

use crate::machine::Machine;

const HLT: u8 = 0xf4;

/// Any of the three states, with any registers: KVM checks sregs against each other, not regs.
fn states() -> impl Strategy<Value = X86State> {
    let state = (prop::sample::select(Mode::ALL.to_vec()), any::<u32>(), 0u64..1 << 24, any::<u16>());
    (state, any::<[u64; 8]>(), any::<[u64; 8]>()).prop_map(|((mode, at, page, limit), low, high)| {
        let [cs, ip] = [at >> 16, at & 0xffff].map(|half| u16::try_from(half).unwrap());
        let state = match mode {
            Mode::Real16 => X86State::real_at(cs, ip),
            Mode::Protected32 => X86State::protected(at, u64::from(at)),
            Mode::Long64 => X86State::long(u64::from(at), page << 12, u64::from(at)),
        };
        let [rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp] = low;
        let [r8, r9, r10, r11, r12, r13, r14, r15] = high;
        let rflags = RFlags::ALWAYS_ONE | RFlags::CF | RFlags::IF;
        let rip = state.regs.rip;
        let regs = Registers {
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
        X86State { regs, idt: TableRegister { base: page, limit }, cr2: low[0], ..state }
    })
}

#[test]
fn kvm_gives_back_the_entry_states_it_was_given() {
    let Some(machine) = Machine::new("entry states to KVM and back") else { return };
    let config =
        ProptestConfig { rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Default::default() };
    let before = machine.sregs();
    proptest!(config, |(state in states())| {
        machine.enter(&state);
        prop_assert_eq!(machine.state(), state);
        let after = machine.sregs();
        prop_assert_eq!((after.apic_base, after.cr8), (before.apic_base, before.cr8));
        prop_assert_eq!(after.interrupt_bitmap, before.interrupt_bitmap);
    });
}

#[test]
fn each_entry_state_runs_its_first_instruction() {
    let Some(mut machine) = Machine::new("a first instruction in each mode") else { return };
    let tables = PageTables::identity(0x9000, 4 << 30, PageSize::Size2M, Access::RWX).unwrap();
    tables.write_to(&machine.memory).unwrap();
    machine.write(0x7c00, &[HLT]);
    for (state, mode) in [
        (X86State::real(0x7c00), Mode::Real16),
        (X86State::real_at(0x700, 0xc00), Mode::Real16),
        (X86State::protected(0x7c00, 0x500), Mode::Protected32),
        (X86State::long(0x7c00, tables.cr3(), 0x500), Mode::Long64),
    ] {
        machine.enter(&state);
        let after = machine.run_to_hlt();
        assert_eq!((after.regs.rip, after.mode()), (state.regs.rip + 1, mode));
    }
}

/// The descriptors in memory mean to KVM what the cached segments mean.
#[test]
fn segments_loaded_from_the_tables_are_those_of_the_entry_states() {
    let Some(mut machine) = Machine::new("segments loaded from memory") else { return };
    let tables = PageTables::identity(0x9000, 4 << 30, PageSize::Size2M, Access::RWX).unwrap();
    tables.write_to(&machine.memory).unwrap();
    // mov eax, DATA; mov ds, eax; mov es, eax; mov fs, eax; mov gs, eax; mov ss, eax
    let load_data = [0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0];
    // push CODE; push 0x8000; retf (in long mode with a REX.W prefix, and eight bytes a push)
    let far_return = [0x6a, 0x08, 0x68, 0, 0x80, 0, 0];
    let long = (X86State::long(0x7c00, tables.cr3(), 0x500), Gdt::long64(), [0x48, 0xcb].as_slice());
    let protected = (X86State::protected(0x7c00, 0x500), Gdt::flat32(), [0xcb].as_slice());
    for (mut state, gdt, retf) in [protected, long] {
        machine.write(0x500, &gdt.bytes());
        machine.write(0x7c00, &[load_data.as_slice(), &far_return, retf].concat());
        machine.write(0x8000, &[HLT]);
        state.regs.rsp = 0x7000;
        machine.enter(&state);
        let after = machine.run_to_hlt();
        assert_eq!(after.regs.rip, 0x8001);
        assert_eq!((after.cs, after.ss, after.ds), (state.cs, state.ss, state.ds));
        assert_eq!([after.es, after.fs, after.gs], [state.es; 3]);
    }
}
