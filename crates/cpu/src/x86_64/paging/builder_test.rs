use proptest::prelude::*;

use super::*;
use crate::x86_64::paging::{AccessKind, FaultReason, WalkContext, walk};

const P4K: u64 = 0x1000;
const P2M: u64 = 0x20_0000;
const P1G: u64 = 0x4000_0000;

fn entry(tables: &PageTables, at: u64) -> Option<u64> {
    let offset = usize::try_from(at.checked_sub(tables.cr3())?).ok()?;
    Some(u64::from_le_bytes(*tables.bytes().get(offset..)?.first_chunk()?))
}

fn small(virt: u64, phys: u64, len: u64, access: Access) -> Mapping {
    Mapping { virt, phys, len, page: PageSize::Size4K, access }
}

fn refusal(mapping: Mapping) -> MapError {
    let mut builder = PageTables::new(0x1000);
    let error = builder.map(mapping).unwrap_err();
    assert_eq!(builder.build(), PageTables::new(0x1000).build(), "a refusal changes nothing");
    error
}

#[test]
fn tables_follow_each_other_as_needed() {
    // The layout of the mini-kvm-rs long-mode guest: all four tables at 0..0x3fff.
    let mut builder = PageTables::new(0);
    let first = small(0, 0x4000, 0x1000, Access::RX);
    let rest = small(0x1000, 0x5000, 0x4000, Access::RW);
    let tables = builder.map(first).unwrap().map(rest).unwrap().build();
    assert_eq!((tables.cr3(), tables.end()), (0, 0x4000));
    let above = PageEntry::PRESENT | PageEntry::WRITABLE | PageEntry::ACCESSED;
    for (at, next) in [(0, 0x1000), (0x1000, 0x2000), (0x2000, 0x3000)] {
        assert_eq!(entry(&tables, at), Some(next | above.bits()));
    }
    let read = PageEntry::PRESENT | PageEntry::ACCESSED;
    let write = read | PageEntry::WRITABLE | PageEntry::DIRTY | PageEntry::NO_EXECUTE;
    assert_eq!(entry(&tables, 0x3000), Some(0x4000 | read.bits()));
    assert_eq!(entry(&tables, 0x3008), Some(0x5000 | write.bits()));
    assert_eq!(entry(&tables, 0x3020), Some(0x8000 | write.bits()));
    assert_eq!(entry(&tables, 0x3028), Some(0));
}

#[test]
fn four_gib_by_2m_pages_take_six_tables() {
    let tables = PageTables::identity(0x9000, 4 * P1G, PageSize::Size2M, Access::RWX).unwrap();
    assert_eq!(tables.end(), 0xf000);
    let leaf =
        PageEntry::PRESENT | PageEntry::WRITABLE | PageEntry::ACCESSED | PageEntry::DIRTY | PageEntry::HUGE;
    assert_eq!(entry(&tables, 0xeff8), Some((4 * P1G - P2M) | leaf.bits()));
    let pages: Vec<_> = tables.pages().map(|(at, _)| at).collect();
    assert_eq!(pages, [0x9000, 0xa000, 0xb000, 0xc000, 0xd000, 0xe000]);
}

#[test]
fn pages_are_the_bytes_in_pieces() {
    let tables = PageTables::identity(0x5000, P4K, PageSize::Size4K, Access::R).unwrap();
    let joined: Vec<u8> = tables.pages().flat_map(|(_, page)| page.iter().copied()).collect();
    assert_eq!(joined, tables.bytes());
}

#[test]
fn five_hundred_twelve_gib_by_1g_pages_take_two_tables() {
    let tables = PageTables::identity(0, 512 * P1G, PageSize::Size1G, Access::RX).unwrap();
    assert_eq!(tables.end(), 0x2000);
    assert_eq!(entry(&tables, 0x1ff8).unwrap() & PageEntry::ADDRESS, 511 * P1G);
}

#[test]
fn only_what_leads_to_a_user_page_is_open_to_ring_3() {
    let mut builder = PageTables::new(0);
    builder.map(small(0, 0, P4K, Access::R)).unwrap();
    builder.map(small(P1G, 0, P4K, Access::R.user())).unwrap();
    builder.map(small(P1G + P2M, 0, P4K, Access::R)).unwrap();
    let tables = builder.build();
    let user = |at| entry(&tables, at).unwrap() & PageEntry::USER.bits() != 0;
    // PML4, then the PDPT at 0x1000, whose first entry leads to the ring-0 page only.
    assert_eq!([user(0), user(0x1000), user(0x1008)], [true, false, true]);
    // The PD of the second gigabyte at 0x4000: a user page, then a ring-0 page.
    assert_eq!([user(0x4000), user(0x4008)], [true, false]);
}

#[test]
fn overlaps_are_refused_from_both_sides_and_neighbours_are_not() {
    let old = small(0x10_0000, 0, 0x4000, Access::R);
    let mut builder = PageTables::new(0);
    builder.map(old).unwrap();
    for (virt, len) in [(0xf_f000, 0x2000), (0x10_3000, 0x1000), (0x10_1000, 0x1000), (0xf_0000, 0x10_0000)] {
        let new = small(virt, 0, len, Access::R);
        assert_eq!(builder.map(new).unwrap_err(), MapError::Overlap { new, old });
    }
    let huge = Mapping::identity(0, P2M, PageSize::Size2M, Access::R);
    assert_eq!(builder.map(huge).unwrap_err(), MapError::Overlap { new: huge, old });
    builder
        .map(small(0xf_f000, 0, P4K, Access::R))
        .unwrap()
        .map(small(0x10_4000, 0, P4K, Access::R))
        .unwrap();
}

#[test]
fn misaligned_mappings_are_refused() {
    let good = Mapping { virt: P2M, phys: 2 * P2M, len: P2M, page: PageSize::Size2M, access: Access::R };
    for mapping in
        [Mapping { virt: P4K, ..good }, Mapping { phys: P4K, ..good }, Mapping { len: P2M + P4K, ..good }]
    {
        assert_eq!(refusal(mapping), MapError::Misaligned { mapping });
    }
}

#[test]
fn addresses_that_do_not_exist_are_refused() {
    let in_hole = small(0x8000_0000_0000, 0, P4K, Access::R);
    let into_hole = small(0x7fff_ffff_f000, 0, 2 * P4K, Access::R);
    let out_of_hole = small(0xffff_7fff_ffff_f000, 0, 2 * P4K, Access::R);
    let round_the_end = small(0xffff_ffff_ffff_f000, 0, 2 * P4K, Access::R);
    let across = Mapping { virt: 0, len: 0xffff_ffff_ffff_f000, ..in_hole };
    for mapping in [in_hole, into_hole, out_of_hole, round_the_end, across] {
        assert_eq!(refusal(mapping), MapError::NonCanonical { mapping });
    }
    for phys in [1 << 52, (1 << 52) - P4K, 0xffff_ffff_ffff_f000] {
        let mapping = small(0, phys, 2 * P4K, Access::R);
        assert_eq!(refusal(mapping), MapError::BeyondPhysical { mapping, phys_bits: 52 });
    }
}

#[test]
fn the_last_pages_there_are_can_be_mapped() {
    let last_phys = (1 << 52) - P4K;
    for virt in [0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000] {
        let tables = PageTables::new(0).map(small(virt, last_phys, P4K, Access::R)).unwrap().build();
        let context = WalkContext::LONG_MODE;
        let found = walk(|at| entry(&tables, at), &context, virt | 0xfff, AccessKind::Read).unwrap();
        assert_eq!(found.phys, (1 << 52) - 1);
    }
}

#[test]
fn a_narrower_processor_refuses_more() {
    let mut builder = PageTables::new(0);
    let mapping = small(0, 1 << 39, P4K, Access::R);
    let error = builder.phys_bits(39).map(mapping).unwrap_err();
    assert_eq!(error, MapError::BeyondPhysical { mapping, phys_bits: 39 });
    builder.map(small(0, (1 << 39) - P4K, P4K, Access::R)).unwrap();
}

#[test]
fn write_and_execute_must_be_asked_for() {
    let access = Access { write: true, ..Access::RX };
    let mapping = small(0, 0, P4K, access);
    assert_eq!(refusal(mapping), MapError::WriteAndExecute { mapping });
    PageTables::new(0).map(small(0, 0, P4K, Access::RWX)).unwrap();
}

#[test]
fn an_empty_mapping_is_refused() {
    let mapping = small(0, 0, 0, Access::R);
    assert_eq!(refusal(mapping), MapError::Empty { mapping });
}

#[test]
fn tables_must_have_a_place() {
    let mapping = small(0, 0, P4K, Access::R);
    let error = PageTables::new(0x1234).map(mapping).unwrap_err();
    assert_eq!(error, MapError::TablesMisaligned { tables_at: 0x1234 });
    for tables_at in [(1 << 52) - 3 * P4K, !0xfff] {
        let error = PageTables::new(tables_at).map(mapping).unwrap_err();
        assert_eq!(error, MapError::TablesBeyondPhysical { tables_at, tables: 4, phys_bits: 52 });
    }
    PageTables::new((1 << 52) - 4 * P4K).map(mapping).unwrap();
}

#[test]
fn more_tables_than_anybody_wants_are_refused_before_they_are_made() {
    let mapping = small(0, 0, 1 << 46, Access::R);
    assert!(matches!(refusal(mapping), MapError::TooManyTables { tables, .. } if tables > MAX_TABLES));
}

#[test]
fn messages_say_what_and_what_to_do() {
    let mapping = small(0x8000_0000_0000, 0, P4K, Access::R);
    let expected = "mapping 0x800000000000 to 0x0, 0x1000 bytes by 4K pages, r is not canonical: \
                    stay below 0x800000000000 or at and above 0xffff800000000000";
    assert_eq!(refusal(mapping).to_string(), expected);
    let mapping = Mapping { page: PageSize::Size2M, ..small(0, P4K, P2M, Access::R) };
    assert!(refusal(mapping).to_string().ends_with("must be multiples of 0x200000"));
}

#[test]
fn the_builder_starts_again_after_build() {
    let mapping = small(0, 0, P4K, Access::R);
    let mut builder = PageTables::new(0);
    let first = builder.phys_bits(40).map(mapping).unwrap().build();
    assert_eq!(builder.map(mapping).unwrap().build(), first);
    assert_eq!(builder.phys_bits, 40);
}

#[cfg(feature = "vm-memory")]
#[test]
fn tables_are_written_where_cr3_says() {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
    let tables = PageTables::identity(0x9000, 4 * P1G, PageSize::Size2M, Access::RWX).unwrap();
    tables.write_to(&memory).unwrap();
    let mut written = vec![0; tables.bytes().len()];
    memory.read_slice(&mut written, GuestAddress(0x9000)).unwrap();
    assert_eq!(written, tables.bytes());
    let beyond = PageTables::identity(0xf000, P4K, PageSize::Size4K, Access::R).unwrap();
    beyond.write_to(&memory).unwrap_err();
}

fn access() -> impl Strategy<Value = Access> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(write, execute, user)| Access {
        write,
        execute,
        user,
        allow_write_execute: true,
    })
}

/// A few mappings that touch and straddle each other's tables, in both halves; some will be refused.
fn mappings() -> impl Strategy<Value = Vec<Mapping>> {
    let page = prop::sample::select(PageSize::ALL.to_vec());
    let half = prop::sample::select(vec![0, 0xffff_8000_0000_0000, 0xffff_ffff_0000_0000, 0x7fff_0000_0000]);
    let one = (page, half, 0u64..1030, 0u64..4, 1u64..1030, 0u64..0xffff, access()).prop_map(
        |(page, half, at, gib, count, frame, access)| {
            let size = page.bytes();
            let (at, count) = if page == PageSize::Size1G { (at % 3, 1 + count % 3) } else { (at, count) };
            let at = if page == PageSize::Size4K { gib * P1G + at * size } else { at * size };
            Mapping { virt: half + at, phys: frame * size, len: count * size, page, access }
        },
    );
    prop::collection::vec(one, 1..6)
}

fn check_against_walker(tables: &PageTables, mapping: &Mapping, virt: u64) -> Result<(), TestCaseError> {
    let access = mapping.access;
    for (kind, allowed) in
        [(AccessKind::Read, true), (AccessKind::Write, access.write), (AccessKind::Fetch, access.execute)]
    {
        for (cpl, allowed) in [(0, allowed), (3, allowed && access.user)] {
            let context = WalkContext { cr3: tables.cr3(), cpl, ..WalkContext::LONG_MODE };
            match walk(|at| entry(tables, at), &context, virt, kind) {
                Ok(found) => {
                    prop_assert!(allowed, "{}", found);
                    prop_assert_eq!(found.phys, mapping.phys + (virt - mapping.virt));
                    prop_assert_eq!(found.page_bytes, mapping.page.bytes());
                    let rights = (found.writable, found.executable, found.user);
                    prop_assert_eq!(rights, (access.write, access.execute, access.user));
                }
                Err(fault) => prop_assert!(!allowed, "{}", fault),
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn the_walker_finds_what_was_mapped_and_nothing_else(mappings in mappings(), offset: u64, other: u64) {
        let mut builder = PageTables::new(0x9000);
        let mapped: Vec<_> = mappings.into_iter().filter(|mapping| builder.map(*mapping).is_ok()).collect();
        prop_assume!(!mapped.is_empty());
        let tables = builder.build();
        for mapping in &mapped {
            for offset in [0, offset % mapping.len, mapping.len - 1] {
                check_against_walker(&tables, mapping, mapping.virt + offset)?;
            }
        }
        let context = WalkContext { cr3: tables.cr3(), ..WalkContext::LONG_MODE };
        // Around each mapping, and anywhere: translated exactly if it was mapped.
        let around = mapped.iter().flat_map(|m| [m.virt.wrapping_sub(1), m.virt.wrapping_add(m.len)]);
        for virt in around.chain([other, other >> 17, !(other >> 17)]) {
            let owner = mapped.iter().find(|m| (m.virt..=m.virt + (m.len - 1)).contains(&virt));
            let found = walk(|at| entry(&tables, at), &context, virt, AccessKind::Read);
            match found {
                Ok(found) => prop_assert!(owner.is_some(), "{}", found),
                Err(fault) => {
                    prop_assert!(owner.is_none(), "{}", fault);
                    prop_assert!(matches!(fault.why, FaultReason::NotPresent | FaultReason::NonCanonical));
                }
            }
        }
    }

    #[test]
    fn whatever_is_asked_for_is_mapped_or_refused(
        tables_at: u64, virt: u64, phys: u64, len in 0..1u64 << 34,
        aligned: bool, access in access(), bits: u8,
    ) {
        // Half of the cases are aligned, so that later checks see something.
        let round = |value: u64| if aligned { value & !(P1G - 1) } else { value };
        for page in PageSize::ALL {
            let mapping = Mapping { virt: round(virt), phys: round(phys), len: round(len), page, access };
            let mut builder = PageTables::new(round(tables_at));
            let before = builder.clone().build();
            if builder.phys_bits(bits).map(mapping).is_err() {
                prop_assert_eq!(builder.build(), before);
            }
        }
    }
}
