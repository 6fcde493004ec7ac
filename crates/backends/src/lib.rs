//! What the devices of `strata-devices` stand on on the host.
//!
//! A device there is a model without a host: it says what it needs as a trait. Here are the implementations, which
//! talk to the kernel: without a hypervisor, so that they work in any VMM that has its guest's memory mapped as
//! rust-vmm's `vm-memory` does it.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod console;
pub mod disk;
mod iovecs;
pub mod passt;
pub mod tap;
pub mod vhost_user;
pub mod vsock;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
