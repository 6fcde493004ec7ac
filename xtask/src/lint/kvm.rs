//! KVM is named only in `vmm`, and its structs in cpu's feature module `kvm`. Within `vmm`, ioctls are made only
//! under `kvm/`. Tests and examples may do as they like.

use super::Finding;
use super::source::Source;
use crate::workspace::Package;

/// How the names of KVM's ioctls and of their constants begin. Not all of `KVM_`: an address that KVM uses may have
/// it in its name.
const CONSTANTS: &[&str] = &[
    "KVM_CAP_",
    "KVM_CHECK_",
    "KVM_CREATE_",
    "KVM_ENABLE_",
    "KVM_EXIT_",
    "KVM_GET_",
    "KVM_INTERRUPT",
    "KVM_IOEVENTFD",
    "KVM_IRQ",
    "KVM_MEM_",
    "KVM_RUN",
    "KVM_SET_",
    "KVM_SIGNAL_",
    "KVM_TRANSLATE",
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let Some(path) = source.path.strip_prefix("crates/") else { return Vec::new() };
    if source.is_test() {
        return Vec::new();
    }
    let rule: fn(&str) -> bool = if path.starts_with("vmm/src/kvm/") || is_cpu_feature(path) {
        return Vec::new();
    } else if path.starts_with("vmm/src/") {
        |word| word == "kvm_ioctls"
    } else {
        is_kvm
    };
    let named = source.words().filter(|(_, word, _)| rule(word));
    named
        .map(|(line, word, _)| {
            let home = if word == "kvm_ioctls" {
                "crates/vmm/src/kvm/"
            } else {
                "crates/vmm/src/ and cpu's feature `kvm`"
            };
            Finding::new(&source.path, Some(line), format!("`{word}` belongs in {home} only"))
        })
        .collect()
}

fn is_cpu_feature(path: &str) -> bool {
    path.strip_prefix("cpu/src/")
        .is_some_and(|path| path.split('/').any(|part| part == "kvm" || part == "kvm.rs"))
}

fn is_kvm(word: &str) -> bool {
    word.starts_with("kvm_") || CONSTANTS.iter().any(|start| word.starts_with(start))
}

/// KVM's crates are ordinary dependencies of `vmm` only, and optional ones of `cpu` (structs without ioctls).
pub(crate) fn check_manifests(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.name != "strata-vmm") {
        for dependency in &package.dependencies {
            let is_kvm = dependency.name.starts_with("kvm-") && dependency.kind.as_deref() != Some("dev");
            let is_cpus =
                package.name == "strata-cpu" && dependency.name == "kvm-bindings" && dependency.optional;
            if is_kvm && !is_cpus {
                let message =
                    format!("`{}` must not depend on `{}` outside tests", package.name, dependency.name);
                found.push(Finding::new(&package.manifest_path, None, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn kvm_is_refused_outside_its_home() {
        for path in [
            "crates/memory/src/ram.rs",
            "crates/boot/src/flat.rs",
            "crates/strata/src/main.rs",
            "crates/cpu/src/lib.rs",
        ] {
            for text in [
                "use kvm_ioctls::Kvm;",
                "fn f(s: &kvm_bindings::kvm_sregs) {}",
                "let x = KVM_SET_USER_MEMORY_REGION;",
                "fn f(r: kvm_regs) {}",
            ] {
                assert!(found(path, text) > 0, "{path}: {text}");
            }
        }
    }

    #[test]
    fn kvm_may_be_written_about_and_lies_somewhere_in_memory() {
        let text =
            "//! KVM_RUN and kvm_regs\nconst KVM_TSS: u64 = 0; const T: &str = \"KVM_RUN\"; fn from_kvm() {}";
        assert_eq!(found("crates/memory/src/layout.rs", text), 0);
    }

    #[test]
    fn kvm_is_at_home_in_vmm_cpus_feature_and_tests() {
        for path in [
            "crates/vmm/src/kvm/vm.rs",
            "crates/cpu/src/x86_64/kvm.rs",
            "crates/cpu/src/x86_64/kvm/regs.rs",
            "crates/boot/examples/tiny_vmm.rs",
            "crates/cpu/tests/translate.rs",
            "crates/cpu/src/x86_64/kvm_test.rs",
        ] {
            assert_eq!(found(path, "use kvm_ioctls::Kvm; use kvm_bindings::kvm_regs;"), 0, "{path}");
        }
    }

    #[test]
    fn within_vmm_ioctls_have_one_folder() {
        assert_eq!(found("crates/vmm/src/vcpu/run.rs", "use kvm_ioctls::VcpuFd;"), 1);
        assert_eq!(found("crates/vmm/src/vcpu/run.rs", "use kvm_bindings::kvm_run;"), 0);
    }

    fn manifest(name: &str, dependency: &str, kind: Option<&str>, optional: bool) -> Vec<Finding> {
        let package = serde_json::json!({"name": name, "manifest_path": "/w/crates/x/Cargo.toml", "targets": [],
            "dependencies": [{"name": dependency, "kind": kind, "optional": optional}]});
        check_manifests(&[serde_json::from_value(package).unwrap()])
    }

    #[test]
    fn kvms_crates_are_dependencies_of_vmm_only() {
        assert_eq!(manifest("strata-vmm", "kvm-ioctls", None, false), []);
        assert_eq!(manifest("strata-cpu", "kvm-bindings", None, true), []);
        assert_eq!(manifest("strata-boot", "kvm-ioctls", Some("dev"), false), []);
        assert_eq!(manifest("strata-cpu", "kvm-bindings", None, false).len(), 1);
        assert_eq!(manifest("strata-cpu", "kvm-ioctls", None, true).len(), 1);
        assert_eq!(manifest("strata-boot", "kvm-ioctls", None, false).len(), 1);
        assert_eq!(manifest("strata-memory", "kvm-bindings", Some("build"), false).len(), 1);
    }
}
