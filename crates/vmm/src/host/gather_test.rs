use std::path::PathBuf;

use super::*;

/// A folder that looks like the root of a host, and goes when the test ends.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("strata-host-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(self, path: &str, content: &str) -> Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_bare_root_gives_the_defaults() {
    let root = Root::new("bare");
    assert_eq!(Facts::gather(&root.0, |_| Access::Absent), Facts::default());
}

#[test]
fn every_fact_comes_from_its_file() {
    let cpuinfo = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R)   Core(TM)\nflags\t\t: fpu vmx\n\
                   vmx flags\t: ept\naddress sizes\t: 39 bits physical, 48 bits virtual\n\n\
                   processor\t: 1\nmodel name\t: other\nflags\t\t: fpu\n";
    let root = Root::new("full")
        .file("proc/cpuinfo", cpuinfo)
        .file("proc/sys/kernel/osrelease", "6.12.1\n")
        .file("proc/meminfo", "MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:  1024 kB\n")
        .file("proc/self/status", "Name:\tx\nUid:\t1\t1000\t1\t1\nGid:\t1\t100\t1\t1\nGroups:\t4 24 \n")
        .file("sys/module/kvm/parameters/x", "")
        .file("sys/module/kvm_intel/parameters/ept", "Y\n")
        .file("sys/module/kvm_intel/parameters/unrestricted_guest", "N\n")
        .file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8\n")
        .file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n")
        .file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
        .file("dev/kvm", "");
    let mut asked = None;
    let facts = Facts::gather(&root.0, |device| {
        asked = Some(device.to_owned());
        Access::Denied
    });
    assert_eq!(asked, Some(root.0.join("dev/kvm")));
    assert_eq!(facts.kernel, "6.12.1");
    assert_eq!(
        facts.cpu,
        Cpu {
            vendor: "GenuineIntel".into(),
            model: "Intel(R) Core(TM)".into(),
            logical: 2,
            vmx: true,
            svm: false,
            hypervisor: false,
            physical_bits: 39
        }
    );
    assert_eq!(
        facts.modules,
        Modules {
            present: vec![Module::Kvm, Module::KvmIntel],
            two_dimensional_paging: Some(true),
            unrestricted_guest: Some(false)
        }
    );
    assert_eq!((facts.memory.total, facts.memory.available), (2 << 20, 1 << 20));
    assert_eq!(facts.memory.huge_2m, HugePages { reserved: 8, free: 3 });
    assert_eq!(facts.memory.huge_1g, HugePages::default());
    assert_eq!(facts.memory.transparent, TransparentHugePages::Madvise);
    assert_eq!(facts.user, User { uid: 1000, groups: vec![100, 4, 24] });
    assert!(facts.node.is_some_and(|node| node.mode & 0o600 == 0o600));
    assert_eq!(facts.access, Access::Denied);
}

#[test]
fn groups_are_found_by_number_and_members_by_name() {
    let groups = "root:x:0:\nkvm:x:104:bob,alice\n";
    let users = "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";
    assert_eq!(group(groups, users, 104, 1000), (Some("kvm".into()), true));
    assert_eq!(group(groups, users, 104, 0), (Some("kvm".into()), false));
    assert_eq!(group(groups, users, 105, 1000), (None, false));
}

#[test]
fn permission_bits_are_read_as_the_kernel_reads_them() {
    let node = |mode| Node { mode, uid: 5, gid: 104, ..Node::default() };
    let user = |uid, groups: &[u32]| User { uid, groups: groups.to_vec() };
    assert!(node(0o660).allows(&user(1000, &[104])));
    assert!(!node(0o660).allows(&user(1000, &[100])));
    assert!(!node(0o640).allows(&user(1000, &[104])), "reading alone is not enough");
    assert!(node(0o666).allows(&user(1000, &[])));
    assert!(!node(0o066).allows(&user(5, &[104])), "the owner's bits alone count for the owner");
    assert!(node(0).allows(&user(0, &[])));
}

#[test]
fn what_is_no_kvm_is_recognised() {
    assert_eq!(probe(Path::new("/dev/null")), Access::NotKvm);
    assert_eq!(probe(Path::new("/nowhere/kvm")), Access::Absent);
}

#[test]
fn the_real_kvm_answers() {
    match probe(Path::new("/dev/kvm")) {
        Access::Works { capabilities } => {
            assert!(capabilities.get(crate::kvm::Capability::NR_MEMSLOTS) > 0);
        }
        other => eprintln!("not run: asking KVM: no usable /dev/kvm ({other:?})"),
    }
}
