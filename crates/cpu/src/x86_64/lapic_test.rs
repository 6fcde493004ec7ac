use super::*;

#[test]
fn a_pin_changes_and_its_neighbours_do_not() {
    let mut page = LapicPage([0xa5; 1024]);
    page.set_register(LVT_LINT0, MASKED | 1 << 13);
    page.connect(LVT_LINT0, Delivery::ExtInt);
    assert_eq!(page.register(LVT_LINT0), 0x700 | 1 << 13);
    page.connect(LVT_LINT0, Delivery::Nmi);
    assert_eq!(page.register(LVT_LINT0), 0x400 | 1 << 13);
    page.connect(LVT_LINT0, Delivery::Fixed);
    page.mask(LVT_LINT0);
    assert_eq!(page.register(LVT_LINT0), MASKED | 1 << 13);
    page.set_register(LVT_LINT0, 0xa5a5_a5a5);
    assert_eq!(page, LapicPage([0xa5; 1024]));
}

#[test]
fn beyond_the_page_there_is_nothing() {
    let mut page = LapicPage([1; 1024]);
    for offset in [1021, 1024, usize::MAX] {
        page.set_register(offset, 7);
        assert_eq!(page.register(offset), 0);
    }
    assert_eq!(page, LapicPage([1; 1024]));
    page.0 = [0; 1024];
    page.virtual_wire();
    assert_eq!(format!("{page:?}"), "{848: 1792, 864: 1024}");
}
