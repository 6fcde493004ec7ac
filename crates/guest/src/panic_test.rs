use super::*;

#[test]
fn a_message_is_searched_as_it_is_formatted() {
    assert!(contains(&format_args!("left: {}", 42), "t: 4"));
    assert!(contains(&"", ""));
    assert!(!contains(&format_args!("left: {}", 42), "t: 5"));
    assert!(!contains(&"short", "longer than that"));
}

#[test]
fn only_the_start_of_a_long_message_is_searched() {
    let long = "x".repeat(1023);
    assert!(contains(&format_args!("{long}y"), "xy"));
    assert!(!contains(&format_args!("{long}xy"), "y"));
}
