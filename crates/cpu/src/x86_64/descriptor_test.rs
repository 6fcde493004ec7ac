use proptest::prelude::*;
use x86_64::{
    VirtAddr,
    structures::{
        gdt::{Descriptor as TheirDescriptor, DescriptorFlags},
        tss::TaskStateSegment,
    },
};

use super::*;

fn bits(segment: &Segment) -> u64 {
    Descriptor::encode(segment).unwrap().0
}

#[test]
fn flat_segments_are_those_of_the_x86_64_crate() {
    assert_eq!(bits(&Segment::code32(8)), DescriptorFlags::KERNEL_CODE32.bits());
    assert_eq!(bits(&Segment::code64(8)), DescriptorFlags::KERNEL_CODE64.bits());
    assert_eq!(bits(&Segment::data(8)), DescriptorFlags::KERNEL_DATA.bits());
    assert_eq!(bits(&Segment::code32(8).for_ring(3)), DescriptorFlags::USER_CODE32.bits());
    assert_eq!(bits(&Segment::code64(8).for_ring(3)), DescriptorFlags::USER_CODE64.bits());
    assert_eq!(bits(&Segment::data(8).for_ring(3)), DescriptorFlags::USER_DATA.bits());
}

#[test]
fn a_task_state_segment_is_that_of_the_x86_64_crate() {
    static TSS: TaskStateSegment = TaskStateSegment::new();
    let TheirDescriptor::SystemSegment(low, high) = TheirDescriptor::tss_segment(&TSS) else {
        panic!("a TSS is a system segment");
    };
    let at = VirtAddr::from_ptr(&raw const TSS).as_u64();
    let ours = Segment { kind: SegmentKind::Tss { busy: false }, ..Segment::tss(0, at, 0x67) };
    assert_eq!(SystemDescriptor::encode(&ours).unwrap().0, [low, high]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let flat = Segment::data(0x10);
    let cases = [
        (Segment { granular: false, ..flat }, EncodeError::LimitTooLarge { limit: u32::MAX }),
        (Segment { limit: 0x1000, ..flat }, EncodeError::LimitNotPaged { limit: 0x1000 }),
        (Segment { base: 1 << 32, ..flat }, EncodeError::BaseTooLarge { base: 1 << 32 }),
    ];
    for (segment, error) in cases {
        assert_eq!(Descriptor::encode(&segment), Err(error));
    }
    assert_eq!(SystemDescriptor::encode(&flat), Err(EncodeError::NotSystem));
}

#[test]
fn the_largest_byte_granular_limit_is_accepted() {
    let segment = Segment { limit: 0xf_ffff, granular: false, ..Segment::data(0x10) };
    assert_eq!(Descriptor::encode(&segment).unwrap().decode(0x10), segment);
}

#[test]
fn an_unusable_segment_is_the_null_descriptor() {
    assert_eq!(Descriptor::encode(&Segment::null()), Ok(Descriptor::NULL));
    assert_eq!(Descriptor::NULL.decode(0), Segment::null());
    assert_eq!(SystemDescriptor::encode(&Segment::null()), Ok(SystemDescriptor([0, 0])));
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn any_eight_bytes_decode_and_encode_to_themselves(word: u64, selector: u16) {
        let segment = Descriptor(word).decode(selector);
        prop_assert_eq!(segment.selector, selector);
        prop_assert_eq!(Descriptor::encode(&segment), Ok(Descriptor(word)));
    }

    #[test]
    fn any_system_segment_comes_back(base: u64, pages: u32, dpl in 0u8..4, busy: bool, available: bool) {
        let limit = pages << 12 | 0xfff;
        let kind = SegmentKind::Tss { busy };
        let tss = Segment { kind, granular: true, dpl, available, ..Segment::tss(8, base, limit) };
        prop_assert_eq!(SystemDescriptor::encode(&tss).unwrap().decode(8), tss);
    }
}
