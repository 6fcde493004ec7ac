use super::*;
use crate::image::Image;
use crate::testing::{FILL, bytes, ram, small_ram, written_outside};

fn range(start: u64, len: u64) -> Loaded {
    Loaded { start, len, what: What::Image }
}

#[test]
fn nothing_is_written_before_commit() {
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    plan.add(0x1000, &[1, 2, 3][..], What::Image).unwrap();
    assert_eq!(written_outside(&memory, &[]), None);
    let loaded = plan.commit().unwrap();
    assert_eq!(loaded, [range(0x1000, 3)]);
    assert_eq!(bytes(&memory, 0xfff, 5), [FILL, 1, 2, 3, FILL]);
}

#[test]
fn the_rest_of_a_range_is_zeroed_over_many_pages() {
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    plan.add_zero_padded(range(0x1001, 0x3456), &[7][..]).unwrap();
    let loaded = plan.commit().unwrap();
    let mut expected = vec![0; 0x3456];
    expected[0] = 7;
    assert_eq!(bytes(&memory, 0x1001, 0x3456), expected);
    assert_eq!(written_outside(&memory, &loaded), None);
}

#[test]
fn ranges_outside_ram_are_refused() {
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    // The last byte of RAM is fine; one more, the hole, across it, and around the end of all addresses are
    // not.
    for (start, len, fits) in [
        (0x1_ffff, 1, true),
        (0x1_ffff, 2, false),
        (0x2_0000, 1, false),
        (0xf_ffff, 2, false),
        (0x10_0000, 1, true),
        (0x1_0000, 0x10_0000, false),
        (u64::MAX, 1, false),
        (u64::MAX, u64::MAX, false),
        (0x10, u64::MAX, false),
    ] {
        assert_eq!(plan.is_free(start, len), fits, "{start:#x} {len:#x}");
        let result = plan.add_zero_padded(range(start, len), &[][..]);
        match result {
            Ok(()) => assert!(fits, "{start:#x} {len:#x}"),
            Err(PlaceError::OutsideRam { range: named }) => {
                assert_eq!((named, fits), (range(start, len), false));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn ranges_may_cross_pieces_of_ram_that_touch() {
    let memory = ram(&[(0, 0x1000), (0x1000, 0x1000)]);
    let mut plan = Plan::new(&memory);
    plan.add(0xfff, &[1, 2][..], What::Image).unwrap();
    plan.commit().unwrap();
    assert_eq!(bytes(&memory, 0xfff, 2), [1, 2]);
}

#[test]
fn overlaps_name_both() {
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    plan.add(0x1000, &[0; 0x10][..], What::Gdt).unwrap();
    for (start, len) in [(0xfff, 2), (0x1000, 1), (0x100f, 1), (0xff0, 0x100), (0x1004, 4)] {
        assert!(!plan.is_free(start, len));
        let error = plan.add_zero_padded(range(start, len), &[][..]).unwrap_err();
        let PlaceError::Overlap { a, b } = error else { panic!("{error}") };
        assert_eq!((a.what, a.start, b), (What::Gdt, 0x1000, range(start, len)));
    }
    plan.add(0x1010, &[1][..], What::Image).unwrap();
    plan.add(0xfff, &[1][..], What::Image).unwrap();
}

/// 0x3000 bytes, of which the second page is mapped rather than copied, as far as this process can see.
struct Mapped {
    claims: std::ops::Range<u64>,
    calls: std::cell::RefCell<Vec<(u64, u64, u64)>>,
}

impl Image for Mapped {
    fn len(&self) -> u64 {
        0x4000
    }

    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(7);
        Ok(())
    }

    fn map(&self, offset: u64, len: u64, at: u64) -> io::Result<std::ops::Range<u64>> {
        self.calls.borrow_mut().push((offset, len, at));
        Ok(self.claims.clone())
    }
}

#[test]
fn what_an_image_maps_is_not_copied() {
    for (claims, copied) in [
        (0..0, [0..0x3000, 0..0]),
        (0x1000..0x2000, [0..0x1000, 0x2000..0x3000]),
        (0..0x3000, [0..0, 0..0]),
        (0x2fff..0x9000, [0..0x2fff, 0..0]),
        (0x9000..0xa000, [0..0x3000, 0..0]),
    ] {
        let memory = small_ram();
        let image = Mapped { claims: claims.clone(), calls: Vec::new().into() };
        let mut plan = Plan::new(&memory);
        let part = Part::new(&image, 0x1000, 0x3000).unwrap();
        plan.add_zero_padded(range(0x8000, 0x3001), part).unwrap();
        plan.commit().unwrap();
        let mut expected = vec![FILL; 0x3002];
        for range in copied {
            expected[range].fill(7);
        }
        expected[0x3000] = 0;
        assert_eq!(bytes(&memory, 0x8000, 0x3002), expected, "{claims:x?}");
        assert_eq!(*image.calls.borrow(), [(0x1000, 0x3000, 0x8000)]);
    }
}

#[test]
fn an_image_that_shrinks_is_an_error_that_says_where() {
    let path = std::env::temp_dir().join(format!("strata-boot-plan-{}", std::process::id()));
    std::fs::write(&path, [7; 0x2000]).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let image = crate::FileImage::new(file).unwrap();
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    plan.add(0x1000, Part::whole(&image), What::Image).unwrap();
    image.file().set_len(0x1fff).unwrap();
    let error = plan.commit().unwrap_err();
    assert!(
        matches!(error, PlaceError::Read { range: named, .. } if named == range(0x1000, 0x2000)),
        "{error}"
    );
}

#[test]
fn reserved_places_are_taken_but_not_written() {
    let memory = small_ram();
    let mut plan = Plan::new(&memory);
    plan.reserve(range(0x1000, 0x1000)).unwrap();
    assert!(plan.reserve(range(0x1_f000, 0x1001)).is_err());
    assert!(plan.add(0x1fff, &[1][..], What::Gdt).is_err());
    assert_eq!(plan.commit().unwrap(), []);
    assert_eq!(written_outside(&memory, &[]), None);
}

#[test]
fn messages_say_what_lies_where() {
    let memory = small_ram();
    let error = Plan::new(&memory).add(0x2_0000, &[0; 16][..], What::Segment(3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "segment 3 of the image at 0x20000-0x2000f does not lie in RAM: \
         give the guest more memory, or put it elsewhere"
    );
}
