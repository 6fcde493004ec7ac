//! Finding the facts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::facts::{
    Access, Answers, Cpu, Facts, HugePages, Memory, Module, Modules, Node, TransparentHugePages, User,
};
use crate::kvm::{Calls, Kvm, OpenError};

impl Facts {
    /// Looks at the host whose `/sys`, `/proc`, `/dev` and `/etc` are below `root` (usually `/`); `ask` is given the
    /// path of the device node (usually [`probe`]).
    ///
    /// Whatever cannot be read is left at its default: on an unusual host half a diagnosis is worth more than an error.
    pub fn gather(root: &Path, ask: impl FnOnce(&Path) -> Access) -> Self {
        let device = root.join("dev/kvm");
        // First, because opening the node has the kernel load its module.
        let access = ask(&device);
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let user = user(&read("proc/self/status"));
        let node = fs::metadata(&device).ok().map(|meta| {
            let (group, user_is_listed) =
                group(&read("etc/group"), &read("etc/passwd"), meta.gid(), user.uid);
            Node { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), group, user_is_listed }
        });
        Self {
            kernel: read("proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: cpu(&read("proc/cpuinfo")),
            modules: modules(&root.join("sys/module"), read),
            memory: memory(read),
            user,
            node,
            access,
        }
    }
}

/// Opens the device node, asks KVM about itself, and makes a virtual machine to see that it can.
pub fn probe(device: &Path) -> Access {
    let kvm = match Kvm::open(device, Calls::new()) {
        Ok(kvm) => kvm,
        Err(OpenError::Missing { .. }) => return Access::Absent,
        Err(OpenError::Permission { .. }) => return Access::Denied,
        Err(OpenError::NotKvm { .. }) => return Access::NotKvm,
        Err(OpenError::ApiVersion { found }) => return Access::ApiVersion { found },
        Err(OpenError::NoDriver { .. }) => return Access::Failed { errno: libc::ENXIO },
        Err(OpenError::Forbidden { .. }) => return Access::Failed { errno: libc::EPERM },
        Err(OpenError::Other { source, .. }) => {
            return Access::Failed { errno: source.raw_os_error().unwrap_or(0) };
        }
    };
    let capabilities = Answers::from_fn(|capability| kvm.capability(capability));
    match kvm.create_vm() {
        Ok(_) => Access::Works { capabilities },
        Err(error) => Access::NoMachine { errno: error.source.raw_os_error().unwrap_or(0), capabilities },
    }
}

fn cpu(cpuinfo: &str) -> Cpu {
    let lines = || cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let value = |name: &str| {
        let found = lines().find(|(key, _)| key.trim() == name);
        found.map_or("", |(_, value)| value.trim())
    };
    let flag = |name| value("flags").split_ascii_whitespace().any(|flag| flag == name);
    let processors = lines().filter(|(key, _)| key.trim() == "processor").count();
    // "48 bits physical, 48 bits virtual"
    let physical_bits =
        value("address sizes").split(' ').next().and_then(|bits| bits.parse().ok()).unwrap_or(0);
    Cpu {
        vendor: value("vendor_id").to_owned(),
        // Brand strings are padded with blanks (SDM vol. 2A, CPUID, Processor Brand String).
        model: value("model name").split_ascii_whitespace().collect::<Vec<_>>().join(" "),
        logical: u32::try_from(processors).unwrap_or(u32::MAX),
        vmx: flag("vmx"),
        svm: flag("svm"),
        hypervisor: flag("hypervisor"),
        physical_bits,
    }
}

fn modules(folder: &Path, read: impl Fn(&str) -> String) -> Modules {
    let parameter = |path: &str| match read(&format!("sys/module/{path}")).trim() {
        "Y" | "1" => Some(true),
        "N" | "0" => Some(false),
        _ => None,
    };
    Modules {
        present: Module::ALL.into_iter().filter(|module| folder.join(module.name()).is_dir()).collect(),
        two_dimensional_paging: parameter("kvm_intel/parameters/ept")
            .or_else(|| parameter("kvm_amd/parameters/npt")),
        unrestricted_guest: parameter("kvm_intel/parameters/unrestricted_guest"),
    }
}

fn memory(read: impl Fn(&str) -> String) -> Memory {
    let info = read("proc/meminfo");
    let bytes = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map_or(0, |kib| kib.saturating_mul(1024))
    };
    let pool = |kib: u64| {
        let number = |name: &str| {
            read(&format!("sys/kernel/mm/hugepages/hugepages-{kib}kB/{name}")).trim().parse().unwrap_or(0)
        };
        HugePages { reserved: number("nr_hugepages"), free: number("free_hugepages") }
    };
    let transparent = read("sys/kernel/mm/transparent_hugepage/enabled");
    let selected =
        transparent.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    Memory {
        total: bytes("MemTotal"),
        available: bytes("MemAvailable"),
        huge_2m: pool(2 << 10),
        huge_1g: pool(1 << 20),
        transparent: match selected {
            Some("always") => TransparentHugePages::Always,
            Some("madvise") => TransparentHugePages::Madvise,
            Some("never") => TransparentHugePages::Never,
            _ => TransparentHugePages::Unknown,
        },
    }
}

/// From `/proc/self/status` (proc(5)): `Uid` and `Gid` hold the real, effective, saved and file-system id.
fn user(status: &str) -> User {
    let ids = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect()
    };
    let effective = |name| ids(name).get(1).copied();
    User {
        uid: effective("Uid").unwrap_or(0),
        groups: effective("Gid").into_iter().chain(ids("Groups")).collect(),
    }
}

/// The name of group `gid`, and whether the files list user `uid` in it (group(5), passwd(5)).
fn group(groups: &str, users: &str, gid: u32, uid: u32) -> (Option<String>, bool) {
    let (gid, uid) = (gid.to_string(), uid.to_string());
    let field = |line: &'_ str, index| line.split(':').nth(index).unwrap_or_default().to_owned();
    let Some(line) = groups.lines().find(|line| field(line, 2) == gid) else {
        return (None, false);
    };
    let user = users.lines().find(|line| field(line, 2) == uid).map(|line| field(line, 0));
    let is_listed = user.is_some_and(|user| field(line, 3).split(',').any(|member| member == user));
    (Some(field(line, 0)), is_listed)
}

#[cfg(test)]
#[path = "gather_test.rs"]
mod tests;
