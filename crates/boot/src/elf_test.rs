use proptest::prelude::*;
use strata_cpu::{MapError, Mode};
use strata_memory::layout::BOOT_STACK_TOP;

use super::*;
use crate::testing::{
    E_MACHINE, E_PHENTSIZE, E_PHNUM, E_PHOFF, E_TYPE, EI_CLASS, EI_DATA, EI_VERSION, FILL, Segment, bytes,
    elf, fetched_from, ram, small_ram, written_outside,
};

const AT: u64 = 0x10_0000;
const HIGH: u64 = 0xffff_ffff_8010_0000;

fn file() -> Vec<u8> {
    elf(AT, &[Segment::at(AT, b"code"), Segment::at(AT + 0x2000, b"data").memory_size(0x1100)])
}

fn refusal(image: &[u8]) -> ElfError {
    let memory = small_ram();
    let error = load(&memory, image, &ElfOptions::default()).unwrap_err();
    assert_eq!(written_outside(&memory, &[]), None, "refused ({error}), but written");
    error
}

/// The refusal of [`file`] with one byte changed.
fn spoilt(offset: usize, value: u8) -> ElfError {
    let mut file = file();
    assert_ne!(file[offset], value);
    file[offset] = value;
    refusal(&file)
}

macro_rules! assert_refused {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = $error;
        assert!(matches!(error, $pattern $(if $guard)?), "{error:?}");
    };
}

#[test]
fn segments_are_loaded_and_what_follows_them_is_zeroed() {
    let memory = small_ram();
    let Entry { state, loaded } = load(&memory, &file(), &ElfOptions::default()).unwrap();
    assert_eq!(bytes(&memory, AT, 5), [b'c', b'o', b'd', b'e', FILL]);
    assert_eq!(bytes(&memory, AT + 0x2000, 4), b"data");
    assert_eq!(bytes(&memory, AT + 0x2004, 0x10fc), vec![0; 0x10fc]);
    assert_eq!(written_outside(&memory, &loaded), None);
    let what: Vec<_> = loaded.iter().map(|it| it.what).collect();
    assert_eq!(what, [What::Segment(0), What::Segment(1), What::PageTables, What::Gdt]);
    assert_eq!((state.mode(), state.regs.rip, state.regs.rsp), (Mode::Long64, AT, BOOT_STACK_TOP));
    assert_eq!(fetched_from(&memory, &state, AT), Some(AT));
}

#[test]
fn headers_need_not_be_aligned() {
    let memory = small_ram();
    for shift in 0..8 {
        let shifted = [vec![0; shift], file()].concat();
        load(&memory, &shifted[shift..], &ElfOptions::default()).unwrap();
    }
}

#[test]
fn a_kernel_linked_high_is_entered_high_or_low() {
    let memory = small_ram();
    for entry in [HIGH, HIGH + 3, AT, AT + 3] {
        let image = elf(entry, &[Segment::at(AT, b"code").virt(HIGH)]);
        let state = load(&memory, &image, &ElfOptions::default()).unwrap().state;
        assert_eq!(state.regs.rip, entry);
        assert_eq!(fetched_from(&memory, &state, entry), Some(AT + entry % 0x1000));
    }
    for entry in [HIGH + 4, HIGH - 1, AT + 4, 0, u64::MAX] {
        let error = refusal(&elf(entry, &[Segment::at(AT, b"code").virt(HIGH)]));
        assert_refused!(error, ElfError::EntryOutsideSegments { entry: named } if named == entry);
    }
}

#[test]
fn low_virtual_addresses_win_over_the_identity_map() {
    let memory = small_ram();
    let image = elf(0x1000, &[Segment::at(AT, b"code").virt(0x1000)]);
    let Entry { state, .. } = load(&memory, &image, &ElfOptions::default()).unwrap();
    assert_eq!(fetched_from(&memory, &state, 0x1000), Some(AT));
    assert_eq!(fetched_from(&memory, &state, 0x2000), None);
    assert_eq!((state.gdt.limit, state.regs.rsp), (0, 0), "neither has a virtual address any more");
}

#[test]
fn other_program_headers_and_empty_segments_are_passed_over() {
    let memory = small_ram();
    let note = Segment { kind: 4, ..Segment::at(1 << 60, b"note") };
    let stack = Segment { kind: 0x6474_e551, ..Segment::at(0, b"") };
    let empty = Segment::at(u64::MAX, b"");
    let image = elf(AT, &[note, stack, empty, Segment::at(AT, b"code")]);
    let entry = load(&memory, &image, &ElfOptions::default()).unwrap();
    assert_eq!(entry.loaded[0].what, What::Segment(3));
}

#[test]
fn tables_and_gdt_go_where_they_are_told() {
    let memory = small_ram();
    let options = ElfOptions { tables_at: 0x1_0000, gdt_at: Some(0x3000) };
    let Entry { state, loaded } = load(&memory, &file(), &options).unwrap();
    assert_eq!((state.cr3, state.gdt.base), (0x1_0000, 0x3000));
    assert_eq!(written_outside(&memory, &loaded), None);
}

#[test]
fn a_header_that_is_not_ours_is_refused_by_name() {
    assert_refused!(spoilt(0, 0), ElfError::NotElf);
    assert_refused!(refusal(&[]), ElfError::NotElf);
    assert_refused!(spoilt(EI_CLASS, 1), ElfError::WrongClass { class: 1 });
    assert_refused!(spoilt(EI_DATA, 2), ElfError::WrongEndian { encoding: 2 });
    assert_refused!(spoilt(EI_VERSION, 0), ElfError::WrongVersion { version: 0 });
    assert_refused!(spoilt(E_MACHINE, 183), ElfError::WrongMachine { machine: 183 });
    assert_refused!(spoilt(E_TYPE, 3), ElfError::WrongType { file_type: 3 });
    assert_refused!(spoilt(E_TYPE, 1), ElfError::WrongType { file_type: 1 });
    assert_refused!(spoilt(E_PHENTSIZE, 32), ElfError::ProgramHeaderSize { size: 32, expected: 56 });
    assert_refused!(spoilt(E_PHNUM, 0), ElfError::NoSegments);
    assert_refused!(spoilt(E_PHNUM, 200), ElfError::TruncatedProgramHeaders);
    assert_refused!(spoilt(E_PHOFF + 7, 0x80), ElfError::TruncatedProgramHeaders);
}

#[test]
fn a_file_cut_off_anywhere_is_refused_by_name() {
    let file = file();
    for len in 0..file.len() {
        let error = refusal(&file[..len]);
        let named = match len {
            0..4 => matches!(error, ElfError::NotElf),
            4..64 => matches!(error, ElfError::TruncatedHeader { len: told, size: 64 } if told == len as u64),
            64..176 => matches!(error, ElfError::TruncatedProgramHeaders),
            176..180 => matches!(error, ElfError::TruncatedSegment { index: 0 }),
            _ => matches!(error, ElfError::TruncatedSegment { index: 1 }),
        };
        assert!(named, "{len} bytes: {error:?}");
    }
}

#[test]
fn segments_that_cannot_be_loaded_are_refused_by_name() {
    let one = |segment: Segment| refusal(&elf(segment.virt, &[segment]));
    assert_refused!(refusal(&elf(AT, &[])), ElfError::NoSegments);
    assert_refused!(one(Segment::at(AT, b"code").memory_size(0)), ElfError::NoSegments);
    assert_refused!(
        one(Segment::at(AT, b"code").memory_size(3)),
        ElfError::FileLargerThanMemory { index: 0, file_size: 4, memory_size: 3 }
    );
    for segment in [
        Segment::at(0x2_0000, b"code"),
        Segment::at(AT, b"code").memory_size(0x1_0001),
        Segment::at(AT, b"code").memory_size(u64::MAX),
        Segment::at(u64::MAX, b"code"),
    ] {
        assert_refused!(one(segment), ElfError::Place(PlaceError::OutsideRam { .. }));
    }
    assert_refused!(one(Segment::at(AT, b"code").virt(HIGH + 1)), ElfError::Misaligned { .. });
    assert_refused!(one(Segment::at(AT, b"code").virt(u64::MAX - 2)), ElfError::AddressOverflow { .. });
    assert_refused!(
        one(Segment::at(AT, b"code").virt(1 << 47)),
        ElfError::Enter(EnterError::Map(MapError::NonCanonical { .. }))
    );
}

#[test]
fn segments_that_collide_are_refused_by_name() {
    let two = [Segment::at(AT, b"code"), Segment::at(AT + 3, b"data")];
    assert_refused!(refusal(&elf(AT, &two)), ElfError::Place(PlaceError::Overlap { .. }));
    let same_virtual = [Segment::at(AT, b"code").virt(HIGH), Segment::at(AT + 0x1000, b"data").virt(HIGH)];
    assert_refused!(
        refusal(&elf(HIGH, &same_virtual)),
        ElfError::Enter(EnterError::Map(MapError::Overlap { .. }))
    );
    let on_tables = refusal(&elf(0xa000, &[Segment::at(0xa000, b"code")]));
    assert_refused!(on_tables, ElfError::Enter(EnterError::Place(PlaceError::Overlap { .. })));
}

#[test]
fn the_number_of_segments_is_bounded() {
    let segments: Vec<_> = (0..=MAX_SEGMENTS as u64).map(|index| Segment::at(AT + index, b"x")).collect();
    let memory = small_ram();
    load(&memory, &elf(AT, &segments[..MAX_SEGMENTS]), &ElfOptions::default()).unwrap();
    assert_refused!(refusal(&elf(AT, &segments)), ElfError::TooManySegments);
}

#[test]
fn memory_above_4_gib_is_mapped_when_a_segment_lies_there() {
    let memory = ram(&[(0, 0x2_0000), (1 << 32, 0x1000)]);
    let image = elf((1 << 32) + 1, &[Segment::at(1 << 32, b"code")]);
    let state = load(&memory, &image, &ElfOptions::default()).unwrap().state;
    assert_eq!(fetched_from(&memory, &state, state.regs.rip), Some((1 << 32) + 1));
}

fn addresses() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..0x2_1000_u64,
        AT - 0x1000..AT + 0x1_1000,
        (0..16_u64).prop_map(|page| AT + page * 0x1000),
        (0..16_u64).prop_map(|page| HIGH + page * 0x1000),
        any::<u64>(),
    ]
}

fn segments() -> impl Strategy<Value = Segment> {
    let sizes = prop_oneof![Just(None), (0..0x2000_u64).prop_map(Some), any::<u64>().prop_map(Some)];
    (0..4_u32, addresses(), prop::option::of(addresses()), prop::collection::vec(any::<u8>(), 0..0x40), sizes)
        .prop_map(|(kind, phys, virt, bytes, size)| {
            let segment = Segment { kind, ..Segment::at(phys, &bytes) };
            let segment = segment.virt(virt.unwrap_or(phys));
            match size {
                Some(size) => segment.memory_size(size),
                None => segment,
            }
        })
}

/// Loads whatever it is; nothing may be written outside what is listed, and nothing at all on an error.
fn check(image: &[u8]) -> Result<(), TestCaseError> {
    let memory = small_ram();
    match load(&memory, image, &ElfOptions::default()) {
        Err(_) => prop_assert_eq!(written_outside(&memory, &[]), None),
        Ok(Entry { state, loaded }) => {
            prop_assert_eq!(written_outside(&memory, &loaded), None);
            let first = fetched_from(&memory, &state, state.regs.rip).expect("the entry is mapped");
            let holds = |it: &&Loaded| it.start <= first && first - it.start < it.len;
            let what = loaded.iter().find(holds).map(|it| it.what);
            prop_assert!(matches!(what, Some(What::Segment(_))), "entered at {first:#x}, in {what:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_behind_the_magic_number(rest in prop::collection::vec(any::<u8>(), 0..0x200)) {
        check(&[b"\x7fELF\x02\x01\x01".as_slice(), &rest].concat())?;
        check(&rest)?;
    }

    #[test]
    fn any_segments(entry in addresses(), segments in prop::collection::vec(segments(), 0..5)) {
        check(&elf(entry, &segments))?;
    }

    /// A good file with some bytes changed and its end cut off.
    #[test]
    fn any_damage(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let data = Segment::at(AT + 0x2000, b"data").memory_size(0x1100);
        let mut image = elf(HIGH, &[Segment::at(AT, b"code").virt(HIGH), data]);
        for (at, value) in changes {
            let at = at.index(image.len());
            image[at] = value;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        check(&image)?;
    }
}
