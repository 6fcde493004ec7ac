use super::*;
use crate::testing::Folder;

fn code(text: &str) -> Vec<String> {
    Source::new("x.rs", text).lines.into_iter().map(|line| line.code).collect()
}

fn comments(text: &str) -> Vec<String> {
    Source::new("x.rs", text).lines.into_iter().map(|line| line.comment).collect()
}

#[test]
fn comments_are_told_apart() {
    assert_eq!(code("a // b \"c\nd"), ["a ", "d"]);
    assert_eq!(comments("a // b \"c\nd"), ["// b \"c", ""]);
    assert_eq!(code("a /* b /* c */ d\n e */ f"), ["a ", " f"]);
    assert_eq!(comments("/// docs\n//! more"), ["/// docs", "//! more"]);
}

#[test]
fn literals_are_blank() {
    assert_eq!(code(r#"f("a // \" b", 1)"#), [r#"f("        ", 1)"#]);
    assert_eq!(code(r##"f(r#"a " // b"#, 1)"##), [r#"f("        ", 1)"#]);
    assert_eq!(code("f(b\"x\", br\"\\\", c)"), ["f(b\" \", b\" \", c)"]);
    assert_eq!(code("\"a\nunsafe\" b"), ["\" ", "      \" b"]);
    assert_eq!(code(r#"f('"', '\'', '\\', 'x', "")"#), [r#"f(' ', ' ', ' ', ' ', "")"#]);
}

#[test]
fn lifetimes_and_raw_words_are_code() {
    assert_eq!(code("fn f<'a>(x: &'a str, y: &'a str) {}"), ["fn f<'a>(x: &'a str, y: &'a str) {}"]);
    assert_eq!(code("let r#type = for_r; // x"), ["let r#type = for_r; "]);
}

#[test]
fn words_come_with_their_line_and_what_follows() {
    let source = Source::new("x.rs", "a_1::b(\n  c! // d\n)");
    assert_eq!(source.words().collect::<Vec<_>>(), [(1, "a_1", "::b("), (1, "b", "("), (2, "c", "! ")]);
}

#[test]
fn tests_are_known_by_their_place() {
    let is_test = |path: &str| Source::new(path, "").is_test();
    assert!(is_test("crates/cpu/src/x86_64/gdt_test.rs"));
    assert!(is_test("crates/cpu/tests/translate.rs") && is_test("crates/cpu/examples/tiny_vmm.rs"));
    assert!(!is_test("crates/cpu/src/x86_64/gdt.rs") && !is_test("crates/cpu/src/contests/a.rs"));
}

#[test]
fn rust_files_are_found_in_all_folders_but_target() {
    let folder = Folder::new();
    folder.file("src/a/b.rs", "");
    folder.file("target/debug/c.rs", "");
    folder.file("src/d.txt", "");
    assert_eq!(rust_files(folder.path()).unwrap(), [folder.path().join("src/a/b.rs")]);
}
