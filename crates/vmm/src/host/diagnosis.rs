//! What the facts mean for somebody who wants to run guests.

use serde::Serialize;

use super::facts::{Access, Answers, Facts, Module, Node};
use super::features::FEATURES;
use super::{blocked, slow};
use crate::kvm::Capability;

/// How KVM runs guests on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Virtualisation {
    /// Intel's VMX.
    Vmx,
    /// AMD's SVM.
    Svm,
    /// Page-table virtualisation: neither VMX nor SVM, privileged code is emulated.
    Pvm,
    /// KVM works, but the host does not show by which means.
    Unknown,
    /// Not at all.
    None,
}

impl Virtualisation {
    fn of(facts: &Facts) -> Self {
        let has = |module| facts.modules.present.contains(&module);
        let works = facts.access.answers().is_some();
        // A built-in module is in /sys/module even where it gave up for want of a processor, so the processor counts
        // too. PVM is last, because KVM takes only one module and hardware's is the one that is tried first.
        match facts {
            _ if has(Module::KvmIntel) && facts.cpu.vmx => Self::Vmx,
            _ if has(Module::KvmAmd) && facts.cpu.svm => Self::Svm,
            _ if has(Module::KvmPvm) => Self::Pvm,
            _ if works => Self::Unknown,
            _ => Self::None,
        }
    }

    /// The module that does it, where that is known.
    fn module(self) -> Option<Module> {
        match self {
            Self::Vmx => Some(Module::KvmIntel),
            Self::Svm => Some(Module::KvmAmd),
            Self::Pvm => Some(Module::KvmPvm),
            Self::Unknown | Self::None => None,
        }
    }
}

/// What this host can do, and how well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether Strata can run a guest here.
    pub can_run_guests: bool,
    /// The result in one sentence.
    pub headline: &'static str,
    /// How KVM runs guests.
    pub virtualisation: Virtualisation,
    /// Whether VMX or SVM is itself provided by another hypervisor.
    pub nested: bool,
    /// What has to be there for a guest to run, each step resting on the one before.
    pub checks: Vec<Check>,
    /// What KVM can do, feature by feature; empty where it could not be asked.
    pub features: Vec<FeatureState>,
    /// How much of everything, where KVM could be asked.
    pub limits: Option<Limits>,
    /// What to know and to do, gravest first.
    pub findings: Vec<Finding>,
}

/// One step on the way to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `cpu`, `kvm`, `device` or `machine`.
    pub key: &'static str,
    /// How it went.
    pub state: CheckState,
    /// What was found, in words.
    pub found: String,
}

/// How a [`Check`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Well.
    Ok,
    /// It stands in the way.
    Failed,
    /// It could not be tried.
    NotTried,
}

/// One ability of KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureState {
    /// The kernel's name for it in lower case, without `KVM_CAP_`.
    pub key: String,
    /// What it is called in conversation.
    pub name: &'static str,
    /// What KVM answered; 0 where it lacks the feature, else often a size or a set of bits.
    pub answer: i32,
    /// What its absence costs.
    pub without_it: &'static str,
    /// What brings it.
    pub brought_by: &'static str,
}

/// How much of everything a machine on this host can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// More vCPUs than this are slower, not faster.
    pub vcpus_recommended: u32,
    /// More vCPUs than this are refused.
    pub vcpus: u32,
    /// vCPU ids are below this.
    pub vcpu_ids: u32,
    /// Pieces of memory.
    pub memory_slots: u32,
    /// Breakpoints that need no change to the guest.
    pub hardware_breakpoints: u32,
    /// Pages that a dirty ring can hold.
    pub dirty_ring_pages: u32,
    /// Bytes of a vCPU's extended state.
    pub xsave_bytes: u32,
}

/// Something to know about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A name for programs, which stays.
    pub key: &'static str,
    /// How grave it is.
    pub level: Level,
    /// What it is: one sentence.
    pub what: String,
    /// What to do about it: one sentence.
    pub advice: String,
}

/// How grave a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No guest runs.
    Blocks,
    /// Guests run slowly.
    Slow,
    /// Some guests do not run.
    Limits,
    /// It could be better.
    Hint,
}

impl Diagnosis {
    /// Draws the conclusions.
    pub fn of(facts: &Facts) -> Self {
        let virtualisation = Virtualisation::of(facts);
        let features = facts.access.answers().map(features).unwrap_or_default();
        let mut findings = blocked::findings(facts, virtualisation);
        findings.extend(slow::findings(facts, virtualisation));
        findings.sort_by_key(|finding| finding.level);
        let worst = findings.first().map(|finding| finding.level);
        Self {
            can_run_guests: worst != Some(Level::Blocks),
            headline: match worst {
                Some(Level::Blocks) => "This host cannot run guests yet.",
                Some(Level::Slow) if virtualisation == Virtualisation::Pvm => {
                    "This host can run guests; their kernels will be slow."
                }
                Some(Level::Slow) => "This host can run guests, but not at full speed.",
                Some(Level::Limits | Level::Hint) | None => "This host can run guests at full speed.",
            },
            virtualisation,
            nested: facts.cpu.hypervisor
                && matches!(virtualisation, Virtualisation::Vmx | Virtualisation::Svm),
            checks: vec![
                cpu_check(facts, virtualisation),
                kvm_check(facts, virtualisation),
                device_check(facts),
                machine_check(&facts.access),
            ],
            features,
            limits: facts.access.answers().map(limits),
            findings,
        }
    }
}

fn features(answers: &Answers) -> Vec<FeatureState> {
    let state = |feature: &super::features::Feature| FeatureState {
        key: feature.capability.key(),
        name: feature.words,
        answer: answers.get(feature.capability),
        without_it: feature.cost,
        brought_by: feature.brought_by,
    };
    FEATURES.iter().map(state).collect()
}

/// The fallbacks are those of the documentation (api.rst 4.4 on `KVM_CAP_NR_VCPUS` and its like).
fn limits(answers: &Answers) -> Limits {
    let at_least = |capability, fallback| {
        let answer = u32::try_from(answers.get(capability)).unwrap_or(0);
        if answer == 0 { fallback } else { answer }
    };
    let vcpus_recommended = at_least(Capability::NR_VCPUS, 4);
    let vcpus = at_least(Capability::MAX_VCPUS, vcpus_recommended);
    Limits {
        vcpus_recommended,
        vcpus,
        vcpu_ids: at_least(Capability::MAX_VCPU_ID, vcpus),
        memory_slots: at_least(Capability::NR_MEMSLOTS, 32),
        // DR0 to DR3 (SDM vol. 3B, Debug Registers); x86 leaves KVM_CAP_GUEST_DEBUG_HW_BPS unanswered.
        hardware_breakpoints: if answers.get(Capability::SET_GUEST_DEBUG) > 0 { 4 } else { 0 },
        // The answer is in bytes, an entry (`struct kvm_dirty_gfn`) has 16.
        dirty_ring_pages: at_least(Capability::DIRTY_LOG_RING, 0) / 16,
        // The area that KVM_GET_XSAVE has always had.
        xsave_bytes: at_least(Capability::XSAVE2, 4096),
    }
}

fn cpu_check(facts: &Facts, virtualisation: Virtualisation) -> Check {
    let cpu = &facts.cpu;
    let able = match (cpu.vmx, cpu.svm) {
        (true, _) => "VMX",
        (_, true) => "SVM",
        _ => "no VMX or SVM",
    };
    let model = if cpu.model.is_empty() { "unknown" } else { &cpu.model };
    let count = if cpu.logical == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", cpu.logical) };
    let enough = cpu.vmx || cpu.svm || virtualisation != Virtualisation::None;
    Check {
        key: "cpu",
        state: if enough { CheckState::Ok } else { CheckState::Failed },
        found: format!("{model}, {count}, {able}"),
    }
}

fn kvm_check(facts: &Facts, virtualisation: Virtualisation) -> Check {
    let below = if facts.cpu.hypervisor { "inside a virtual machine" } else { "on bare metal" };
    let found = match virtualisation {
        Virtualisation::Vmx if facts.cpu.hypervisor => "nested VMX, inside a virtual machine".to_owned(),
        Virtualisation::Svm if facts.cpu.hypervisor => "nested SVM, inside a virtual machine".to_owned(),
        Virtualisation::Vmx => "VMX, on bare metal".to_owned(),
        Virtualisation::Svm => "SVM, on bare metal".to_owned(),
        Virtualisation::Pvm => format!("PVM: page tables only, {below}"),
        Virtualisation::Unknown => "works, but /sys/module does not say how".to_owned(),
        Virtualisation::None if facts.modules.present.contains(&Module::Kvm) => {
            "loaded, but without a module that fits the CPU".to_owned()
        }
        Virtualisation::None => format!("not loaded, {below}"),
    };
    let module = virtualisation.module().map_or(String::new(), |module| format!(" ({})", module.name()));
    let state = if virtualisation == Virtualisation::None { CheckState::Failed } else { CheckState::Ok };
    Check { key: "kvm", state, found: found + &module }
}

fn device_check(facts: &Facts) -> Check {
    let node = facts.node.as_ref().map_or(String::new(), |node| format!("; {}", permissions(node)));
    let (state, found) = match &facts.access {
        Access::Works { .. } | Access::NoMachine { .. } => (CheckState::Ok, format!("open{node}")),
        Access::Absent if facts.node.is_some() => (CheckState::Failed, format!("nothing behind it{node}")),
        Access::Absent => (CheckState::Failed, "does not exist".to_owned()),
        Access::Denied => (CheckState::Failed, format!("no permission{node}")),
        Access::NotKvm => (CheckState::Failed, "is something else".to_owned()),
        Access::ApiVersion { found } => (CheckState::Failed, format!("speaks API version {found}")),
        Access::Failed { errno } => (CheckState::Failed, errno_words(*errno)),
    };
    Check { key: "device", state, found }
}

fn permissions(node: &Node) -> String {
    let group = node.group.clone().unwrap_or_else(|| node.gid.to_string());
    let owner = if node.uid == 0 { "root".to_owned() } else { node.uid.to_string() };
    format!("owner {owner}, group {group}, mode {:04o}", node.mode)
}

fn machine_check(access: &Access) -> Check {
    let (state, found) = match access {
        Access::Works { .. } => (CheckState::Ok, "one was made and ended".to_owned()),
        Access::NoMachine { errno, .. } => (CheckState::Failed, errno_words(*errno)),
        _ => (CheckState::NotTried, "not tried".to_owned()),
    };
    Check { key: "machine", state, found }
}

/// An error number in the C library's words.
pub(super) fn errno_words(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

#[cfg(test)]
#[path = "diagnosis_test.rs"]
mod tests;
