//! A guest's CPUID, read by somebody else: the `raw-cpuid` crate, which knows the manuals by itself.

mod policy;
mod topology;

use raw_cpuid::{CpuId, CpuIdReader, CpuIdResult};
use strata_cpu::Cpuid;
use strata_cpu::x86_64::cpuid::{Baseline, CpuidError, Feature, Leaf, Options, Topology, guest};

/// What a server with an Intel processor might support; more than any KVM does, so that there is something to clear.
fn intel() -> Cpuid {
    parse(include_str!("intel.txt"))
}

/// The same of an AMD processor.
fn amd() -> Cpuid {
    parse(include_str!("amd.txt"))
}

fn parse(text: &str) -> Cpuid {
    text.lines().map(|line| line.parse::<Leaf>().unwrap()).collect()
}

/// The guest of one vCPU with everything that is on by default.
fn one(host: &Cpuid, baseline: Baseline) -> Cpuid {
    guest(host, baseline, Topology::new(1), Options::default()).unwrap()
}

fn has(cpuid: &Cpuid, name: &str) -> bool {
    cpuid.has(Feature::named(name).unwrap_or_else(|| panic!("no feature {name}")))
}

/// Answers as a processor does.
#[derive(Clone)]
struct Reader(Cpuid);

impl CpuIdReader for Reader {
    fn cpuid2(&self, eax: u32, ecx: u32) -> CpuIdResult {
        let Leaf { eax, ebx, ecx, edx, .. } = self.0.get(eax, ecx);
        CpuIdResult { eax, ebx, ecx, edx }
    }
}

fn read(cpuid: &Cpuid) -> CpuId<Reader> {
    CpuId::with_cpuid_reader(Reader(cpuid.clone()))
}
