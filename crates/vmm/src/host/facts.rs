//! What is known about a host, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kvm::Capability;

/// Everything that a [`Diagnosis`](super::Diagnosis) is made from. What could not be found out has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The processors.
    pub cpu: Cpu,
    /// The parts of KVM that are in the kernel.
    pub modules: Modules,
    /// Memory that guests could have.
    pub memory: Memory,
    /// Who is asking.
    pub user: User,
    /// The device node, where there is one.
    pub node: Option<Node>,
    /// What came of using it.
    pub access: Access,
}

/// The host's processors (`/proc/cpuinfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// `vendor_id`, for instance `GenuineIntel`.
    pub vendor: String,
    /// `model name`, for people.
    pub model: String,
    /// How many logical CPUs are on line.
    pub logical: u32,
    /// Whether Intel's VMX can be used (SDM vol. 3C, Discovering Support for VMX: CPUID.1:ECX\[5\]). Linux
    /// hides it where the firmware has locked it.
    pub vmx: bool,
    /// Whether AMD's SVM can be used (APM vol. 2, 15.4, Enabling SVM: CPUID `Fn8000_0001_ECX[SVM]`).
    pub svm: bool,
    /// Whether a hypervisor is below (CPUID.1:ECX\[31\], which no real processor sets).
    pub hypervisor: bool,
    /// The width of a physical address in bits.
    pub physical_bits: u32,
}

/// The parts of KVM that are in the kernel, loaded or built in (`/sys/module`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Modules {
    /// Which ones.
    pub present: Vec<Module>,
    /// Whether the processor walks the guest's page tables itself (parameter `ept` or `npt`).
    pub two_dimensional_paging: Option<bool>,
    /// Whether VMX runs real mode natively (parameter `unrestricted_guest`).
    pub unrestricted_guest: Option<bool>,
}

/// A kernel module that matters to KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// What all kinds of KVM share.
    Kvm,
    /// KVM by VMX.
    KvmIntel,
    /// KVM by SVM.
    KvmAmd,
    /// KVM by page tables alone, for machines that have neither.
    KvmPvm,
}

impl Module {
    /// Every module, in the order in which they are looked for.
    pub const ALL: [Self; 4] = [Self::Kvm, Self::KvmIntel, Self::KvmAmd, Self::KvmPvm];

    /// The name as in `/sys/module`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::KvmIntel => "kvm_intel",
            Self::KvmAmd => "kvm_amd",
            Self::KvmPvm => "kvm_pvm",
        }
    }
}

/// Memory that guests could have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// All of it, in bytes.
    pub total: u64,
    /// What programs could still get without swapping, in bytes.
    pub available: u64,
    /// Reserved pages of 2 MiB.
    pub huge_2m: HugePages,
    /// Reserved pages of 1 GiB.
    pub huge_1g: HugePages,
    /// Huge pages without a reservation.
    pub transparent: TransparentHugePages,
}

/// A pool of reserved huge pages (`/sys/kernel/mm/hugepages`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HugePages {
    /// How many pages are in it.
    pub reserved: u64,
    /// How many of them nobody uses.
    pub free: u64,
}

/// What `/sys/kernel/mm/transparent_hugepage/enabled` selects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransparentHugePages {
    /// Every mapping gets them.
    Always,
    /// A mapping gets them that asks.
    Madvise,
    /// Nobody gets them.
    Never,
    /// The kernel does not say.
    #[default]
    Unknown,
}

/// Who is asking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id and the supplementary ones.
    pub groups: Vec<u32>,
}

/// The device node `/dev/kvm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The permission bits, for instance `0o660`.
    pub mode: u32,
    /// The owner's user id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// The group's name, where `/etc/group` has one.
    pub group: Option<String>,
    /// Whether `/etc/group` lists the user in that group. A process keeps the groups that it logged in with, so it
    /// may lack the group all the same.
    pub user_is_listed: bool,
}

impl Node {
    /// Whether the permission bits let `user` read and write, as far as they alone decide (there are also ACLs, and
    /// the device rules of containers).
    pub fn allows(&self, user: &User) -> bool {
        let bits = if user.uid == 0 {
            return true;
        } else if user.uid == self.uid {
            self.mode >> 6
        } else if user.groups.contains(&self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        bits & 0o6 == 0o6
    }
}

/// What came of opening `/dev/kvm` and making a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Access {
    /// There is no such node, or nothing behind it.
    #[default]
    Absent,
    /// This user may not.
    Denied,
    /// The node is something else.
    NotKvm,
    /// KVM speaks another version of its API.
    ApiVersion {
        /// Which one.
        found: i32,
    },
    /// Opening failed in another way.
    Failed {
        /// How.
        errno: i32,
    },
    /// KVM answers, but makes no virtual machine.
    NoMachine {
        /// Why.
        errno: i32,
        /// What KVM says of itself.
        capabilities: Answers,
    },
    /// A virtual machine was made.
    Works {
        /// What KVM says of itself.
        capabilities: Answers,
    },
}

impl Access {
    /// What KVM says of itself, where it could be asked.
    pub fn answers(&self) -> Option<&Answers> {
        match self {
            Self::NoMachine { capabilities, .. } | Self::Works { capabilities } => Some(capabilities),
            Self::Absent | Self::Denied | Self::NotKvm | Self::ApiVersion { .. } | Self::Failed { .. } => {
                None
            }
        }
    }
}

/// KVM's answers to `KVM_CHECK_EXTENSION`, by [`Capability::key`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Answers(BTreeMap<String, i32>);

impl Answers {
    /// Asks `answer` about every capability.
    pub fn from_fn(mut answer: impl FnMut(Capability) -> i32) -> Self {
        Self(Capability::ALL.iter().map(|&capability| (capability.key(), answer(capability))).collect())
    }

    /// The answer for one capability; 0, as KVM would say, where it was not asked.
    pub fn get(&self, capability: Capability) -> i32 {
        self.0.get(&capability.key()).copied().unwrap_or(0)
    }
}
