//! Dependencies point down only: `strata -> inspect -> vmm -> {boot, backends}`, `boot -> {memory, cpu}`, `backends -> devices`.

use super::Finding;
use crate::workspace::Package;

/// Every package of the workspace with the siblings it may depend on, for tests and builds too.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("strata-memory", &[]),
    ("strata-cpu", &[]),
    ("strata-devices", &[]),
    ("strata-boot", &["strata-memory", "strata-cpu"]),
    ("strata-backends", &["strata-devices"]),
    ("strata-vmm", &["strata-boot", "strata-backends", "strata-devices", "strata-memory", "strata-cpu"]),
    ("strata-inspect", &["strata-vmm", "strata-memory", "strata-cpu"]),
    ("strata-cli", &["strata-inspect", "strata-vmm"]),
    // A guest's side: it runs under any monitor.
    ("strata-guest", &[]),
    ("strata-test", &["strata-inspect", "strata-vmm"]),
    // It builds and runs the others as programs; depending on none of them, it is quick to build.
    ("xtask", &[]),
];

pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let manifest = &package.manifest_path;
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(name, _)| *name == package.name) else {
            let message =
                format!("`{}` has no place yet: say in xtask's lint what it may depend on", package.name);
            found.push(Finding::new(manifest, None, message));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            if !allowed.contains(&dependency.name.as_str()) {
                let kind = dependency.kind.as_ref().map_or(String::new(), |kind| format!(" ({kind})"));
                let message =
                    format!("`{}` must not depend on its sibling `{}`{kind}", package.name, dependency.name);
                found.push(Finding::new(manifest, None, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, siblings: &[(&str, &str)]) -> Package {
        let dependencies: Vec<serde_json::Value> = siblings
            .iter()
            .map(|(name, kind)| serde_json::json!({"name": name, "kind": kind, "optional": false, "path": "/w/x"}))
            .collect();
        let manifest = format!("/w/crates/{name}/Cargo.toml");
        serde_json::from_value(
            serde_json::json!({"name": name, "manifest_path": manifest, "dependencies": dependencies, "targets": []}),
        )
        .unwrap()
    }

    #[test]
    fn down_is_allowed() {
        let packages = [package("strata-boot", &[("strata-cpu", "dev"), ("strata-memory", "build")])];
        assert_eq!(check(&packages), []);
    }

    #[test]
    fn up_and_sideways_are_refused_even_for_tests() {
        for (name, sibling, kind) in [
            ("strata-cpu", "strata-memory", "dev"),
            ("strata-memory", "strata-vmm", "build"),
            ("strata-devices", "strata-memory", "dev"),
            ("strata-boot", "strata-devices", "dev"),
            ("strata-cli", "strata-cpu", "dev"),
        ] {
            let found = check(&[package(name, &[(sibling, kind)])]);
            assert_eq!(found.len(), 1, "{name} -> {sibling}");
            let text = found[0].to_string();
            assert!(text.contains(name) && text.contains(sibling) && text.contains(kind), "{text}");
        }
    }

    #[test]
    fn a_new_package_must_be_given_its_place() {
        assert!(check(&[package("strata-new", &[])])[0].to_string().contains("strata-new"));
    }
}
