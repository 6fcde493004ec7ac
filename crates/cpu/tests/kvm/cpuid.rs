//! KVM takes what the policy makes of its own answer.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use strata_cpu::x86_64::cpuid::{Baseline, Cpuid, CpuidError, Leaf, Options, Topology, guest};

use crate::machine::{Machine, not_run};

#[test]
fn leaves_go_into_kvms_structs_and_back() {
    let leaves =
        [Leaf { eax: 1, edx: 4, ..Leaf::zero(1, None) }, Leaf { ebx: 2, ecx: 3, ..Leaf::zero(7, Some(1)) }];
    let entries = leaves.map(|leaf| kvm_cpuid_entry2::from(&leaf));
    assert_eq!((entries[0].flags, entries[1].flags, entries[1].index), (0, 1, 1));
    assert_eq!(entries.map(|entry| Leaf::from(&entry)), leaves);
}

#[test]
fn kvm_takes_every_baseline_that_it_supports() {
    for baseline in Baseline::ALL {
        let what = format!("a guest of {baseline}");
        let Some(machine) = Machine::with_irqchip(&what) else { return };
        let supported: Cpuid = machine.supported.as_slice().iter().map(Leaf::from).collect();
        let cpuid = match guest(&supported, baseline, Topology::new(2), Options::default()) {
            Ok(cpuid) => cpuid.for_vcpu(0),
            Err(error @ CpuidError::Missing { .. }) => {
                not_run(&what, &error.to_string());
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let entries: Vec<_> = cpuid.leaves().iter().map(Into::into).collect();
        machine.vcpu.set_cpuid2(&CpuId::from_entries(&entries).unwrap()).unwrap();
        // What it then has: KVM fills in what depends on control registers (OSXSAVE, the size of XSAVE's area).
        let given = machine.vcpu.get_cpuid2(entries.len().max(80)).unwrap();
        let given: Cpuid = given.as_slice().iter().map(Leaf::from).collect();
        assert_eq!((given.get(1, 0).ebx, given.get(0xb, 1)), (cpuid.get(1, 0).ebx, cpuid.get(0xb, 1)));
        // PVM sets what the processor has on top, since it cannot hide that from ring 3.
        assert_eq!(given.get(7, 0).ebx & cpuid.get(7, 0).ebx, cpuid.get(7, 0).ebx);
    }
}
