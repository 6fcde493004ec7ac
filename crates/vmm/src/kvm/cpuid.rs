//! CPUID between KVM's structs and plain data, and the guest's set from the host's.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use strata_cpu::cpuid::{self, Baseline, Cpuid, CpuidError, Leaf, Options, Topology};

use super::calls::CallError;
use super::capabilities::Capability;
use super::open::Kvm;

/// Why a guest cannot be told of a processor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestCpuidError {
    /// The host lacks part of the baseline, or the number of vCPUs makes no topology.
    #[error(transparent)]
    Policy(#[from] CpuidError),
    /// KVM did not say what it supports.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Kvm {
    /// What a guest with `topology` is told of its processor; see [`cpuid::guest`]. `local_apic` says whether KVM has the
    /// interrupt controllers. Each vCPU takes it with its own APIC id: [`KvmVcpu::set_cpuid`](super::KvmVcpu::set_cpuid).
    ///
    /// # Errors
    ///
    /// [`GuestCpuidError`].
    pub fn guest_cpuid(
        &self,
        baseline: Baseline,
        topology: Topology,
        local_apic: bool,
    ) -> Result<Cpuid, GuestCpuidError> {
        let supported = self.supported_cpuid()?;
        // Since Linux 6.13 the bit itself says so, and there is nothing to ask.
        let tsc_deadline = local_apic
            && (supported.get(1, 0).ecx & TSC_DEADLINE != 0
                || self.capability(Capability::TSC_DEADLINE_TIMER) > 0);
        let options = Options { local_apic, tsc_deadline, ..Options::default() };
        Ok(cpuid::guest(&supported, baseline, topology, options)?)
    }
}

/// Leaf 1 ECX. SDM 2A, "CPUID", table 3-10.
const TSC_DEADLINE: u32 = 1 << 24;

pub(super) fn from_kvm(cpuid: &CpuId) -> Cpuid {
    cpuid.as_slice().iter().map(Leaf::from).collect()
}

/// One vCPU's own set. KVM takes 256 leaves at most (`KVM_MAX_CPUID_ENTRIES`); more are `E2BIG`, as it would answer.
pub(super) fn to_kvm(cpuid: &Cpuid, apic_id: u32) -> Result<CpuId, CallError> {
    let entries: Vec<_> = cpuid.for_vcpu(apic_id).leaves().iter().map(kvm_cpuid_entry2::from).collect();
    let too_many =
        |_| CallError { call: "KVM_SET_CPUID2", source: std::io::Error::from_raw_os_error(libc::E2BIG) };
    CpuId::from_entries(&entries).map_err(too_many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_takes_the_machines_set_with_its_own_id() {
        let leaves =
            [Leaf { ebx: 0xffff_ffff, ..Leaf::zero(1, None) }, Leaf { ecx: 1, ..Leaf::zero(0xb, Some(1)) }];
        let own = to_kvm(&Cpuid::new(leaves), 5).unwrap();
        assert_eq!(own.as_slice().len(), 2);
        assert_eq!(own.as_slice()[0].ebx, 0x05ff_ffff);
        assert_eq!((own.as_slice()[1].index, own.as_slice()[1].flags, own.as_slice()[1].edx), (1, 1, 5));
        assert_eq!(from_kvm(&own), Cpuid::new(leaves).for_vcpu(5));
    }

    #[test]
    fn too_many_leaves_are_an_error() {
        let many = |count| Cpuid::new((0..count).map(|function| Leaf::zero(function, None)));
        let error = to_kvm(&many(300), 0).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(libc::E2BIG));
        to_kvm(&many(200), 0).unwrap();
    }
}
