//! What the linter says of a state, and what the kernel does with it.

mod states;

use std::path::Path;

use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuExit;
use raw_cpuid::{CpuId, Hypervisor};
use strata_cpu::lint::{Limits, Verdict, lint, lint_memory};
use strata_cpu::x86_64::cpuid::{Cpuid, Leaf};
use strata_cpu::{Access, ApplyTo as _, Cr4, Efer, Mapping, PageSize, PageTables, TableRegister, X86State};

use crate::machine::{Machine, RAM, not_run};
use states::{Fate, LONG, PROTECTED, bad_states, good_states};

const GDT: u64 = 0x500;
const IP: u16 = 0x7c00;
const CODE: u64 = IP as u64;
const TABLES: u64 = 0x9000;
/// For 32-bit paging, the same pages as [`TABLES`] maps.
const TABLES_32: u64 = 0x8000;
const NO_EXECUTE: u64 = 0x20_0000;
const NOT_MAPPED: u64 = 0x30_0000;
const HLT: u8 = 0xf4;

/// A fresh machine with `hlt` at [`CODE`], mapped where it is.
fn machine(what: &str) -> Option<Machine> {
    let machine = Machine::new(what)?;
    for at in [CODE, CODE + 0x1_0000, NO_EXECUTE, NOT_MAPPED] {
        machine.write(at, &[HLT]);
    }
    let mut tables = PageTables::new(TABLES);
    tables.map(Mapping::identity(0, 0x10_0000, PageSize::Size4K, Access::RWX)).unwrap();
    tables.map(Mapping::identity(NO_EXECUTE, 0x1000, PageSize::Size4K, Access::RW)).unwrap();
    tables.build().write_to(&machine.memory).unwrap();
    // One page of 4 MiB. SDM 3A 5.3, table 5-4.
    machine.write(TABLES_32, &0x83_u32.to_le_bytes());
    Some(machine)
}

/// What the linter has to know of the machine's processor.
fn limits(machine: &Machine) -> Limits {
    let cpuid: Cpuid = machine.supported.as_slice().iter().map(Leaf::from).collect();
    Limits::of(&cpuid)
}

/// What the kernel does with `state`, on a machine that nothing else has been done with.
fn fate(machine: &mut Machine, state: &X86State) -> Fate {
    let (mut regs, mut sregs): (kvm_regs, kvm_sregs) = (kvm_regs::default(), machine.sregs());
    state.apply_to(&mut sregs);
    state.apply_to(&mut regs);
    let taken = machine.vcpu.set_sregs(&sregs).and_then(|()| machine.vcpu.set_regs(&regs));
    if taken.is_err() {
        return Fate::Refused;
    }
    match machine.vcpu.run() {
        Ok(VcpuExit::Hlt) => Fate::Runs,
        Ok(VcpuExit::Shutdown) => Fate::TripleFault,
        Ok(VcpuExit::FailEntry(..)) => Fate::FailsEntry,
        Ok(VcpuExit::InternalError) => Fate::InternalError,
        other => panic!("{other:?}"),
    }
}

/// The column of the table that this host is in, if it was tried on such a one.
fn column() -> Option<usize> {
    if Path::new("/sys/module/kvm_pvm").exists() {
        return Some(0);
    }
    let vendor = CpuId::new().get_hypervisor_info().map(|info| info.identify());
    let emulated = Path::new("/sys/module/kvm_amd").exists() && vendor == Some(Hypervisor::QEMU);
    emulated.then_some(1)
}

#[test]
fn each_bad_state_names_its_rule() {
    // As much as any KVM gives a guest.
    let limits = Limits { cr4: Limits::ALL.cr4 - Cr4::KL, ..Limits::ALL };
    let states = bad_states();
    assert!(states.len() >= 40);
    for bad in states {
        let violations = lint(&bad.state, &limits);
        assert!(
            violations.iter().any(|violation| violation.rule == bad.rule),
            "{}: {violations:?}",
            bad.name
        );
    }
}

#[test]
fn the_kernels_verdict_on_bad_states_is_the_linters() {
    let column = column();
    for bad in bad_states() {
        let Some(mut machine) = machine("entry states that are wrong") else { return };
        let violations = lint(&bad.state, &limits(&machine));
        let fate = fate(&mut machine, &bad.state);
        let context = || format!("{}: {fate:?}, {violations:#?}", bad.name);
        let worst = violations.iter().map(|violation| violation.verdict).max().unwrap();
        assert_eq!(fate == Fate::Refused, worst == Verdict::Refused, "{}", context());
        assert!(fate != Fate::FailsEntry || worst == Verdict::FailsEntry, "{}", context());
        if let (Some(column), false) = (column, fate == Fate::Refused) {
            assert_eq!(fate, bad.fates[column], "{}\nexpected, since {}", context(), bad.reason);
        }
    }
}

#[test]
fn the_kernel_runs_what_the_linter_finds_nothing_in() {
    for (name, state) in good_states() {
        let Some(mut machine) = machine("entry states that are right") else { return };
        assert_eq!(lint(&state, &limits(&machine)), [], "{name}");
        assert_eq!(fate(&mut machine, &state), Fate::Runs, "{name}");
    }
}

/// LME before PG, as every way into long mode has it for a few instructions.
#[test]
fn long_mode_can_be_enabled_before_it_is_active() {
    let mut state = PROTECTED;
    state.efer |= Efer::LME;
    assert_eq!(lint(&state, &Limits::ALL), []);
    let what = "entry with LME and without paging";
    if column() == Some(1) {
        return not_run(what, "QEMU's SVM does not come back from it");
    }
    let Some(mut machine) = machine(what) else { return };
    assert_eq!(fate(&mut machine, &state), Fate::Runs);
}

/// What each of these points to is wrong, and whether the first instruction minds.
#[test]
fn the_kernel_finds_memory_as_the_linter_does() {
    let change = |state: X86State, change: fn(&mut X86State)| {
        let mut state = state;
        change(&mut state);
        state
    };
    for (state, sentence, dies) in [
        (
            change(LONG, |s| s.regs.rip = NOT_MAPPED),
            "the first instruction, at 0x300000, cannot be fetched: the PTE at 0xd800 is not present (P=0)",
            true,
        ),
        (
            change(LONG, |s| s.regs.rip = NO_EXECUTE),
            "the first instruction, at 0x200000, cannot be fetched: the PTE at 0xd000 forbids execution (NX=1)",
            true,
        ),
        (
            change(LONG, |s| s.cr3 = RAM as u64),
            "the first instruction, at 0x7c00, cannot be fetched: there is no RAM at 0x1000000, where the page tables lead",
            true,
        ),
        (
            change(PROTECTED, |s| s.regs.rip = RAM as u64),
            "the first instruction, at 0x1000000, cannot be fetched: there is no RAM at 0x1000000",
            true,
        ),
        (
            change(PROTECTED, |s| s.regs.rsp = 0xf000_0000),
            "the stack cannot be written at 0xeffffffc: there is no RAM at 0xeffffffc",
            false,
        ),
        (
            change(LONG, |s| s.gdt.base = NOT_MAPPED),
            "the GDT cannot be read at 0x300000: the PTE at 0xd800 is not present (P=0)",
            false,
        ),
        (
            change(LONG, |s| s.idt = TableRegister { base: 0xf_ff00, limit: 0xfff }),
            "the IDT cannot be read at 0x100000: the PTE at 0xc800 is not present (P=0)",
            false,
        ),
        (
            change(LONG, |s| (s.tr.selector, s.tr.base) = (0x18, NOT_MAPPED)),
            "the TSS cannot be read at 0x300000: the PTE at 0xd800 is not present (P=0)",
            false,
        ),
    ] {
        let Some(mut machine) = machine("entry states that point nowhere") else { return };
        let findings = lint_memory(|at| machine.word(at), &state);
        let found = findings.iter().find(|finding| finding.to_string() == sentence);
        let found = found.unwrap_or_else(|| panic!("{sentence}\nnot in {findings:#?}"));
        assert_eq!(found.is_fatal(), dies, "{sentence}");
        assert_eq!(fate(&mut machine, &state) != Fate::Runs, dies, "{sentence}");
    }
}
