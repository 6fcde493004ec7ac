//! What must not be left in a file: stubs, tests ignored without a reason, more than 500 lines.

use super::Finding;
use super::source::Source;

/// Longest file, in lines; tests may be longer.
const LONGEST: usize = 500;

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, word, rest) in source.words() {
        if matches!(word, "todo" | "unimplemented" | "dbg") && rest.starts_with('!') {
            found.push(Finding::new(&source.path, Some(line), format!("`{word}!` left behind")));
        }
        let is_attribute = source.lines[line - 1].code.trim_start().starts_with("#[");
        if word == "ignore" && is_attribute && !has_value(rest) {
            let message = "a test ignored without a reason; write `#[ignore = \"reason\"]`";
            found.push(Finding::new(&source.path, Some(line), message));
        }
    }
    // A file that ends its last line has one line more by our count, which is empty.
    let count =
        source.lines.len() - usize::from(source.lines.last().is_some_and(|last| last.code.is_empty()));
    if count > LONGEST && !source.is_test() {
        let message = format!("{count} lines; split what has more than {LONGEST}");
        found.push(Finding::new(&source.path, None, message));
    }
    found
}

/// Whether `= "something"` follows.
fn has_value(rest: &str) -> bool {
    rest.trim_start().strip_prefix('=').is_some_and(|value| !value.trim_start().starts_with("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn stubs_are_found() {
        for stub in ["todo!()", "unimplemented!(\"later\")", "dbg!(x)"] {
            assert_eq!(found("a.rs", &format!("fn f() {{\n    {stub};\n}}")).len(), 1, "{stub}");
        }
        assert_eq!(found("a.rs", "// todo!()\nlet todo = \"todo!()\";"), [""; 0]);
    }

    #[test]
    fn ignored_tests_need_a_reason() {
        for attribute in ["#[ignore]", "#[ignore = \"\"]", "#[cfg_attr(miri, ignore)]"] {
            assert_eq!(found("a_test.rs", attribute).len(), 1, "{attribute}");
        }
        for attribute in
            ["#[ignore = \"why\"]", "#[cfg_attr(miri, ignore = \"maps files\")]", "let ignore = 1;"]
        {
            assert_eq!(found("a_test.rs", attribute), [""; 0], "{attribute}");
        }
    }

    #[test]
    fn long_files_are_found_unless_they_are_tests() {
        let (just, long) = ("x();\n".repeat(500), "x();\n".repeat(501));
        assert_eq!(found("crates/a/src/a.rs", &just), [""; 0]);
        assert_eq!(
            found("crates/a/src/a.rs", &long),
            ["crates/a/src/a.rs: 501 lines; split what has more than 500"]
        );
        assert_eq!(found("crates/a/src/a_test.rs", &long), [""; 0]);
        assert_eq!(found("crates/a/tests/a.rs", &long), [""; 0]);
    }
}
