use raw_cpuid::{CacheType, TopologyType};

use super::*;

fn machine(host: &Cpuid, cpus: u32, threads_per_core: u32) -> Cpuid {
    guest(host, Baseline::Host, Topology { cpus, threads_per_core }, Options::default()).unwrap()
}

/// Each pair that a machine might have, with how many bits of an APIC id number its threads and its processors.
const SHAPES: [(u32, u32, u32, u32); 9] = [
    (1, 1, 0, 0),
    (2, 1, 0, 1),
    (3, 1, 0, 2),
    (2, 2, 1, 1),
    (4, 2, 1, 2),
    (6, 2, 1, 3),
    (64, 1, 0, 6),
    (64, 2, 1, 6),
    (255, 1, 0, 8),
];

#[test]
fn levels_count_and_number_every_processor() {
    for host in [intel(), amd()] {
        for (cpus, threads, thread_bits, package_bits) in SHAPES {
            let all = machine(&host, cpus, threads);
            for id in [0, 1, cpus - 1] {
                let cpuid = all.for_vcpu(id);
                let reader = read(&cpuid);
                let mut sources = vec![reader.get_extended_topology_info().unwrap()];
                sources.extend(reader.get_extended_topology_info_v2());
                for source in sources {
                    let levels: Vec<_> = source.collect();
                    let [thread, core] = levels.as_slice() else { panic!("two levels, not {levels:?}") };
                    assert_eq!(
                        (thread.level_type(), core.level_type()),
                        (TopologyType::SMT, TopologyType::Core)
                    );
                    assert_eq!((thread.level_number(), core.level_number()), (0, 1));
                    assert_eq!(
                        (u32::from(thread.processors()), u32::from(core.processors())),
                        (threads, cpus)
                    );
                    let shifts = (thread.shift_right_for_next_apic_id(), core.shift_right_for_next_apic_id());
                    assert_eq!(shifts, (thread_bits, package_bits));
                    assert_eq!((thread.x2apic_id(), core.x2apic_id()), (id, id));
                }
                let one = reader.get_feature_info().unwrap();
                assert_eq!(u32::from(one.initial_local_apic_id()), id);
                assert_eq!(u32::from(one.max_logical_processor_ids()), cpus);
                assert_eq!(one.has_htt(), cpus > 1);
            }
        }
    }
}

#[test]
fn cores_share_what_they_share() {
    for (cpus, threads, thread_bits, package_bits) in SHAPES {
        let cpuid = machine(&intel(), cpus, threads);
        let caches: Vec<_> = read(&cpuid).get_cache_parameters().unwrap().collect();
        assert_eq!(caches.len(), 4);
        for cache in &caches {
            let sharing = if cache.level() == 3 { 1 << package_bits } else { threads };
            assert_eq!(cache.max_cores_for_cache(), usize::try_from(sharing).unwrap());
            let cores: usize = 1 << (package_bits - thread_bits);
            assert_eq!(cache.max_cores_for_package(), cores.min(64));
        }
        // Sizes are the host's.
        let host: Vec<_> = read(&intel()).get_cache_parameters().unwrap().collect();
        for (mine, its) in caches.iter().zip(host) {
            assert_eq!((mine.sets(), mine.associativity()), (its.sets(), its.associativity()));
            assert_ne!(mine.cache_type(), CacheType::Null);
        }

        let amd = machine(&amd(), cpus, threads);
        for index in 0..4 {
            let eax = amd.get(0x8000_001d, index).eax;
            let sharing = if eax >> 5 & 7 == 3 { 1 << package_bits } else { threads };
            assert_eq!((eax >> 14 & 0xfff) + 1, sharing);
        }
    }
}

#[test]
fn amd_has_it_in_its_own_places_too() {
    for (cpus, threads, thread_bits, package_bits) in SHAPES {
        let all = machine(&amd(), cpus, threads);
        for id in [0, cpus - 1] {
            let cpuid = all.for_vcpu(id);
            let reader = read(&cpuid);
            let sizes = reader.get_processor_capacity_feature_info().unwrap();
            assert_eq!(sizes.num_phys_threads(), usize::try_from(cpus).unwrap());
            assert_eq!(sizes.apic_id_size(), u8::try_from(package_bits).unwrap());
            let topology = reader.get_processor_topology_info().unwrap();
            assert_eq!(topology.x2apic_id(), id);
            assert_eq!(u32::from(topology.core_id()), id / threads);
            assert_eq!(u32::from(topology.threads_per_core()), threads);
            assert_eq!((topology.node_id(), topology.nodes_per_processor()), (0, 1));
            let basics = reader.get_extended_processor_and_feature_identifiers().unwrap();
            assert_eq!(basics.has_cmp_legacy(), cpus > 1);
            let levels: Vec<_> = (0..2).map(|index| cpuid.get(0x8000_0026, index)).collect();
            assert_eq!(levels[0].eax & 0x1f, thread_bits);
            assert_eq!(levels[1].eax & 0x1f, package_bits);
            assert_eq!((levels[0].ebx & 0xffff, levels[1].ebx & 0xffff), (threads, cpus));
            assert_eq!((levels[0].ecx >> 8, levels[1].ecx >> 8), (1, 4));
            assert_eq!((levels[0].edx, levels[1].edx), (id, id));
        }
    }
    assert!(machine(&intel(), 2, 1).get(0x8000_001e, 0).is_zero());
}

#[test]
fn a_host_without_topology_leaves_has_a_guest_with_them() {
    let mut bare = intel();
    bare.retain(|leaf| !matches!(leaf.function, 0xb | 0x1f));
    bare.get_mut(0, None).eax = 0xd;
    let cpuid = machine(&bare, 4, 2);
    assert_eq!(read(&cpuid).get_extended_topology_info().unwrap().count(), 2);
    assert!(cpuid.get(0x1f, 0).is_zero());
    bare.get_mut(0, None).eax = 7;
    assert_eq!(machine(&bare, 4, 2).highest(0), 0xb);
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    let refused = |cpus, threads_per_core| {
        let topology = Topology { cpus, threads_per_core };
        guest(&intel(), Baseline::Host, topology, Options::default()).unwrap_err()
    };
    assert_eq!(refused(0, 1), CpuidError::Cpus { cpus: 0 });
    assert_eq!(refused(256, 1), CpuidError::Cpus { cpus: 256 });
    assert_eq!(refused(3, 2), CpuidError::Threads { cpus: 3, threads_per_core: 2 });
    assert_eq!(refused(3, 3), CpuidError::Threads { cpus: 3, threads_per_core: 3 });
    assert_eq!(refused(3, 0), CpuidError::Threads { cpus: 3, threads_per_core: 0 });
    assert!(refused(3, 2).to_string().contains("divides the number of vCPUs"));
}
