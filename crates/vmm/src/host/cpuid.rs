//! What a host's processor is to a guest.

use std::path::Path;

use serde::Serialize;
use strata_cpu::cpuid::{
    Baseline, Change, Class, Cpuid, CpuidError, Difference, Feature, Options, Topology, diff, guest,
};

use crate::kvm::{CallError, Calls, Kvm, OpenError};

/// Why nothing is known of the host's CPUID.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeCpuidError {
    /// KVM cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// KVM did not say what it supports.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What the KVM behind `device` can give a guest.
///
/// # Errors
///
/// [`ProbeCpuidError`].
pub fn probe_cpuid(device: &Path) -> Result<Cpuid, ProbeCpuidError> {
    Ok(Kvm::open(device, Calls::new())?.supported_cpuid()?)
}

/// The difference between what a host's KVM supports and what a guest of one vCPU is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuidReport {
    /// The baseline's name.
    pub baseline: &'static str,
    /// Whether this host can run such guests.
    pub can_run: bool,
    /// What the host lacks of the baseline, by leaf and bit.
    pub missing: Vec<&'static str>,
    /// The highest baseline that the host has all of, where it lacks part of this one.
    pub instead: Option<&'static str>,
    /// Bits that the host has and the guest does not.
    pub removed: Vec<BitChange>,
    /// Bits that the guest has and the host does not.
    pub added: Vec<BitChange>,
    /// Other registers that differ.
    pub numbers: Vec<NumberChange>,
    /// What the host supports, a line a leaf, in the notation of `cpuid --raw`.
    pub supported: Vec<String>,
    /// What the guest is told, in the same way; nothing where it cannot run.
    pub guest: Vec<String>,
}

/// A bit that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BitChange {
    /// The feature, where the bit has a name.
    pub name: Option<&'static str>,
    /// Where it is: `0x7.0 ebx bit 5`.
    pub place: String,
    /// Why, in a few words.
    pub reason: &'static str,
}

/// A register of numbers that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NumberChange {
    /// Which: `0x4.3 eax`.
    pub place: String,
    /// The host's.
    pub from: u32,
    /// The guest's.
    pub to: u32,
}

impl CpuidReport {
    /// Compares `supported` with what it makes of a guest with an APIC in the kernel.
    pub fn of(supported: &Cpuid, baseline: Baseline) -> Self {
        let lines = |cpuid: &Cpuid| cpuid.leaves().iter().map(ToString::to_string).collect();
        let mut report = Self {
            baseline: baseline.name(),
            can_run: false,
            missing: Vec::new(),
            instead: None,
            removed: Vec::new(),
            added: Vec::new(),
            numbers: Vec::new(),
            supported: lines(supported),
            guest: Vec::new(),
        };
        match guest(supported, baseline, Topology::new(1), Options::default()) {
            Ok(guest) => {
                report.can_run = true;
                report.guest = lines(&guest);
                report.sort(&diff(supported, &guest));
            }
            Err(CpuidError::Missing { names, instead, .. }) => {
                report.missing = names;
                report.instead = Some(instead.name());
            }
            // One vCPU is always a topology.
            Err(CpuidError::Cpus { .. } | CpuidError::Threads { .. }) => {}
        }
        report
    }

    fn sort(&mut self, differences: &[Difference]) {
        for difference in differences {
            let place = difference.place();
            match difference.change {
                Change::Value { from, to } => self.numbers.push(NumberChange { place, from, to }),
                Change::Bit { feature, set, .. } => {
                    let name = feature.map(|feature| feature.name);
                    if set {
                        self.added.push(BitChange { name, place, reason: "every guest has it" });
                    } else {
                        self.removed.push(BitChange { name, place, reason: reason(feature) });
                    }
                }
            }
        }
    }
}

/// The reason of what only [`Baseline::Host`] passes on.
pub const NOT_IN_BASELINE: &str = Class::Host.reason();

fn reason(feature: Option<Feature>) -> &'static str {
    feature.map_or(NOT_IN_BASELINE, |feature| feature.class.reason())
}
