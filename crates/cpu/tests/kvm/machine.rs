//! The least machine that can run a few instructions.

use std::io::Write;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use strata_cpu::{ApplyTo, X86State};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Bytes of RAM, from guest-physical 0 on.
pub(crate) const RAM: usize = 16 << 20;

/// Says on standard error that `what` was not checked; not by `eprintln!`, which the test harness hides.
pub(crate) fn not_run(what: &str, why: &str) {
    std::io::stderr().write_all(format!("not run: {what}: {why}\n").as_bytes()).unwrap();
}

pub(crate) struct Machine {
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) vcpu: VcpuFd,
    /// What the host can give.
    pub(crate) supported: CpuId,
    _vm: VmFd,
}

impl Machine {
    /// A machine with one vCPU; where there is no KVM, says that `what` was not run.
    pub(crate) fn new(what: &str) -> Option<Self> {
        Self::make(what, false)
    }

    /// The same with interrupt controllers.
    pub(crate) fn with_irqchip(what: &str) -> Option<Self> {
        Self::make(what, true)
    }

    fn make(what: &str, irqchip: bool) -> Option<Self> {
        // 12 is the only version there has been since 2007.
        let Some(kvm) = Kvm::new().ok().filter(|kvm| kvm.get_api_version() == 12) else {
            not_run(what, "no usable /dev/kvm");
            return None;
        };
        let vm = kvm.create_vm().unwrap();
        if irqchip {
            vm.create_irq_chip().unwrap();
        }
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
        let region = kvm_userspace_memory_region {
            memory_size: RAM as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
            ..Default::default()
        };
        // SAFETY: the region is a mapping of `RAM` bytes that `memory` keeps, and the machine drops it last.
        unsafe { vm.set_user_memory_region(region).unwrap() };
        let vcpu = vm.create_vcpu(0).unwrap();
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        vcpu.set_cpuid2(&cpuid).unwrap();
        Some(Self { vcpu, supported: cpuid, _vm: vm, memory })
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// The eight bytes at a physical address, for the walker.
    pub(crate) fn word(&self, at: u64) -> Option<u64> {
        self.memory.read_obj(GuestAddress(at)).ok()
    }

    /// Gives `state` to KVM, which has to take it.
    pub(crate) fn enter(&self, state: &X86State) {
        let (mut regs, mut sregs) = (kvm_regs::default(), self.vcpu.get_sregs().unwrap());
        state.apply_to(&mut sregs);
        state.apply_to(&mut regs);
        self.vcpu.set_sregs(&sregs).unwrap();
        self.vcpu.set_regs(&regs).unwrap();
    }

    /// The vCPU's registers that have numbers; KVM has to know all of them.
    pub(crate) fn msrs(&self, indices: &[u32]) -> Vec<u64> {
        let entries: Vec<_> =
            indices.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut msrs = Msrs::from_entries(&entries).unwrap();
        assert_eq!(self.vcpu.get_msrs(&mut msrs).unwrap(), indices.len(), "{indices:x?}");
        msrs.as_slice().iter().map(|entry| entry.data).collect()
    }

    pub(crate) fn sregs(&self) -> kvm_sregs {
        self.vcpu.get_sregs().unwrap()
    }

    pub(crate) fn state(&self) -> X86State {
        X86State::from_kvm(&self.vcpu.get_regs().unwrap(), &self.sregs())
    }

    /// Runs to the next `hlt` and says the state behind it.
    pub(crate) fn run_to_hlt(&mut self) -> X86State {
        let exit = self.vcpu.run().unwrap();
        let halted = matches!(exit, VcpuExit::Hlt);
        let exit = format!("{exit:?}");
        assert!(halted, "no hlt but {exit}, {:#x?}", self.state());
        self.state()
    }
}
