use strata_memory::layout::{BOOT_PD, BOOT_PDPT};

use super::*;
use crate::testing::{bytes, fetched_from, ram, small_ram};

fn mapping(virt: u64, phys: u64, len: u64) -> Mapping {
    Mapping { virt, phys, len, page: PageSize::Size4K, access: Access::RWX }
}

#[test]
fn addresses_are_found_both_ways_up_to_the_last_byte() {
    let map = [mapping(0x1000, 0x8000, 0x1000), mapping(0x2000, 0x8000, 0x2000)];
    assert_eq!(physical(&map, 0x1fff, 1), Some(0x8fff));
    assert_eq!(physical(&map, 0x1fff, 2), None, "the second byte is another mapping's");
    assert_eq!(physical(&map, 0x3fff, 1), Some(0x9fff));
    assert_eq!(physical(&map, 0x4000, 1), None);
    assert_eq!(physical(&map, 0xfff, 1), None);
    assert_eq!(virtual_of(&map, 0x8010, 1), Some(0x1010), "the first of two");
    assert_eq!(virtual_of(&map, 0x8fff, 2), Some(0x2fff));
    assert_eq!(virtual_of(&map, 0xa000, 1), None);
    let wrapping = [mapping(!0xfff, !0xfff, u64::MAX)];
    assert_eq!(physical(&wrapping, u64::MAX, 1), Some(u64::MAX));
    assert_eq!(physical(&[mapping(0, !0xfff, 0x3000)], 0x2000, 1), None);
}

#[test]
fn the_default_tables_lie_where_the_layout_says() {
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    let state = long(&mut plan, 0x10_0000, &Paging::default(), None).unwrap();
    let loaded = plan.commit().unwrap();
    assert_eq!((loaded[0].what, loaded[0].start, loaded[0].len), (What::PageTables, BOOT_PML4, 0x6000));
    let entry = |at| u64::from_le_bytes(bytes(&memory, at, 8).try_into().unwrap()) & !0xfff;
    assert_eq!(entry(BOOT_PML4), BOOT_PDPT);
    assert_eq!(entry(BOOT_PDPT), BOOT_PD);
    for virt in [0, 0x10_0000, 0xc000_0000, 0xffff_ffff] {
        assert_eq!(fetched_from(&memory, &state, virt), Some(virt));
    }
    assert_eq!(fetched_from(&memory, &state, 1 << 32), None);
}

#[test]
fn the_gdt_is_where_gdtr_points() {
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    let state = protected(&mut plan, 0x10_0000, None).unwrap();
    plan.commit().unwrap();
    assert_eq!(state.gdt, TableRegister { base: BOOT_GDT, limit: 23 });
    assert_eq!(bytes(&memory, BOOT_GDT, 24), Gdt::flat32().bytes());

    let mut plan = Plan::new(&memory);
    let state = long(&mut plan, 0, &Paging::default(), Some(0x4000)).unwrap();
    plan.commit().unwrap();
    assert_eq!(state.gdt.base, 0x4000);
    assert_eq!(bytes(&memory, 0x4000, 24), Gdt::long64().bytes());
}

#[test]
fn gdtr_holds_the_virtual_address_of_the_gdt() {
    let memory = small_ram();
    let paging = Paging { tables_at: 0x9000, map: vec![mapping(0x40_0000, 0x1000, 0x2000)] };
    let mut plan = Plan::new(&memory);
    let state = long(&mut plan, 0x40_0000, &paging, Some(0x2000)).unwrap();
    assert_eq!(state.gdt.base, 0x40_1000);
}

#[test]
fn without_room_there_is_no_gdt_unless_it_was_asked_for() {
    let memory = ram(&[(0, 0x8000)]);
    let paging = Paging { tables_at: 0, map: vec![mapping(0, 0x4000, 0x4000)] };
    let mut plan = Plan::new(&memory);
    let state = long(&mut plan, 0, &paging, None).unwrap();
    assert_eq!(state.gdt, TableRegister { base: 0, limit: 0 });
    assert_eq!(state.regs.rsp, 0);
    let loaded = plan.commit().unwrap();
    assert_eq!(loaded.len(), 1, "tables only: {loaded:?}");

    let mut plan = Plan::new(&memory);
    let error = long(&mut plan, 0, &paging, Some(BOOT_GDT)).unwrap_err();
    assert!(matches!(error, EnterError::GdtNotMapped { gdt_at: BOOT_GDT }), "{error}");
    let identity = Paging { tables_at: 0, map: vec![mapping(0, 0, 0x8000)] };
    let error = long(&mut Plan::new(&memory), 0, &identity, Some(BOOT_GDT)).unwrap_err();
    assert!(matches!(error, EnterError::Place(PlaceError::Overlap { .. })), "{error}");
}

#[test]
fn the_gdt_of_protected_mode_lies_below_4_gib() {
    let memory = ram(&[(0, 0x1000), (1 << 32, 0x1000)]);
    let error = protected(&mut Plan::new(&memory), 0, Some(1 << 32)).unwrap_err();
    assert!(matches!(error, EnterError::GdtNotMapped { .. }), "{error}");
}

#[test]
fn the_stack_is_given_only_where_it_is_free_ram() {
    let free = small_ram();
    assert_eq!(protected(&mut Plan::new(&free), 0, None).unwrap().regs.rsp, BOOT_STACK_TOP);
    let small = ram(&[(0, 0x8000)]);
    assert_eq!(protected(&mut Plan::new(&small), 0, None).unwrap().regs.rsp, 0);
    let mut taken = Plan::new(&free);
    taken.add(0x8800, &[1][..], What::Image).unwrap();
    assert_eq!(protected(&mut taken, 0, None).unwrap().regs.rsp, 0);
}

#[test]
fn bad_page_tables_are_refused_by_name() {
    let memory = small_ram();
    let long = |paging: Paging| long(&mut Plan::new(&memory), 0, &paging, None).unwrap_err();
    let error = long(Paging { tables_at: 0x9001, ..Paging::default() });
    assert!(matches!(error, EnterError::Map(MapError::TablesMisaligned { .. })), "{error}");
    let error = long(Paging { tables_at: 0x1_f000, ..Paging::default() });
    assert!(matches!(error, EnterError::Place(PlaceError::OutsideRam { .. })), "{error}");
    let error = long(Paging { tables_at: 0, map: vec![mapping(0, 0, 0x1000), mapping(0, 0, 0x1000)] });
    assert!(matches!(error, EnterError::Map(MapError::Overlap { .. })), "{error}");
}
