//! x86-64 CPU state as plain data.
//!
//! Everything a virtual machine monitor has to know about the processor before the first guest
//! instruction runs, and nothing about a hypervisor: control-register flags, segments and their
//! descriptors, GDT, IDT and TSS, page tables, and the whole register state a guest is entered with.
//! All of it is built as values that can be compared, printed and tested; writing them into guest
//! memory or into KVM's structs is a separate, last step.
//!
//! | you need | look at |
//! | --- | --- |
//! | the registers to start a guest with | [`X86State::real`], [`X86State::protected`], [`X86State::long`] |
//! | a descriptor table in guest memory | [`Gdt`], [`Idt`], [`Tss64`], [`Tss32`] |
//! | page tables in guest memory | [`PageTables`] |
//! | to know why an address does (not) translate | [`walk`] |
//! | everything that page tables map | [`PageRegions`] |
//! | where an exception leads, and why it leads nowhere | [`deliver`], [`deliver_all`] |
//! | to know why a processor refuses a state | [`lint`](mod@lint) |
//! | what CPUID tells a guest | [`Cpuid`], [`cpuid::guest`], [`Baseline`] |
//! | what else a boot needs, and what it does not | [`msr`], [`lapic`], [`fpu`] |
//! | the state in KVM's structs | `ApplyTo` and `X86State::from_kvm` (feature `kvm`) |
//!
//! # Manuals
//!
//! Every constant names its source: *SDM* is Intel's "64 and IA-32 Architectures Software Developer's
//! Manual" (1, 2, 3A.. are its volumes), *APM* is AMD's "AMD64 Architecture Programmer's Manual".
//! Chapters of SDM 3A move: paging was chapter 4 for many years and is chapter 5 in newer editions, and what
//! follows moved with it. Numbers here are the newer ones; later chapters are cited by the section's title.
//!
//! # Features
//!
//! * `vm-memory` (default): `PageTables::write_to`, into any `vm_memory::Bytes<GuestAddress>`.
//! * `kvm`: `ApplyTo` for `kvm-bindings` structs (on x86-64 hosts). Structs only, no ioctl is made.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

#[cfg(test)]
mod testing;
pub mod x86_64;

#[cfg(all(feature = "kvm", target_arch = "x86_64"))]
pub use x86_64::kvm::ApplyTo;
pub use x86_64::{
    cpuid::{self, Baseline, Cpuid, ParseBaselineError, Topology},
    delivery::{self, Attempt, Chain, Delivered, DeliveryError, DeliveryFault, deliver, deliver_all},
    descriptor::{Descriptor, EncodeError, SystemDescriptor},
    exception::{self, Exception, VectorName},
    flags::{Cr0, Cr4, Efer, PageEntry, PageFaultCode, RFlags},
    fpu,
    gdt::{Gdt, GdtError},
    idt::{Gate, GateError, GateKind, Idt, IdtWidth},
    lapic, lint,
    mode::{Mode, ParseModeError},
    msr,
    paging::{
        Access, AccessKind, Alias, BrokenEntry, FaultReason, Level, MapError, Mapping, PageRegion,
        PageRegions, PageSize, PageTables, PageTablesBuilder, ParseAccessError, ParsePageSizeError,
        RegionLimits, Translation, WalkContext, WalkFault, WalkStep, Window, WindowKind, walk,
    },
    segment::{Segment, SegmentKind},
    state::{Registers, TableRegister, X86State},
    tss::{Tss32, Tss64},
};

/// The guest memory traits of the vm-memory version this crate was built against.
#[cfg(feature = "vm-memory")]
pub use vm_memory;

/// The README's example is compiled and run like any other.
#[cfg(all(doctest, feature = "kvm", feature = "vm-memory", target_arch = "x86_64"))]
#[doc = include_str!("../README.md")]
mod readme {}
