//! What a vCPU has after KVM's reset, where the crate's pages say that nothing need be set.

use kvm_bindings::{Msrs, kvm_fpu, kvm_lapic_state};
use strata_cpu::fpu::Fpu;
use strata_cpu::lapic::{ID, LVT_LINT0, LVT_LINT1, LapicPage, SPURIOUS, VERSION};
use strata_cpu::{ApplyTo as _, msr};

use crate::machine::Machine;

#[test]
fn msrs_that_no_boot_sets_have_their_reset_values() {
    let Some(machine) = Machine::with_irqchip("MSRs after reset") else { return };
    let zero = [
        msr::IA32_SYSENTER_CS,
        msr::IA32_SYSENTER_ESP,
        msr::IA32_SYSENTER_EIP,
        msr::STAR,
        msr::LSTAR,
        msr::CSTAR,
        msr::SFMASK,
        msr::FS_BASE,
        msr::GS_BASE,
        msr::KERNEL_GS_BASE,
        msr::IA32_MTRR_DEF_TYPE,
    ];
    assert_eq!(machine.msrs(&zero), [0; 11]);
    assert_eq!(machine.msrs(&[msr::IA32_APIC_BASE]), [0xfee0_0900]); // enabled, bootstrap processor
    assert_eq!(machine.msrs(&[msr::IA32_PAT]), [0x0007_0406_0007_0406]); // SDM 3A 13.12.4, table 13-12
}

#[test]
fn kvm_takes_the_boot_msrs() {
    let Some(machine) = Machine::with_irqchip("boot MSRs") else { return };
    let wanted = msr::boot_msrs();
    let entries = wanted.map(Into::into);
    assert_eq!(machine.vcpu.set_msrs(&Msrs::from_entries(&entries).unwrap()).unwrap(), wanted.len());
    assert_eq!(machine.msrs(&wanted.map(|msr| msr.index)), wanted.map(|msr| msr.value));
}

#[test]
fn lint0_is_the_pics_already() {
    let Some(machine) = Machine::with_irqchip("local APIC after reset") else { return };
    let state = machine.vcpu.get_lapic().unwrap();
    let mut page = LapicPage::from(&state);
    assert_eq!((page.register(ID), page.register(VERSION) & 0xff), (0, 0x14));
    assert_eq!(page.register(SPURIOUS), 0xff);
    assert_eq!((page.register(LVT_LINT0), page.register(LVT_LINT1)), (0x700, 0x10000), "{page:x?}");

    page.virtual_wire();
    let mut target = kvm_lapic_state::default();
    page.apply_to(&mut target);
    machine.vcpu.set_lapic(&target).unwrap();
    assert_eq!(LapicPage::from(&machine.vcpu.get_lapic().unwrap()).register(LVT_LINT1), 0x400);
}

/// MXCSR's place in the legacy region of the XSAVE area, in words of 4 bytes. SDM 1 10.5.1, table 10-2: byte 24.
const MXCSR: usize = 6;

#[test]
fn the_fpu_is_as_after_fninit_already() {
    let Some(machine) = Machine::new("FPU after reset") else { return };
    let fpu = machine.vcpu.get_fpu().unwrap();
    let mxcsr = machine.vcpu.get_xsave().unwrap().region[MXCSR];
    assert_eq!(Fpu { mxcsr, ..Fpu::from(&fpu) }, Fpu::INIT);

    let mut other = kvm_fpu::default();
    Fpu { fcw: 0x27f, mxcsr: 0x1fc0, ..Fpu::INIT }.apply_to(&mut other);
    machine.vcpu.set_fpu(&other).unwrap();
    let mxcsr = machine.vcpu.get_xsave().unwrap().region[MXCSR];
    // What the module's page says: KVM_SET_FPU leaves MXCSR alone.
    assert_eq!((machine.vcpu.get_fpu().unwrap().fcw, mxcsr), (0x27f, 0x1f80));
}
