//! The few CPUID fields that differ from vCPU to vCPU.

use kvm_bindings::CpuId;

/// Writes a vCPU's APIC id where CPUID reports it: leaf 1 EBX[31:24] (the initial APIC id), and EDX of every subleaf
/// of the topology leaves 0xb and 0x1f (the x2APIC id) (SDM vol. 2A, CPUID); on AMD also EAX of `0x8000_001e` (extended
/// APIC id) and EDX of `0x8000_0026` (APM vol. 3, appendix E).
pub(super) fn set_apic_id(cpuid: &mut CpuId, id: u8) {
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x1 => entry.ebx = entry.ebx & 0x00ff_ffff | u32::from(id) << 24,
            0xb | 0x1f | 0x8000_0026 => entry.edx = id.into(),
            0x8000_001e => entry.eax = id.into(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;

    use super::*;

    #[test]
    fn the_apic_id_is_in_every_place_that_reports_it() {
        let entry = |function, ebx| kvm_cpuid_entry2 { function, ebx, ..Default::default() };
        let mut cpuid =
            CpuId::from_entries(&[entry(0, 7), entry(1, 0xffff_ffff), entry(0xb, 2), entry(0x8000_001e, 3)])
                .unwrap();
        set_apic_id(&mut cpuid, 5);
        let [zero, one, topology, amd] = cpuid.as_slice() else { panic!("four entries") };
        assert_eq!((zero.ebx, zero.edx), (7, 0));
        assert_eq!(one.ebx, 0x05ff_ffff);
        assert_eq!(topology.edx, 5);
        assert_eq!((amd.eax, amd.ebx), (5, 3));
    }
}
