use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use strata_cpu::x86_64::cpuid::{Class, diff, is_indexed};

use super::*;

const NAMED: [Baseline; 2] = [Baseline::X86_64V2, Baseline::X86_64V3];

/// Whether it has all of these, or none.
fn all(cpuid: &Cpuid, names: &[&str], there: bool) {
    for name in names {
        assert_eq!(has(cpuid, name), there, "{name}");
    }
}

/// One bit at a time, and what raw-cpuid then sees.
macro_rules! check {
    ($($name:literal $leaf:ident $method:ident;)*) => {$(
        let feature = Feature::named($name).unwrap();
        let word = feature.word;
        let mut leaf = Leaf::zero(word.function, word.index);
        *leaf.register_mut(word.register) = feature.mask();
        let frame = [(0, 0x20), (0x8000_0000, 0x8000_0028)].map(|(function, eax)| {
            let vendor = amd().get(0, 0);
            Leaf { function, eax, ..vendor }
        });
        let cpuid = Cpuid::new([leaf, frame[0], frame[1]]);
        assert!(read(&cpuid).$leaf().unwrap().$method(), "{} is another bit for raw-cpuid", $name);
        let all = Feature::all().filter(|other| cpuid.has(*other)).count();
        assert_eq!(all, 1, "{}", $name);
    )*};
}

#[test]
fn leaf_1_is_as_raw_cpuid_has_it() {
    check! {
        "sse3" get_feature_info has_sse3;
        "pclmulqdq" get_feature_info has_pclmulqdq;
        "dtes64" get_feature_info has_ds_area;
        "monitor" get_feature_info has_monitor_mwait;
        "ds_cpl" get_feature_info has_cpl;
        "vmx" get_feature_info has_vmx;
        "smx" get_feature_info has_smx;
        "est" get_feature_info has_eist;
        "tm2" get_feature_info has_tm2;
        "ssse3" get_feature_info has_ssse3;
        "cnxt_id" get_feature_info has_cnxtid;
        "fma" get_feature_info has_fma;
        "cmpxchg16b" get_feature_info has_cmpxchg16b;
        "pdcm" get_feature_info has_pdcm;
        "pcid" get_feature_info has_pcid;
        "dca" get_feature_info has_dca;
        "sse4_1" get_feature_info has_sse41;
        "sse4_2" get_feature_info has_sse42;
        "x2apic" get_feature_info has_x2apic;
        "movbe" get_feature_info has_movbe;
        "popcnt" get_feature_info has_popcnt;
        "tsc_deadline" get_feature_info has_tsc_deadline;
        "aes" get_feature_info has_aesni;
        "xsave" get_feature_info has_xsave;
        "osxsave" get_feature_info has_oxsave;
        "avx" get_feature_info has_avx;
        "f16c" get_feature_info has_f16c;
        "rdrand" get_feature_info has_rdrand;
        "hypervisor" get_feature_info has_hypervisor;
        "fpu" get_feature_info has_fpu;
        "vme" get_feature_info has_vme;
        "de" get_feature_info has_de;
        "pse" get_feature_info has_pse;
        "tsc" get_feature_info has_tsc;
        "msr" get_feature_info has_msr;
        "pae" get_feature_info has_pae;
        "mce" get_feature_info has_mce;
        "cmpxchg8b" get_feature_info has_cmpxchg8b;
        "apic" get_feature_info has_apic;
        "sep" get_feature_info has_sysenter_sysexit;
        "mtrr" get_feature_info has_mtrr;
        "pge" get_feature_info has_pge;
        "mca" get_feature_info has_mca;
        "cmov" get_feature_info has_cmov;
        "pat" get_feature_info has_pat;
        "pse36" get_feature_info has_pse36;
        "psn" get_feature_info has_psn;
        "clflush" get_feature_info has_clflush;
        "ds" get_feature_info has_ds;
        "acpi" get_feature_info has_acpi;
        "mmx" get_feature_info has_mmx;
        "fxsr" get_feature_info has_fxsave_fxstor;
        "sse" get_feature_info has_sse;
        "sse2" get_feature_info has_sse2;
        "ss" get_feature_info has_ss;
        "htt" get_feature_info has_htt;
        "tm" get_feature_info has_tm;
        "pbe" get_feature_info has_pbe;
    }
}

#[test]
fn the_other_leaves_are_as_raw_cpuid_has_them() {
    check! {
        "fsgsbase" get_extended_feature_info has_fsgsbase;
        "tsc_adjust" get_extended_feature_info has_tsc_adjust_msr;
        "sgx" get_extended_feature_info has_sgx;
        "bmi1" get_extended_feature_info has_bmi1;
        "hle" get_extended_feature_info has_hle;
        "avx2" get_extended_feature_info has_avx2;
        "smep" get_extended_feature_info has_smep;
        "bmi2" get_extended_feature_info has_bmi2;
        "erms" get_extended_feature_info has_rep_movsb_stosb;
        "invpcid" get_extended_feature_info has_invpcid;
        "rtm" get_extended_feature_info has_rtm;
        "rdt_m" get_extended_feature_info has_rdtm;
        "mpx" get_extended_feature_info has_mpx;
        "rdt_a" get_extended_feature_info has_rdta;
        "avx512f" get_extended_feature_info has_avx512f;
        "rdseed" get_extended_feature_info has_rdseed;
        "adx" get_extended_feature_info has_adx;
        "smap" get_extended_feature_info has_smap;
        "clflushopt" get_extended_feature_info has_clflushopt;
        "clwb" get_extended_feature_info has_clwb;
        "intel_pt" get_extended_feature_info has_processor_trace;
        "sha_ni" get_extended_feature_info has_sha;
        "avx512vl" get_extended_feature_info has_avx512vl;
        "umip" get_extended_feature_info has_umip;
        "pku" get_extended_feature_info has_pku;
        "ospke" get_extended_feature_info has_ospke;
        "gfni" get_extended_feature_info has_gfni;
        "waitpkg" get_extended_feature_info has_waitpkg;
        "la57" get_extended_feature_info has_la57;
        "rdpid" get_extended_feature_info has_rdpid;
        "sgx_lc" get_extended_feature_info has_sgx_lc;
        "syscall" get_extended_processor_and_feature_identifiers has_syscall_sysret;
        "nx" get_extended_processor_and_feature_identifiers has_execute_disable;
        "page1gb" get_extended_processor_and_feature_identifiers has_1gib_pages;
        "rdtscp" get_extended_processor_and_feature_identifiers has_rdtscp;
        "lm" get_extended_processor_and_feature_identifiers has_64bit_mode;
        "lahf_lm" get_extended_processor_and_feature_identifiers has_lahf_sahf;
        "lzcnt" get_extended_processor_and_feature_identifiers has_lzcnt;
        "prefetchw" get_extended_processor_and_feature_identifiers has_prefetchw;
        "cmp_legacy" get_extended_processor_and_feature_identifiers has_cmp_legacy;
        "svm" get_extended_processor_and_feature_identifiers has_svm;
        "ext_apic" get_extended_processor_and_feature_identifiers has_ext_apic_space;
        "ibs" get_extended_processor_and_feature_identifiers has_ibs;
        "skinit" get_extended_processor_and_feature_identifiers has_skinit;
        "wdt" get_extended_processor_and_feature_identifiers has_wdt;
        "topoext" get_extended_processor_and_feature_identifiers has_topology_extensions;
        "perfctr_core" get_extended_processor_and_feature_identifiers has_perf_cntr_extensions;
        "perfctr_nb" get_extended_processor_and_feature_identifiers has_nb_perf_cntr_extensions;
        "perfctr_llc" get_extended_processor_and_feature_identifiers has_perf_cntr_llc_extensions;
        "mwaitx" get_extended_processor_and_feature_identifiers has_monitorx_mwaitx;
        "invariant_tsc" get_advanced_power_mgmt_info has_invariant_tsc;
        "cpb" get_advanced_power_mgmt_info has_cpb;
        "clzero" get_processor_capacity_feature_info has_cl_zero;
        "wbnoinvd" get_processor_capacity_feature_info has_wbnoinvd;
        "rdpru" get_processor_capacity_feature_info has_rdpru;
    }
}

#[test]
fn nothing_is_left_that_a_virtual_machine_cannot_back() {
    for host in [intel(), amd()] {
        for baseline in Baseline::ALL {
            let guest = one(&host, baseline);
            for feature in Feature::all().filter(|feature| {
                matches!(feature.class, Class::Unbacked(_) | Class::Nested | Class::Pmu | Class::Runtime)
            }) {
                assert!(!guest.has(feature), "{baseline}: {}", feature.name);
            }
            for leaf in [0x5, 0x9, 0xa, 0xf, 0x10, 0x12, 0x14, 0x1a, 0x8000_000a, 0x8000_001b, 0x8000_001f] {
                assert!(guest.get(leaf, 0).is_zero(), "{baseline}: {leaf:#x}");
            }
            assert!(guest.leaves().iter().all(|leaf| !leaf.is_zero() || leaf.function == 0x8000_001e));
        }
    }
    // The sets do have what is cleared, or this would show nothing.
    for (host, names) in [
        (intel(), &["vmx", "monitor", "sgx", "rtm", "hle", "intel_pt", "hwp", "osxsave", "pdcm"][..]),
        (amd(), &["svm", "ibs", "skinit", "mwaitx", "perfctr_core", "rdpru"]),
    ] {
        all(&host, names, true);
    }
}

#[test]
fn a_guest_knows_its_hypervisor_and_its_timer() {
    for host in [intel(), amd()] {
        let mut old = host.clone(); // Linux before 6.13 leaves this one to its user
        old.get_mut(1, None).ecx &= !(1 << 24);
        for baseline in Baseline::ALL {
            let cpuid = one(&old, baseline);
            for name in ["hypervisor", "x2apic", "tsc_deadline", "apic", "kvm_clocksource2", "invariant_tsc"]
            {
                assert!(has(&cpuid, name), "{baseline}: {name}");
            }
            assert_eq!(read(&cpuid).get_hypervisor_info().unwrap().identify(), raw_cpuid::Hypervisor::KVM);
        }
    }
}

#[test]
fn options_bring_and_take_what_they_name() {
    let topology = Topology::new(1);
    let host = |options| guest(&intel(), Baseline::Host, topology, options).unwrap();
    let without = host(Options { local_apic: false, ..Options::default() });
    for name in ["apic", "x2apic", "tsc_deadline", "kvm_pv_eoi", "kvm_pv_unhalt"] {
        assert!(!has(&without, name), "{name}");
    }
    let timer = host(Options { tsc_deadline: false, x2apic: false, ..Options::default() });
    assert!(has(&timer, "apic") && !has(&timer, "x2apic") && !has(&timer, "tsc_deadline"));
    let counters = host(Options { pmu: true, ..Options::default() });
    assert!(has(&counters, "pdcm") && read(&counters).get_performance_monitoring_info().is_some());
    let nested = host(Options { nested: true, ..Options::default() });
    assert!(has(&nested, "vmx") && !has(&nested, "smx"));
    let svm =
        guest(&amd(), Baseline::Host, topology, Options { nested: true, ..Options::default() }).unwrap();
    assert!(has(&svm, "svm") && read(&svm).get_svm_info().is_some());
    // A named baseline is the same for all.
    let all = Options { pmu: true, nested: true, ..Options::default() };
    for baseline in NAMED {
        assert_eq!(guest(&amd(), baseline, topology, all).unwrap(), one(&amd(), baseline));
    }
}

#[test]
fn a_named_baseline_has_the_level_and_nothing_that_programs_could_use_beside_it() {
    // x86-64 psABI, table 3.1.
    let v2 = ["cmpxchg16b", "lahf_lm", "popcnt", "sse3", "sse4_1", "sse4_2", "ssse3"];
    let v3 = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"];
    let more = [
        "aes", "rdrand", "sha_ni", "avx512f", "sse4a", "rdtscp", "fsgsbase", "clzero", "xsaveopt", "page1gb",
    ];
    for host in [intel(), amd()] {
        for baseline in NAMED {
            let cpuid = one(&host, baseline);
            all(&cpuid, &v2, true);
            all(&cpuid, &v3, baseline == Baseline::X86_64V3);
            all(&cpuid, &more, false);
            assert_eq!(
                read(&cpuid).get_processor_brand_string().unwrap().as_str(),
                format!("{baseline} virtual processor")
            );
        }
    }
    assert!(has(&one(&amd(), Baseline::Host), "sse4a"));
}

#[test]
fn two_hosts_of_one_vendor_show_the_same_instructions() {
    let plain = |mut cpuid: Cpuid| {
        cpuid.retain(|leaf| !matches!(leaf.function, 0 | 0x4000_0001));
        for feature in Feature::all().filter(|feature| feature.class == Class::Kept) {
            if cpuid.has(feature) {
                *cpuid
                    .get_mut(feature.word.function, feature.word.index)
                    .register_mut(feature.word.register) &= !feature.mask();
            }
        }
        cpuid.retain(|leaf| !leaf.is_zero());
        cpuid
    };
    for host in [intel(), amd()] {
        for baseline in NAMED {
            let mine = one(&host, baseline);
            // Another: it can run this baseline, and has all bits besides, also ones that nobody has named.
            let mut other = host.clone();
            for (function, index) in
                [(1, None), (7, Some(0)), (7, Some(1)), (0xd, Some(1)), (0x8000_0001, None)]
            {
                let leaf = other.get_mut(function, index);
                (leaf.ecx, leaf.edx) = (!0, !0);
                if function == 7 {
                    leaf.ebx = !0;
                }
            }
            let left = diff(&plain(mine), &plain(one(&other, baseline)));
            assert!(left.is_empty(), "{baseline}: {}", left[0]);
        }
    }
}

#[test]
fn saved_state_is_only_what_the_level_has() {
    for host in [intel(), amd()] {
        let cpuid = one(&host, Baseline::X86_64V3);
        let reader = read(&cpuid);
        let state = reader.get_extended_state_info().unwrap();
        assert!(
            state.xcr0_supports_legacy_x87()
                && state.xcr0_supports_sse_128()
                && state.xcr0_supports_avx_256()
        );
        assert!(!state.xcr0_supports_avx512_opmask() && !state.xcr0_supports_pkru());
        assert_eq!(state.xsave_area_size_supported_features(), 0x240 + 0x100);
        assert!(one(&host, Baseline::X86_64V2).get(0xd, 0).is_zero());
    }
}

#[test]
fn a_host_that_lacks_something_is_told_what() {
    let mut host = amd();
    host.get_mut(7, Some(0)).ebx &= !(1 << 5 | 1 << 8);
    let said =
        |baseline| guest(&host, baseline, Topology::new(1), Options::default()).unwrap_err().to_string();
    assert_eq!(
        said(Baseline::X86_64V3),
        "this host's KVM lacks part of x86-64-v3: avx2, bmi2; use x86-64-v2 here"
    );
    one(&host, Baseline::X86_64V2);
    host.get_mut(0x8000_0001, None).edx &= !(1 << 20);
    let error = guest(&host, Baseline::X86_64V2, Topology::new(1), Options::default()).unwrap_err();
    assert_eq!(
        error,
        CpuidError::Missing { baseline: Baseline::X86_64V2, names: vec!["nx"], instead: Baseline::Host }
    );
    one(&host, Baseline::Host);
}

#[test]
fn what_is_kept_is_the_hosts() {
    for host in [intel(), amd()] {
        for baseline in Baseline::ALL {
            let cpuid = one(&host, baseline);
            assert_eq!(cpuid.vendor(), host.vendor());
            assert_eq!(cpuid.get(1, 0).eax, host.get(1, 0).eax);
            let bits = |cpuid: &Cpuid| {
                read(cpuid).get_processor_capacity_feature_info().unwrap().physical_address_bits()
            };
            assert_eq!(bits(&cpuid), bits(&host));
            let protections =
                if host.is_amd() { ["smep", "smap", "ibpb"] } else { ["smep", "smap", "spec_ctrl"] };
            all(&cpuid, &protections, true);
        }
    }
}

fn any_leaf() -> impl Strategy<Value = Leaf> {
    let function =
        prop_oneof![0..0x30_u32, 0x4000_0000..0x4000_0003_u32, 0x8000_0000..0x8000_0030_u32, any::<u32>(),];
    (function, 0..4_u32, any::<[u32; 4]>()).prop_map(|(function, index, [eax, ebx, ecx, edx])| {
        let index = is_indexed(function).then_some(index);
        Leaf { function, index, eax, ebx, ecx, edx }
    })
}

proptest! {
    #![proptest_config(Config {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x0043_5055_4944),
        ..Config::default()
    })]

    #[test]
    fn whatever_a_host_says_a_guest_comes_out_once_and_for_all(
        leaves in prop::collection::vec(any_leaf(), 0..60),
        vendor in prop::sample::select(vec![intel(), amd(), Cpuid::default()]),
        cpus in 0..300_u32,
        threads_per_core in 0..9_u32,
    ) {
        let host: Cpuid = vendor.leaves().iter().copied().chain(leaves).collect();
        let topology = Topology { cpus, threads_per_core };
        for baseline in Baseline::ALL {
            match guest(&host, baseline, topology, Options::default()) {
                Ok(once) => {
                    let twice = guest(&once, baseline, topology, Options::default()).unwrap();
                    prop_assert_eq!(&once, &twice, "{}", diff(&once, &twice).first().unwrap());
                    prop_assert_eq!(&once, &once.for_vcpu(0));
                    let again: Cpuid = once.leaves().iter().map(|leaf| leaf.to_string().parse::<Leaf>().unwrap()).collect();
                    prop_assert_eq!(once, again);
                }
                Err(CpuidError::Missing { baseline: of, names, .. }) => {
                    prop_assert!(of == baseline && baseline != Baseline::Host && !names.is_empty());
                }
                Err(CpuidError::Cpus { .. } | CpuidError::Threads { .. }) => prop_assert!(topology.check().is_err()),
            }
        }
    }
}
