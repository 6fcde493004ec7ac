use clap::Parser as _;

use super::*;

/// The names of those that these words select, ignored ones with a star, and how many are left out.
fn names(words: &[&str]) -> (String, usize) {
    let test = |name: &str, ignored| GuestTest { name: name.into(), ignored, should_panic: false };
    let tests = [test("b", false), test("a::x", false), test("a::xy", true)];
    let (selected, left_out) = select(&tests, &Harness::try_parse_from(words).unwrap());
    for selected in &selected {
        assert_eq!(&tests[selected.index], selected.test);
    }
    let name = |it: &Selected<'_>| format!("{}{}", it.test.name, if it.ignored { "*" } else { "" });
    (selected.iter().map(name).collect::<Vec<_>>().join(" "), left_out)
}

#[test]
fn tests_are_selected_as_by_rusts_own_programs() {
    for (words, selected, left_out) in [
        (&[][..], "a::x a::xy* b", 0),
        (&["a::x"], "a::x a::xy*", 1),
        (&["a::x", "--exact"], "a::x", 2),
        (&["a::x", "b", "--exact"], "a::x b", 1),
        (&["--skip", "xy"], "a::x b", 1),
        (&["--skip", "a::x", "--exact"], "a::xy* b", 1),
        (&["--ignored"], "a::xy", 2),
        (&["--include-ignored"], "a::x a::xy b", 0),
        (&["c"], "", 3),
        (&["--bench"], "", 3),
    ] {
        assert_eq!(names(words), (selected.to_owned(), left_out), "{words:?}");
    }
}
