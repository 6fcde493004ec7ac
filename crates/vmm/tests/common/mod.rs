//! What the tests with a real KVM share.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test binary uses its part")]

use std::path::Path;

use strata_vmm::cpu::X86State;
use strata_vmm::kvm::{Calls, Kvm, KvmVcpu, SlotFlags};
use strata_vmm::memory::RamSpec;
use strata_vmm::memory::vm_memory::{Bytes as _, GuestAddress};
use strata_vmm::vcpu::Vcpu as _;

/// KVM, or a word that it is missing.
pub fn kvm(what: &str) -> Option<Kvm> {
    let kvm = Kvm::open(Path::new("/dev/kvm"), Calls::new());
    if kvm.is_err() {
        eprintln!("not run: {what}: no usable /dev/kvm");
    }
    kvm.ok()
}

/// A vCPU about to run `code` from `entry` in real mode, in 0x8000 bytes of RAM at 0.
pub fn real_mode(kvm: &Kvm, code: &[u8], entry: u16) -> KvmVcpu {
    let ram = RamSpec::new(0x8000).build().unwrap();
    ram.memory().write_slice(code, GuestAddress(entry.into())).unwrap();
    let vm = kvm.create_vm().unwrap();
    vm.set_memory(&ram, SlotFlags::default()).unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    vcpu.set_state(&X86State::real(entry)).unwrap();
    vcpu
}
