//! What the linter says of a state, and what the kernel does with it.

mod states;

use std::path::Path;

use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuExit;
use strata_cpu::lint::{Limits, Verdict, lint, lint_memory};
use strata_cpu::x86_64::cpuid::{Cpuid, Leaf};
use strata_cpu::{Access, ApplyTo as _, Cr0, Cr4, Efer, Mapping, PageSize, PageTables, RFlags, Segment, SegmentKind, X86State};

use crate::machine::Machine;
use states::{Fate, LONG, PROTECTED, REAL, bad_states};

const GDT: u64 = 0x500;
const CODE: u64 = 0x7c00;
const TABLES: u64 = 0x9000;
/// The same pages as [`TABLES`] map, for 32-bit paging.
const TABLES_32: u64 = 0x8000;
const HLT: u8 = 0xf4;

/// A fresh machine with `hlt` at [`CODE`], mapped where it is.
fn machine(what: &str) -> Option<Machine> {
    let machine = Machine::new(what)?;
    machine.write(CODE, &[HLT]);
    let mut tables = PageTables::new(TABLES);
    tables.map(Mapping::identity(0, 0x10_0000, PageSize::Size4K, Access::RWX)).unwrap();
    tables.build().write_to(&machine.memory).unwrap();
    // One 4 MiB page. SDM 3A 5.3, table 5-4; without CR4.PSE, a table at 0, which maps nothing.
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

#[test]
fn explore() {
    for bad in bad_states() {
        let Some(mut machine) = machine("explore") else { return };
        let violations = lint(&bad.state, &limits(&machine));
        let fate = fate(&mut machine, &bad.state);
        println!("{:40} {:?} {:?} {:?}", bad.name, fate, bad.rule, violations.iter().map(|v| (v.rule, v.verdict)).collect::<Vec<_>>());
    }
}
