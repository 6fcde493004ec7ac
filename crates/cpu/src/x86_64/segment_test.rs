use super::*;

#[test]
fn every_kind_has_its_own_bits_and_comes_back_from_them() {
    for bits in 0..32 {
        let (code_or_data, type_bits) = (bits & 16 != 0, bits & 15);
        let kind = SegmentKind::from_bits(code_or_data, type_bits);
        assert_eq!((kind.is_code_or_data(), kind.type_bits()), (code_or_data, type_bits), "{kind:?}");
    }
}

#[test]
fn kinds_are_the_manuals_table() {
    // SDM 3A tables 3-1 and 3-2.
    let cases = [
        (true, 0x3, SegmentKind::DATA),
        (true, 0x4, SegmentKind::Data { writable: false, expand_down: true, accessed: false }),
        (true, 0xb, SegmentKind::CODE),
        (true, 0xc, SegmentKind::Code { readable: false, conforming: true, accessed: false }),
        (false, 0x2, SegmentKind::Ldt),
        (false, 0x9, SegmentKind::Tss { busy: false }),
        (false, 0xb, SegmentKind::Tss { busy: true }),
        (false, 0xe, SegmentKind::System(0xe)),
    ];
    for (code_or_data, bits, kind) in cases {
        assert_eq!(SegmentKind::from_bits(code_or_data, bits), kind);
    }
}

#[test]
fn type_bits_above_the_fourth_are_ignored() {
    assert_eq!(SegmentKind::from_bits(true, 0xf3), SegmentKind::DATA);
    assert_eq!(SegmentKind::System(0xf2).type_bits(), 2);
}

#[test]
fn a_real_mode_segment_starts_at_sixteen_times_its_selector() {
    let segment = Segment::real(0xf000, SegmentKind::CODE);
    assert_eq!(
        (segment.base, segment.limit, segment.granular, segment.big),
        (0xf_0000, 0xffff, false, false)
    );
}

#[test]
fn a_ring_is_in_the_selector_and_in_the_descriptor() {
    let user = Segment::data(0x20).for_ring(3);
    assert_eq!((user.selector, user.dpl), (0x23, 3));
    assert_eq!(user.for_ring(0), Segment::data(0x20));
}
