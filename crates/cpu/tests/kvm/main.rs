//! What this crate says about the processor, against a KVM that has to agree.
//!
//! Where /dev/kvm cannot be used each test says so on standard error and checks nothing.

#![cfg(target_arch = "x86_64")]
// The one place of this crate with ioctls: KVM_SET_USER_MEMORY_REGION takes a host address on trust.
#![allow(unsafe_code, reason = "a memory region is handed to KVM by its host address")]

mod cpuid;
mod delivery;
mod entry;
mod lint;
mod machine;
mod reset;
mod translate;
mod traps;
