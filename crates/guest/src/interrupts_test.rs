use super::*;

#[test]
fn a_frame_is_what_the_assembler_pushes() {
    assert_eq!(size_of::<Frame>(), 22 * 8);
    assert_eq!(core::mem::offset_of!(Frame, vector), 15 * 8);
    assert_eq!(core::mem::offset_of!(Frame, rip), 17 * 8);
}

#[test]
fn a_handler_is_kept_by_its_vector() {
    fn handler(_: &mut Frame) {}
    set_handler(77, handler);
    assert_eq!(HANDLERS[77].load(Relaxed), handler as *const () as usize);
    assert_eq!(HANDLERS[78].load(Relaxed), 0);
}
