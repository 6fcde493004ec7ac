//! The builder, the walker and `KVM_TRANSLATE` find the same addresses.

use proptest::{prelude::*, test_runner::RngSeed};
use strata_cpu::{Access, AccessKind, Mapping, PageSize, PageTables, X86State, walk};

use crate::machine::{Machine, RAM, not_run};

/// Physical addresses up to here, which every 64-bit processor has.
const PHYS_END: u64 = 1 << 36;

fn mappings(sizes: Vec<PageSize>) -> impl Strategy<Value = Vec<Mapping>> {
    let halves = vec![0, 0x7fff_0000_0000, 0xffff_8000_0000_0000, 0xffff_ffff_0000_0000];
    let rights = vec![Access::R, Access::RW, Access::RX, Access::RWX, Access::R.user(), Access::RWX.user()];
    let place = (prop::sample::select(sizes), prop::sample::select(halves), 0..4u64 << 30, 1..600u64);
    let one = (place, 0..PHYS_END, prop::sample::select(rights)).prop_map(
        |((page, half, at, pages), phys, access)| {
            let size = page.bytes();
            let pages = if page == PageSize::Size4K { pages } else { 1 + pages % 4 };
            Mapping {
                virt: half + at / size * size,
                phys: phys / size * size,
                len: pages * size,
                page,
                access,
            }
        },
    );
    prop::collection::vec(one, 1..5)
}

/// Whether this KVM translates 1 GiB pages: a host without them must not be asked.
fn sizes_of(machine: &Machine) -> Vec<PageSize> {
    let tables = PageTables::identity(0, 1 << 30, PageSize::Size1G, Access::R).unwrap();
    tables.write_to(&machine.memory).unwrap();
    machine.enter(&X86State::long(0, tables.cr3(), 0));
    if machine.vcpu.translate_gva(0x1234_5678).unwrap().valid != 0 {
        return PageSize::ALL.to_vec();
    }
    not_run("1 GiB pages against KVM_TRANSLATE", "this KVM has none");
    vec![PageSize::Size4K, PageSize::Size2M]
}

#[test]
fn builder_walker_and_kvm_agree() {
    let Some(machine) = Machine::new("page tables against KVM_TRANSLATE") else { return };
    let sizes = sizes_of(&machine);
    let config =
        ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Default::default() };
    proptest!(config, |(mappings in mappings(sizes.clone()), page in 0u64..16, offset: u64, other: u64)| {
        let mut builder = PageTables::new(page << 12);
        builder.phys_bits(36);
        let mapped: Vec<_> = mappings.into_iter().filter(|mapping| builder.map(*mapping).is_ok()).collect();
        let tables = builder.build();
        prop_assert!(tables.end() < RAM as u64);
        tables.write_to(&machine.memory).unwrap();
        let state = X86State::long(0, tables.cr3(), 0);
        machine.enter(&state);
        let inside = mapped.iter().flat_map(|m| [m.virt, m.virt + offset % m.len, m.virt + (m.len - 1)]);
        let around = mapped.iter().flat_map(|m| [m.virt.wrapping_sub(1), m.virt.wrapping_add(m.len)]);
        // Canonical ones only: KVM_TRANSLATE ignores the upper bits.
        let anywhere = [other >> 17, other >> 30, !(other >> 17)];
        for virt in inside.chain(around).chain(anywhere).filter(|virt| canonical(*virt)) {
            let planned = mapped.iter().find(|m| (m.virt..=m.virt + (m.len - 1)).contains(&virt));
            let planned = planned.map(|m| m.phys + (virt - m.virt));
            let walked = walk(|at| machine.word(at), &state.walk_context(), virt, AccessKind::Read);
            let kvm = machine.vcpu.translate_gva(virt).unwrap();
            let kvm = (kvm.valid != 0).then_some(kvm.physical_address);
            prop_assert_eq!(kvm, planned, "{:?}", walked);
            prop_assert_eq!(walked.ok().map(|found| found.phys), planned);
        }
    });
}

fn canonical(virt: u64) -> bool {
    matches!(virt >> 47, 0 | 0x1_ffff)
}
