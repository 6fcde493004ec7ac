//! Two lists of lines, expected and seen, made readable where they differ.

/// How many equal lines are shown before the first difference.
const BEFORE: usize = 2;
/// How many lines of either list are shown from the first difference on.
const AFTER: usize = 6;

/// Describes the first place where `seen` is not `expected`; `None` if they are equal.
pub(crate) fn lines(expected: &[String], seen: &[String]) -> Option<Vec<String>> {
    let equal = expected.iter().zip(seen).take_while(|(a, b)| a == b).count();
    if equal == expected.len() && equal == seen.len() {
        return None;
    }
    let mut text =
        vec![format!("from line {}; expected {} lines, seen {}:", equal + 1, expected.len(), seen.len())];
    let before = equal.saturating_sub(BEFORE);
    if before > 0 {
        text.push(format!("           .. {before} more as expected"));
    }
    text.extend(expected[before..equal].iter().map(|line| format!("           {line}")));
    show(&mut text, "expected", &expected[equal..]);
    show(&mut text, "seen", &seen[equal..]);
    Some(text)
}

fn show(text: &mut Vec<String>, label: &str, rest: &[String]) {
    if rest.is_empty() {
        text.push(format!("{label:>8} - nothing more"));
    }
    text.extend(rest.iter().take(AFTER).map(|line| format!("{label:>8} - {line}")));
    if rest.len() > AFTER {
        text.push(format!("{label:>8} - .. {} more", rest.len() - AFTER));
    }
}

#[cfg(test)]
mod tests {
    use super::lines;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn equal_lists_have_no_difference() {
        assert_eq!(lines(&list("a b"), &list("a b")), None);
        assert_eq!(lines(&[], &[]), None);
    }

    #[test]
    fn the_first_difference_is_shown_with_what_came_before() {
        let text = lines(&list("a b c d e"), &list("a b c x e")).unwrap().join("\n");
        assert_eq!(
            text,
            "from line 4; expected 5 lines, seen 5:
           .. 1 more as expected
           b
           c
expected - d
expected - e
    seen - x
    seen - e"
        );
    }

    #[test]
    fn one_list_may_just_end() {
        let text = lines(&list("a"), &list("a b")).unwrap().join("\n");
        assert!(text.ends_with("expected - nothing more\n    seen - b"), "{text}");
    }

    #[test]
    fn long_lists_are_cut() {
        let text = lines(&[], &vec!["x".to_owned(); 1000]).unwrap();
        assert!(text.len() < 12 && text.last().unwrap().ends_with(".. 994 more"), "{text:?}");
    }
}
