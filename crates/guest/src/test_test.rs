use super::*;

fn nothing() {}

#[test]
fn a_record_is_six_words_long() {
    assert_eq!(size_of::<Test>(), 48);
    assert_eq!(core::mem::offset_of!(Test, run), 24);
}

#[test]
fn a_name_is_without_the_crates() {
    assert_eq!(Test::new("crate_name::module::test", nothing).name(), "module::test");
    assert_eq!(Test::new("x::t", nothing).name(), "t");
    assert_eq!(Test::new("plain", nothing).name(), "plain");
}

#[test]
fn calls_set_what_they_say() {
    let test = Test::new("a::b", nothing);
    assert_eq!((test.is_ignored(), test.should_panic(), test.expected_message()), (false, false, None));
    let test = Test::new("a::b", nothing).ignored().panics("");
    assert_eq!((test.is_ignored(), test.should_panic(), test.expected_message()), (true, true, None));
    assert_eq!(Test::new("a::b", nothing).panics("why").expected_message(), Some("why"));
}

#[test]
fn a_test_is_chosen_by_number_or_name() {
    let tests = [Test::new("a::first", nothing), Test::new("a::second", nothing)];
    let name = |which| chosen(&tests, which).map(Test::name);
    assert_eq!(name("1"), Some("second"));
    assert_eq!(name("first"), Some("first"));
    assert_eq!((name("2"), name("sec"), name("")), (None, None, None));
}
