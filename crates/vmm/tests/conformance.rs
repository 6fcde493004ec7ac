//! KVM's vCPU passes the suite that the scripted and the replayed ones pass.

#![allow(missing_docs, reason = "a test")]

mod common;

use strata_vmm::testing::conformance;

#[test]
fn kvms_vcpu_passes_the_suite() {
    let Some(kvm) = common::kvm("the suite on KVM") else { return };
    conformance::check(|| common::real_mode(&kvm, conformance::PROGRAM, conformance::ENTRY)).unwrap();
}
