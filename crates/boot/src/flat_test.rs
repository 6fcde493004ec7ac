use proptest::prelude::*;
use strata_cpu::{Access, Mapping, PageSize};
use strata_memory::layout::BOOT_STACK_TOP;

use super::*;
use crate::testing::{bytes, fetched_from, ram, small_ram, written_outside};

const CODE: &[u8] = &[0x90, 0x90, 0xf4];

fn options(mode: Mode) -> FlatOptions {
    FlatOptions::new(mode)
}

#[test]
fn each_mode_has_its_place() {
    for (mode, start) in [(Mode::Real16, 0x7c00), (Mode::Protected32, 0x10_0000), (Mode::Long64, 0x10_0000)] {
        let memory = small_ram();
        let Entry { state, loaded } = load(&memory, CODE, &options(mode)).unwrap();
        assert_eq!(bytes(&memory, start, 3), CODE, "{mode}");
        assert_eq!((loaded[0].what, loaded[0].start, loaded[0].len), (What::Image, start, 3));
        assert_eq!((state.mode(), state.regs.rip), (mode, start));
        assert_eq!(state.regs.rsp, if mode == Mode::Real16 { 0 } else { BOOT_STACK_TOP });
        assert_eq!(written_outside(&memory, &loaded), None);
    }
}

#[test]
fn real_mode_writes_the_image_and_nothing_else() {
    let memory = ram(&[(0x1000, 0x4000)]);
    let entry = load(&memory, CODE, &FlatOptions { load_at: Some(0x1000), ..options(Mode::Real16) }).unwrap();
    assert_eq!(entry.loaded.len(), 1);
    assert_eq!((entry.state.cs.base, entry.state.cs.selector, entry.state.regs.rip), (0, 0, 0x1000));
}

#[test]
fn real_mode_reaches_the_first_mib_by_cs() {
    let memory = ram(&[(0, 0x11_0000)]);
    let load = |at| load(&memory, CODE, &FlatOptions { load_at: Some(at), ..options(Mode::Real16) });
    let state = load(0xffff).unwrap().state;
    assert_eq!((state.cs.selector, state.regs.rip), (0, 0xffff));
    let state = load(0x2_1234).unwrap().state;
    assert_eq!((state.cs.selector, state.cs.base, state.regs.rip), (0x2000, 0x2_0000, 0x1234));
    let state = load(0xf_ffff).unwrap().state;
    assert_eq!((state.cs.selector, state.regs.rip), (0xf000, 0xffff));
    let error = load(0x10_0000).unwrap_err();
    assert!(matches!(error, FlatError::EntryOutOfReach { entry: 0x10_0000, mode: Mode::Real16 }), "{error}");
}

#[test]
fn protected_mode_reaches_4_gib() {
    let memory = ram(&[(0xffff_f000, 0x2000)]);
    let load = |at| load(&memory, CODE, &FlatOptions { load_at: Some(at), ..options(Mode::Protected32) });
    assert_eq!(load(0xffff_ffff).unwrap().state.regs.rip, 0xffff_ffff);
    let error = load(1 << 32).unwrap_err();
    assert!(matches!(error, FlatError::EntryOutOfReach { mode: Mode::Protected32, .. }), "{error}");
}

#[test]
fn an_entry_of_ones_own_has_to_lie_in_the_image() {
    let memory = small_ram();
    for mode in Mode::ALL {
        let load = |entry| {
            load(&memory, CODE, &FlatOptions { load_at: Some(0x1000), entry: Some(entry), ..options(mode) })
        };
        assert_eq!(load(0x1002).unwrap().state.regs.rip, 0x1002);
        for entry in [0xfff, 0x1003, 0] {
            let error = load(entry).unwrap_err();
            assert!(
                matches!(error, FlatError::EntryOutsideImage { start: 0x1000, len: 3, .. }),
                "{mode}: {error}"
            );
        }
    }
}

/// 32 KiB, tables at its start, and nothing mapped where it lies.
fn elsewhere(entry: Option<u64>) -> FlatOptions {
    let map = |virt, phys, len, access| Mapping { virt, phys, len, page: PageSize::Size4K, access };
    let map = vec![
        map(0, 0x4000, 0x1000, Access::RX),
        map(0x1000, 0x5000, 0x3000, Access::RW),
        map(0x4000, 0x8000, 0x1000, Access::RW),
    ];
    let paging = Some(Paging { tables_at: 0, map });
    FlatOptions { load_at: Some(0x4000), entry, paging, ..options(Mode::Long64) }
}

#[test]
fn long_mode_with_tables_of_ones_own() {
    let memory = ram(&[(0, 0x8000)]);
    let Entry { state, loaded } = load(&memory, CODE, &elsewhere(None)).unwrap();
    assert_eq!(
        (state.cr3, state.regs.rip, state.regs.rsp),
        (0, 0, 0),
        "entered at the virtual address of its first byte"
    );
    let ranges: Vec<_> = loaded.iter().map(|it| (it.what, it.start, it.len)).collect();
    assert_eq!(ranges, [(What::Image, 0x4000, 3), (What::PageTables, 0, 0x4000)]);
    assert_eq!(fetched_from(&memory, &state, 0), Some(0x4000));
    assert_eq!(fetched_from(&memory, &state, 0x1000), None, "not executable");
    assert_eq!(written_outside(&memory, &loaded), None);

    assert_eq!(load(&memory, CODE, &elsewhere(Some(2))).unwrap().state.regs.rip, 2);
    let error = load(&memory, CODE, &elsewhere(Some(0x4000))).unwrap_err();
    assert!(matches!(error, FlatError::EntryOutsideImage { entry: 0x4000, .. }), "{error}");
    let error = load(&memory, CODE, &elsewhere(Some(0x9000))).unwrap_err();
    assert!(matches!(error, FlatError::EntryNotMapped { entry: 0x9000 }), "{error}");
    let error = load(&memory, CODE, &FlatOptions { load_at: Some(0x3000), ..elsewhere(None) }).unwrap_err();
    assert!(matches!(error, FlatError::EntryNotMapped { entry: 0x3000 }), "{error}");
}

#[test]
fn tables_are_for_long_mode() {
    for mode in [Mode::Real16, Mode::Protected32] {
        let error = load(&small_ram(), CODE, &FlatOptions { mode, ..elsewhere(None) }).unwrap_err();
        assert!(matches!(error, FlatError::PagingNotUsed { mode: named } if named == mode), "{error}");
    }
}

#[test]
fn an_empty_image_is_refused() {
    for mode in Mode::ALL {
        assert!(matches!(load(&small_ram(), &[], &options(mode)), Err(FlatError::Empty)));
    }
}

#[test]
fn an_image_that_does_not_fit_is_refused_and_memory_is_as_it_was() {
    let memory = small_ram();
    let cases = [
        (Mode::Real16, 0x1_ffff, "RAM"),
        (Mode::Protected32, 0x10_ffff, "RAM"),
        (Mode::Protected32, u64::MAX, "RAM"),
        (Mode::Long64, 0x9000, "the image at 0x9000-0x9002 and the page tables at 0x9000-0xefff overlap"),
        (Mode::Long64, 0x8fff, "overlap"),
        (Mode::Long64, 0xefff, "overlap"),
    ];
    for (mode, at, says) in cases {
        let error = load(&memory, CODE, &FlatOptions { load_at: Some(at), ..options(mode) }).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(written_outside(&memory, &[]), None, "{mode} at {at:#x}");
    }
}

#[test]
fn an_image_on_the_gdts_place_goes_without() {
    for (mode, what) in [(Mode::Protected32, 1), (Mode::Long64, 2)] {
        let memory = small_ram();
        let at = |gdt_at| FlatOptions { load_at: Some(0x500), gdt_at, ..options(mode) };
        let entry = load(&memory, CODE, &at(None)).unwrap();
        assert_eq!((entry.state.gdt.limit, entry.loaded.len()), (0, what));
        let error = load(&memory, CODE, &at(Some(0x500))).unwrap_err();
        assert!(matches!(error, FlatError::Enter(EnterError::Place(PlaceError::Overlap { .. }))), "{error}");
        assert_eq!(load(&memory, CODE, &at(Some(0x600))).unwrap().state.gdt.base, 0x600);
    }
}

fn modes() -> impl Strategy<Value = Mode> {
    prop::sample::select(Mode::ALL.to_vec())
}

fn addresses() -> impl Strategy<Value = u64> {
    prop_oneof![0..0x2_1000_u64, 0xf_f000..0x11_1000_u64, any::<u64>()]
}

fn any_options() -> impl Strategy<Value = FlatOptions> {
    let paging =
        (addresses(), addresses(), addresses(), addresses()).prop_map(|(tables_at, virt, phys, len)| {
            let (virt, phys, len) = (virt & !0xfff, phys & !0xfff, len & 0xf_f000);
            let map = vec![Mapping { virt, phys, len, page: PageSize::Size4K, access: Access::RWX }];
            Paging { tables_at: tables_at & !0xfff, map }
        });
    let address = || prop::option::of(addresses());
    (modes(), address(), address(), address(), prop::option::of(paging)).prop_map(
        |(mode, load_at, entry, gdt_at, paging)| FlatOptions { mode, load_at, entry, paging, gdt_at },
    )
}

proptest! {
    /// Whatever is asked for: no panic, nothing written that is not listed, and nothing at all on errors.
    #[test]
    fn only_what_is_listed_is_written(
        image in prop::collection::vec(any::<u8>(), 0..0x3000),
        options in any_options(),
    ) {
        let memory = small_ram();
        let loaded = load(&memory, &image, &options).map(|entry| entry.loaded).unwrap_or_default();
        prop_assert_eq!(written_outside(&memory, &loaded), None);
    }

    /// What is loaded is there byte for byte, and the first instruction is the image's.
    #[test]
    fn an_image_that_fits_is_entered(
        image in prop::collection::vec(any::<u8>(), 1..0x800),
        mode in modes(),
        at in 0x530..0x7000_u64,
    ) {
        let memory = small_ram();
        let options = FlatOptions { load_at: Some(at), ..options(mode) };
        let Entry { state, loaded } = load(&memory, &image, &options).unwrap();
        prop_assert_eq!(bytes(&memory, at, image.len()), image);
        prop_assert_eq!(fetched_from(&memory, &state, state.cs.base + state.regs.rip), Some(at));
        prop_assert_eq!(written_outside(&memory, &loaded), None);
    }
}
