use super::*;

#[test]
fn a_word_of_the_command_line_has_a_value() {
    let line = "console=ttyS0 test=a::b quiet test=c";
    assert_eq!(value_of(line, "test"), Some("a::b"));
    assert_eq!(value_of(line, "tes"), None);
    assert_eq!(value_of(line, "quiet"), None);
    assert_eq!(value_of("", "test"), None);
}

#[test]
fn start_info_is_as_long_as_xens() {
    assert_eq!((size_of::<StartInfo>(), size_of::<Region>()), (56, 24));
}

#[test]
fn without_start_info_nothing_is_known() {
    let not = [0_u32; 16];
    // SAFETY: it does not begin with the magic number.
    unsafe { begin(not.as_ptr().addr()) };
    assert_eq!((command_line(), memory_map(), rsdp()), ("", &[][..], None));
}
