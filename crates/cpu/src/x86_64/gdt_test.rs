use super::*;
use crate::x86_64::segment::SegmentKind;

#[test]
fn the_entry_tables_hold_what_the_entry_states_have_loaded() {
    for (gdt, code) in
        [(Gdt::flat32(), Segment::code32(Gdt::CODE)), (Gdt::long64(), Segment::code64(Gdt::CODE))]
    {
        assert_eq!(gdt.segment(Gdt::CODE), Some(code));
        assert_eq!(gdt.segment(Gdt::DATA), Some(Segment::data(Gdt::DATA)));
        assert_eq!((gdt.limit(), gdt.bytes().len() as u64), (Gdt::ENTRY_LIMIT, Gdt::ENTRY_BYTES));
    }
}

#[test]
fn bytes_are_little_endian_entries_from_the_null_descriptor_on() {
    let bytes = Gdt::long64().bytes();
    assert_eq!(bytes[..8], [0; 8]);
    assert_eq!(bytes[8..16], [0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0]);
    assert_eq!(bytes[16..], [0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]);
}

#[test]
fn selectors_name_the_entry_and_the_ring() {
    let mut gdt = Gdt::new();
    assert_eq!(gdt.push(&Segment::code64(0)), Ok(0x08));
    assert_eq!(gdt.push(&Segment::data(0).for_ring(3)), Ok(0x13));
    assert_eq!(gdt.push_system(&Segment::tss(0, 0xffff_8000_0000_0000, 0x67)), Ok(0x18));
    assert_eq!(gdt.push(&Segment::data(0)), Ok(0x28), "a 16-byte descriptor takes two entries");
    assert_eq!(gdt.limit(), 0x2f);
    assert_eq!(gdt.segment(0x13).unwrap().dpl, 3);
}

#[test]
fn a_selector_that_names_no_entry_gives_no_segment() {
    let gdt = Gdt::flat32();
    assert_eq!([0, 3, 0x0c, 0x18, 0xfff8].map(|selector| gdt.segment(selector)), [None; 5]);
}

#[test]
fn a_full_table_refuses_and_stays_as_it_is() {
    let mut gdt = Gdt::default();
    for _ in 0..8190 {
        gdt.push(&Segment::data(0)).unwrap();
    }
    assert_eq!(gdt.push_system(&Segment::tss(0, 0, 0x67)), Err(GdtError::Full));
    assert_eq!(gdt.push(&Segment::data(0)), Ok(0xfff8));
    assert_eq!(gdt.push(&Segment::data(0)), Err(GdtError::Full));
    assert_eq!(gdt.limit(), 0xffff);
}

#[test]
fn a_segment_without_a_descriptor_is_refused() {
    let error = Gdt::new().push(&Segment::tss(0, 1 << 40, 0x67)).unwrap_err();
    assert_eq!(error, GdtError::Encode(EncodeError::BaseTooLarge { base: 1 << 40 }));
    let long_tss = Segment { kind: SegmentKind::Tss { busy: false }, ..Segment::tss(0, 1 << 40, 0x67) };
    assert_eq!(Gdt::new().push_system(&long_tss), Ok(0x08));
}
