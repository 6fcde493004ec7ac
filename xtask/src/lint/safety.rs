//! Beside every unsafe block and implementation stands why it is sound: a comment with `SAFETY:`. Some crates have none
//! at all, and say so.

use super::Finding;
use super::source::{Line, Source};

/// Roots of crates that promise to be without unsafe code.
const SAFE_CRATES: [&str; 4] = [
    "crates/boot/src/lib.rs",
    "crates/cpu/src/lib.rs",
    "crates/devices/src/lib.rs",
    "crates/strata/src/main.rs",
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let forbids = |line: &Line| line.code.trim() == "#![forbid(unsafe_code)]";
    if SAFE_CRATES.contains(&source.path.as_str()) && !source.lines.iter().any(forbids) {
        found.push(Finding::new(&source.path, None, "must say `#![forbid(unsafe_code)]`"));
    }
    for (number, word, rest) in source.words() {
        let rest = rest.trim_start();
        // `unsafe fn` promises nothing itself: it demands, and clippy checks that its docs say what.
        let claims =
            word == "unsafe" && (rest.is_empty() || rest.starts_with('{') || rest.starts_with("impl"));
        if claims && !has_reason(&source.lines[..number]) {
            let message = "unsafe without a comment `// SAFETY: ..` right above that says why it is sound";
            found.push(Finding::new(&source.path, Some(number), message));
        }
    }
    found
}

/// Whether the comment beside or above the statement on the last of `lines` has `SAFETY:`.
fn has_reason(lines: &[Line]) -> bool {
    let says = |line: &Line| line.comment.contains("SAFETY:");
    let Some((last, above)) = lines.split_last() else { return false };
    if says(last) {
        return true;
    }
    let mut in_comment = false;
    for line in above.iter().rev() {
        let code = line.code.trim();
        if code.is_empty() {
            if says(line) {
                return true;
            }
            in_comment |= !line.comment.is_empty();
            if line.comment.is_empty() {
                return false;
            }
        } else if in_comment || !(code.starts_with("#[") || continues(code)) {
            // Above the comment, or in another statement.
            return false;
        }
    }
    false
}

/// Whether the statement goes on after this line of it.
fn continues(code: &str) -> bool {
    !code.ends_with([';', '{', '}', ','])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&Source::new("crates/vmm/src/kvm/x.rs", text)).len()
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        for text in [
            "unsafe { f() }",
            "let x = unsafe { f() };",
            "unsafe impl Send for X {}",
            "// SAFETY: for another one.\nf();\nlet x = unsafe { g() };",
            "// SAFETY: too far away.\n\nlet x = unsafe { g() };",
            "// It is safe.\nunsafe { f() }",
            "let s = \"SAFETY:\"; unsafe { f() }",
            "// SAFETY: the first\nunsafe impl Send for X {}\nunsafe impl Sync for X {}",
        ] {
            assert_eq!(found(text), 1, "{text}");
        }
    }

    #[test]
    fn a_safe_crate_must_promise_it() {
        let found = |path: &str, text: &str| check(&Source::new(path, text)).len();
        assert_eq!(found("crates/cpu/src/lib.rs", "//! #![forbid(unsafe_code)]"), 1);
        assert_eq!(found("crates/cpu/src/lib.rs", "#![forbid(unsafe_code)]"), 0);
        assert_eq!(found("crates/memory/src/lib.rs", ""), 0);
    }

    #[test]
    fn a_reason_may_stand_beside_or_above() {
        for text in [
            "// SAFETY: it is.\nunsafe { f() }",
            "// SAFETY: it is,\n// and more.\nlet x = unsafe { f() };",
            "unsafe { f() } // SAFETY: it is.",
            "// SAFETY: it is.\nlet x =\n    unsafe { f() };",
            "// SAFETY: it is.\n#[cfg(test)]\nunsafe impl Send for X {}",
            "/* SAFETY: it is. */\nunsafe impl Send for X {}",
        ] {
            assert_eq!(found(text), 0, "{text}");
        }
    }

    #[test]
    fn what_claims_nothing_needs_no_reason() {
        for text in ["unsafe fn f() {}", "// unsafe { }", "#![allow(unsafe_code)]", "let x = \"unsafe {\";"] {
            assert_eq!(found(text), 0, "{text}");
        }
    }
}
