//! What will be slow on a host, and what guests cannot do on it.

use super::diagnosis::{Finding, Level, Virtualisation};
use super::facts::{Facts, TransparentHugePages};

/// What to know about guests here. Nothing about a host that has no KVM.
pub(super) fn findings(facts: &Facts, virtualisation: Virtualisation) -> Vec<Finding> {
    let mut findings = match virtualisation {
        Virtualisation::None => return Vec::new(),
        Virtualisation::Pvm => pvm().to_vec(),
        Virtualisation::Vmx | Virtualisation::Svm | Virtualisation::Unknown => {
            hardware(facts, virtualisation)
        }
    };
    findings.extend(huge_pages(facts));
    findings
}

fn finding(key: &'static str, level: Level, what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { key, level, what: what.into(), advice: advice.into() }
}

/// Measured on such hosts.
fn pvm() -> [Finding; 3] {
    [
        finding(
            "pvm_ring0",
            Level::Slow,
            "Ring 0, real mode, unpaged 32-bit: emulated, about 1 M instructions/s.",
            "Keep such code short, budgets generous; long-mode ring 3 is native.",
        ),
        finding(
            "pvm_missing",
            Level::Limits,
            "No 32-bit paging, 1 GiB pages, watchpoints; at ring 0 no `int n`, most SSE, popcnt, cmpxchg16b, xsave.",
            "Run guests that need them on a host with VMX or SVM.",
        ),
        finding(
            "pvm_vmcall",
            Level::Limits,
            "`vmcall` and `vmmcall` at ring 0 hang until the guest is stopped.",
            "Give such guests a time limit: `strata run --budget-wall 5s`.",
        ),
    ]
}

fn hardware(facts: &Facts, virtualisation: Virtualisation) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.cpu.hypervisor {
        findings.push(finding(
            "nested",
            Level::Slow,
            "This host is a virtual machine: each exit goes through its hypervisor.",
            "Expect far slower exits; measure latencies on bare metal.",
        ));
    }
    let svm = virtualisation == Virtualisation::Svm;
    let (module, name, parameter) = if svm { ("kvm_amd", "NPT", "npt") } else { ("kvm_intel", "EPT", "ept") };
    if facts.modules.two_dimensional_paging == Some(false) {
        findings.push(finding(
            "shadow_paging",
            Level::Slow,
            format!(
                "KVM runs without {name}: it shadows guests' page tables, and each change to them is an exit."
            ),
            format!(
                "`sudo modprobe -r {module}; sudo modprobe {module} {parameter}=1`, if the CPU has {name}."
            ),
        ));
    }
    if virtualisation == Virtualisation::Vmx && facts.modules.unrestricted_guest == Some(false) {
        findings.push(finding(
            "emulated_real_mode",
            Level::Slow,
            "VMX runs without unrestricted guests: real mode is emulated.",
            "`sudo modprobe -r kvm_intel; sudo modprobe kvm_intel unrestricted_guest=1`, if the CPU can.",
        ));
    }
    findings
}

fn huge_pages(facts: &Facts) -> Option<Finding> {
    let memory = &facts.memory;
    // Where KVM cannot be asked there are graver things to see to first.
    let reserved = memory.huge_2m.reserved > 0 || memory.huge_1g.reserved > 0;
    if reserved || facts.access.answers().is_none() {
        return None;
    }
    let transparent = match memory.transparent {
        TransparentHugePages::Always | TransparentHugePages::Madvise => "transparent ones can be had",
        TransparentHugePages::Never => "transparent ones are off too",
        TransparentHugePages::Unknown => "guest RAM comes in 4 KiB pages",
    };
    Some(finding(
        "no_huge_pages",
        Level::Hint,
        format!("No huge pages are reserved for guest RAM; {transparent}."),
        "`sudo sysctl vm.nr_hugepages=512` (1 GiB); backing = \"hugetlb-2m\".",
    ))
}
