//! From what a host's KVM supports to what a guest is told.

use thiserror::Error;

use super::{
    Baseline, Cpuid, Feature, Leaf, Register, Topology, WORDS, feature::Class, is_indexed, topology,
};

/// What else the machine can back. `Options::default()` has a local APIC in the kernel with all it can do, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Options {
    /// Whether KVM has the local APICs. Without, neither APIC nor anything that needs one is there.
    pub local_apic: bool,
    /// x2APIC mode. KVM emulates it on every host (Linux `Documentation/virt/kvm/api.rst` 4.46).
    pub x2apic: bool,
    /// The APIC timer's TSC deadline mode: as `KVM_CAP_TSC_DEADLINE_TIMER` answers. Kernels before 6.13 leave the bit out of
    /// what they support (api.rst 4.46).
    pub tsc_deadline: bool,
    /// Performance counters.
    pub pmu: bool,
    /// VMX or SVM, for guests that are hosts.
    pub nested: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { local_apic: true, x2apic: true, tsc_deadline: true, pmu: false, nested: false }
    }
}

/// Why there is no such guest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CpuidError {
    /// The host lacks features of the baseline.
    #[error("this host's KVM lacks part of {baseline}: {}; use {instead} here", names.join(", "))]
    Missing {
        /// What was asked for.
        baseline: Baseline,
        /// What is missing, by leaf and bit.
        names: Vec<&'static str>,
        /// The highest baseline that the host has all of.
        instead: Baseline,
    },
    /// No such number of processors.
    #[error("{cpus} vCPUs: a topology has 1 to 255")]
    Cpus {
        /// What was asked for.
        cpus: u32,
    },
    /// Threads do not fill cores.
    #[error(
        "{threads_per_core} threads a core with {cpus} vCPUs: use 1, 2, 4 or 8 that divides the number of vCPUs"
    )]
    Threads {
        /// What was asked for.
        cpus: u32,
        /// The same.
        threads_per_core: u32,
    },
}

/// Leaves that describe what is not virtualised; the bits that would announce them are [`Class::Unbacked`]. 5: MONITOR,
/// 9: DCA, 0xf and 0x10: resource directors, 0x12: SGX, 0x14: processor trace, 0x19: key locker, 0x1a and 0x20: hybrid parts,
/// 0x1b: key configuration, `0x8000_001b`: IBS, `0x8000_001c`: LWP, `0x8000_001f` and `0x8000_0023`: memory encryption,
/// `0x8000_0020`: bandwidth.
const UNBACKED: [u32; 15] = [
    0x5,
    0x9,
    0xf,
    0x10,
    0x12,
    0x14,
    0x19,
    0x1a,
    0x1b,
    0x20,
    0x8000_001b,
    0x8000_001c,
    0x8000_001f,
    0x8000_0020,
    0x8000_0023,
];
/// Leaves about performance counters and branch records. SDM 2A, "CPUID", 0AH, 1CH, 23H; APM 3, E.4.20.
const PMU: [u32; 4] = [0xa, 0x1c, 0x23, 0x8000_0022];
/// What nested guests could have of SVM. APM 3, E.4.9. (VMX has MSRs instead.)
const SVM: u32 = 0x8000_000a;

/// EDX of `0x8000_0001` repeats these bits of leaf 1 EDX on AMD. APM 3, E.4.2.
const REPEATED: u32 = 0x0183_f3ff;

/// The CPUID of a guest, from what the host's KVM supports (`KVM_GET_SUPPORTED_CPUID`).
///
/// * What a virtual machine cannot back is cleared: every bit of [`Class::Unbacked`] for the reason given there.
/// * A named baseline clears all else that is not part of it, also bits without a name, so that two hosts that can run it
///   show the same instructions. What stays the host's: vendor, family, model, the sizes of caches and addresses, and
///   [`Class::Kept`]: kernels choose their protections by these, and would choose wrongly by another's.
/// * Topology is written anew, with APIC ids left open: see [`Cpuid::for_vcpu`].
/// * Leaves of zeros are left out. A leaf that is not there answers zeros, and KVM searches the list at every CPUID.
///
/// # Errors
///
/// [`CpuidError`]: a host that lacks part of the baseline, or a topology that cannot be.
///
/// # Examples
///
/// ```
/// use strata_cpu::x86_64::cpuid::{Baseline, Cpuid, Feature, Options, Topology, guest};
///
/// let supported = Cpuid::default(); // from KVM_GET_SUPPORTED_CPUID
/// let all = guest(&supported, Baseline::Host, Topology::new(2), Options::default()).unwrap();
/// let second = all.for_vcpu(1);
/// assert_eq!(second.get(1, 0).ebx >> 24, 1);
/// assert!(second.has(Feature::named("hypervisor").unwrap()));
///
/// let error = guest(&supported, Baseline::X86_64V2, Topology::new(1), Options::default()).unwrap_err();
/// assert!(error.to_string().contains("sse4_2"));
/// ```
pub fn guest(
    supported: &Cpuid,
    baseline: Baseline,
    topology: Topology,
    options: Options,
) -> Result<Cpuid, CpuidError> {
    topology.check()?;
    let names: Vec<_> = missing(supported, baseline).iter().map(|feature| feature.name).collect();
    if !names.is_empty() {
        let v2_is_there = missing(supported, Baseline::X86_64V2).is_empty();
        let instead = if v2_is_there { Baseline::X86_64V2 } else { Baseline::Host };
        return Err(CpuidError::Missing { baseline, names, instead });
    }
    let mut cpuid = supported.clone();
    cpuid.retain(|leaf| {
        let asked_for =
            (options.pmu || !PMU.contains(&leaf.function)) && (options.nested || leaf.function != SVM);
        asked_for && !UNBACKED.contains(&leaf.function)
    });
    clear_bits(&mut cpuid, baseline, options);
    if baseline != Baseline::Host {
        clear_leaves(&mut cpuid, baseline);
    }
    topology::set(&mut cpuid, "hypervisor", true);
    topology::set(&mut cpuid, "x2apic", options.local_apic && options.x2apic);
    topology::set(&mut cpuid, "tsc_deadline", options.local_apic && options.tsc_deadline);
    topology.apply_to(&mut cpuid);
    // 0x8000_001e is zeros until the APIC id is in it.
    cpuid.retain(|leaf| !leaf.is_zero() || leaf.function == 0x8000_001e);
    Ok(cpuid)
}

/// What `baseline` asks for and `supported` has not, by leaf and bit.
pub fn missing(supported: &Cpuid, baseline: Baseline) -> Vec<Feature> {
    Feature::all().filter(|feature| feature.class.is_part_of(baseline) && !supported.has(*feature)).collect()
}

/// Clears what has no place in the guest, register by register.
fn clear_bits(cpuid: &mut Cpuid, baseline: Baseline, options: Options) {
    for word in &WORDS {
        let sum = |keep: &dyn Fn(Class) -> bool| {
            word.features()
                .filter(|feature| keep(feature.class))
                .fold(0, |mask, feature| mask | feature.mask())
        };
        let mask = match baseline {
            // KVM vouches for bits that have no name here.
            Baseline::Host => !sum(&|class| !class.survives(baseline, options)),
            _ => sum(&|class| class.survives(baseline, options)),
        };
        if let Some(leaf) = find(cpuid, word.function, word.index) {
            let repeated =
                if word.function == 0x8000_0001 && word.register == Register::Edx { REPEATED } else { 0 };
            *leaf.register_mut(word.register) &= mask | repeated;
        }
    }
    let (standard, amd) = (cpuid.get(1, 0).edx & REPEATED, cpuid.is_amd());
    if let Some(leaf) = find(cpuid, 0x8000_0001, None) {
        let repeated = match baseline {
            Baseline::Host => leaf.edx & standard,
            _ if amd => standard,
            _ => 0,
        };
        leaf.edx = leaf.edx & !REPEATED | repeated;
    }
}

/// What a named baseline leaves of the leaves, and of the registers that are no feature bits.
fn clear_leaves(cpuid: &mut Cpuid, baseline: Baseline) {
    let xsave = baseline == Baseline::X86_64V3;
    cpuid.retain(|leaf| match leaf.function {
        // Names, caches, features, timer, KVM; names, caches, sizes, topology, protections.
        0x0..=0x2
        | 0x4
        | 0x6
        | 0x4000_0000
        | 0x4000_0001
        | 0x8000_0000
        | 0x8000_0001
        | 0x8000_0005..=0x8000_0008
        | 0x8000_001d
        | 0x8000_001e
        | 0x8000_0021 => true,
        0x7 => matches!(leaf.index, Some(0 | 2)),
        0xd => xsave && matches!(leaf.index, Some(0 | 2)),
        _ => false,
    });
    for leaf in &mut cpuid.0 {
        match (leaf.function, leaf.index) {
            (0x0, _) => leaf.eax = 0xd,
            (0x6 | 0x4000_0001, _) => (leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0),
            (0x7, Some(0)) => leaf.eax = leaf.eax.min(2),
            (0x7 | 0x8000_0007, _) => (leaf.eax, leaf.ebx, leaf.ecx) = (0, 0, 0),
            (0x4000_0000, _) => leaf.eax = 0x4000_0001,
            (0x8000_0000, _) => leaf.eax = leaf.eax.min(0x8000_0021),
            (0x8000_0008, _) => (leaf.ecx, leaf.edx) = (0, 0),
            (0x8000_0021, _) => (leaf.ebx, leaf.edx) = (0, 0),
            _ => {}
        }
    }
    if xsave {
        narrow_xsave(cpuid);
    }
    brand(cpuid, baseline);
}

/// x87, SSE and AVX state, and no other. SDM 1 13.1; SDM 2A, "CPUID", leaf 0DH.
const XCR0: u32 = 0b111;

fn narrow_xsave(cpuid: &mut Cpuid) {
    // EAX: its size; EBX: its offset.
    let avx = cpuid.get(0xd, 2);
    let size = avx.eax.saturating_add(avx.ebx);
    let main = cpuid.get_mut(0xd, Some(0));
    // EBX is the size of what the guest has enabled, which KVM keeps up to date.
    *main = Leaf { eax: main.eax & XCR0, ebx: size, ecx: size, ..Leaf::zero(0xd, Some(0)) };
}

/// The 48 letters that tools show as the processor's name. SDM 2A, "CPUID", leaves 80000002H to 80000004H.
fn brand(cpuid: &mut Cpuid, baseline: Baseline) {
    let mut text = [0; 48];
    let name = format!("{baseline} virtual processor");
    for (into, from) in text.iter_mut().zip(name.bytes()) {
        *into = from;
    }
    let mut words =
        text.chunks_exact(4).map(|word| word.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte)));
    for function in 0x8000_0002..=0x8000_0004 {
        let leaf = cpuid.get_mut(function, None);
        for register in Register::ALL {
            *leaf.register_mut(register) = words.next().unwrap_or(0);
        }
    }
}

/// An existing leaf.
fn find(cpuid: &mut Cpuid, function: u32, index: Option<u32>) -> Option<&mut Leaf> {
    let index = if is_indexed(function) { index } else { None };
    cpuid.0.iter_mut().find(|leaf| leaf.function == function && leaf.index == index)
}
