use super::super::facts::{Cpu, Modules, User};
use super::*;

fn facts(present: &[Module], cpu: Cpu) -> Facts {
    Facts { cpu, modules: Modules { present: present.to_vec(), ..Modules::default() }, ..Facts::default() }
}

/// A host that can do everything, by VMX on the metal.
fn working() -> Facts {
    Facts {
        access: Access::Works { capabilities: Answers::from_fn(|_| 1) },
        ..facts(&[Module::Kvm, Module::KvmIntel], Cpu { vmx: true, ..Cpu::default() })
    }
}

fn keys(facts: &Facts) -> Vec<&'static str> {
    Diagnosis::of(facts).findings.iter().map(|finding| finding.key).collect()
}

#[test]
fn a_built_in_module_counts_only_with_its_processor() {
    let all = [Module::Kvm, Module::KvmIntel, Module::KvmAmd];
    let of = |modules: &[Module], vmx, svm| {
        Diagnosis::of(&facts(modules, Cpu { vmx, svm, ..Cpu::default() })).virtualisation
    };
    assert_eq!(of(&all, true, false), Virtualisation::Vmx);
    assert_eq!(of(&all, false, true), Virtualisation::Svm);
    assert_eq!(of(&all, false, false), Virtualisation::None);
    assert_eq!(of(&[Module::Kvm, Module::KvmIntel, Module::KvmPvm], false, false), Virtualisation::Pvm);
    assert_eq!(of(&[], true, false), Virtualisation::None);
}

#[test]
fn kvm_that_hides_its_kind_still_works() {
    let hidden = Facts { modules: Modules::default(), ..working() };
    let diagnosis = Diagnosis::of(&hidden);
    assert!(diagnosis.can_run_guests);
    assert_eq!(diagnosis.virtualisation, Virtualisation::Unknown);
}

#[test]
fn each_obstacle_has_its_own_name() {
    let with = |access| Facts { access, ..working() };
    let no_machine = |errno| with(Access::NoMachine { errno, capabilities: Answers::from_fn(|_| 1) });
    let bare = |vmx, hypervisor| facts(&[], Cpu { vmx, hypervisor, ..Cpu::default() });
    for (facts, key) in [
        (with(Access::Absent), "no_device"),
        (bare(true, false), "no_module"),
        (bare(false, true), "not_nested"),
        (bare(false, false), "no_hardware"),
        (with(Access::NotKvm), "not_kvm"),
        (with(Access::ApiVersion { found: 11 }), "api_version"),
        (with(Access::Failed { errno: libc::EMFILE }), "open_failed"),
        (no_machine(libc::EBUSY), "hardware_busy"),
        (no_machine(libc::ENOMEM), "no_machine"),
    ] {
        assert_eq!(keys(&facts).first(), Some(&key));
        assert!(!Diagnosis::of(&facts).can_run_guests, "{key}");
    }
}

#[test]
fn a_locked_device_names_the_way_in() {
    let user = User { uid: 1000, groups: vec![1000] };
    let group =
        |name: Option<&str>, gid| Node { mode: 0o660, gid, group: name.map(Into::into), ..Node::default() };
    let locked = |node| Facts { access: Access::Denied, user: user.clone(), node: Some(node), ..working() };
    for (node, key) in [
        (group(Some("kvm"), 104), "not_in_group"),
        (Node { user_is_listed: true, ..group(Some("kvm"), 104) }, "old_session"),
        (group(None, 104), "no_group"),
        (group(Some("root"), 0), "no_group"),
        (Node { mode: 0o600, ..group(Some("kvm"), 104) }, "no_group"),
        (Node { mode: 0o666, ..group(Some("kvm"), 104) }, "forbidden"),
    ] {
        assert_eq!(keys(&locked(node)).first(), Some(&key));
    }
}

#[test]
fn the_gravest_finding_is_first_and_decides() {
    let mut facts = working();
    facts.memory.huge_2m.reserved = 1;
    assert_eq!(keys(&facts), [""; 0]);
    assert_eq!(Diagnosis::of(&facts).headline, "This host can run guests at full speed.");
    facts.memory.huge_2m.reserved = 0;
    facts.modules.two_dimensional_paging = Some(false);
    facts.modules.unrestricted_guest = Some(false);
    facts.cpu.hypervisor = true;
    assert_eq!(keys(&facts), ["nested", "shadow_paging", "emulated_real_mode", "no_huge_pages"]);
    facts.access = Access::Works {
        capabilities: Answers::from_fn(|capability| i32::from(capability != Capability::IMMEDIATE_EXIT)),
    };
    assert_eq!(keys(&facts).first(), Some(&"kernel_too_old"));
    assert!(!Diagnosis::of(&facts).can_run_guests);
}

#[test]
fn limits_fall_back_to_what_the_documentation_promises() {
    let none = limits(&Answers::default());
    assert_eq!((none.vcpus_recommended, none.vcpus, none.vcpu_ids, none.memory_slots), (4, 4, 4, 32));
    assert_eq!((none.hardware_breakpoints, none.dirty_ring_pages, none.xsave_bytes), (0, 0, 4096));
    let some = limits(&Answers::from_fn(|capability| match capability {
        Capability::DIRTY_LOG_RING => 1 << 20,
        _ => 7,
    }));
    assert_eq!((some.vcpus, some.dirty_ring_pages, some.hardware_breakpoints), (7, 65536, 4));
}

#[test]
fn the_cells_of_the_table_fit_on_a_screen() {
    for feature in FEATURES {
        assert!(feature.words.len() <= 17 && feature.cost.len() <= 41, "{feature:?}");
        assert!(Capability::ALL.contains(&feature.capability));
    }
}
