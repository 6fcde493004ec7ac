use super::super::samples::commented;
use super::*;

/// A whole file whose header holds `toml`; the header's first line is line 3 of the file.
fn file(toml: &str) -> String {
    format!("; A guest.\n; ---\n{}\n; ---\n    hlt\n", commented(toml))
}

fn error(toml: &str) -> (usize, String) {
    let (line, error) = Header::parse(&file(toml)).unwrap_err();
    (line, error.to_string())
}

const EXPECT: &str = "[expect]\nstop = \"halted\"\nexits = [\"hlt\"]";

#[test]
fn everything_a_header_can_say() {
    let header = Header::parse(&file(
        r#"about = "says everything"
needs = ["paging32"]
stdin = "typed"

[machine]
mode = "real16"
load_at = 0x1000
[[machine.memory.piece]]
at = 0x1000
[expect]
stop = { kind = "debug", rip = 0x1005 }
exits = ["out 0x3f8/1 <- 35", "2 * hlt"]
output = "5\n"
memory = { 0x6000 = "aabb ccdd" }
dirty = [0x1000, "0x2000"]
registers = { rax = 5, rsp = "0xffff_ffff_8000_0000" }
exit_code = 3
explain = ["died of #UD"]
"#,
    ))
    .unwrap();
    assert_eq!(header.about, "says everything");
    assert_eq!(header.needs().collect::<Vec<_>>(), ["paging32"]);
    assert_eq!(header.stdin.as_deref(), Some("typed"));
    assert_eq!(header.machine["load_at"].as_u64(), Some(0x1000));
    assert_eq!(header.machine["memory"]["piece"][0]["at"].as_u64(), Some(0x1000));
    let expect = header.expect;
    assert!(matches!(&expect.stop, Stop::Details(details) if details["kind"].as_str() == Some("debug")));
    assert_eq!(expect.exits.unwrap(), ["out 0x3f8/1 <- 35", "2 * hlt"]);
    assert_eq!(expect.memory.unwrap()[&Number(0x6000)], Bytes(vec![0xaa, 0xbb, 0xcc, 0xdd]));
    assert_eq!(expect.dirty.unwrap(), [Number(0x1000), Number(0x2000)]);
    assert_eq!(expect.registers.unwrap()["rsp"], Number(0xffff_ffff_8000_0000));
    assert_eq!(expect.exit_code, Some(3));
    assert_eq!(expect.explain.unwrap(), ["died of #UD"]);
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    let (line, message) = error(&format!("about = \"a\"\ncolour = 1\n{EXPECT}"));
    assert!(line == 4 && message.contains("colour"), "{line}: {message}");
    let (line, message) = error(&format!("about = \"a\"\n{EXPECT}\nexitcode = 1"));
    assert!(line == 7 && message.contains("exitcode"), "{line}: {message}");
}

#[test]
fn unknown_needs_are_refused_with_their_line_and_the_known_ones() {
    let (line, message) = error(&format!("about = \"a\"\nneeds = [\n\"paging32\",\n\"magic\"]\n{EXPECT}"));
    assert!(line == 6 && message.contains("magic") && message.contains("pages-1g"), "{line}: {message}");
}

#[test]
fn values_of_the_wrong_kind_are_refused_with_their_line() {
    for (wrong, word) in [
        ("memory = { 0x6000 = \"abc\" }", "abc"),
        ("memory = { 0x6000 = \"\" }", "bytes"),
        ("memory = { here = \"aa\" }", "here"),
        ("dirty = [-1]", "-1"),
        ("registers = { rax = \"0x1_0000_0000_0000_0000\" }", "0x1_0000"),
        ("exit_code = \"two\"", "two"),
    ] {
        let (line, message) = error(&format!("about = \"a\"\n{EXPECT}\n{wrong}"));
        assert!(line == 7 && message.contains(word), "{wrong}: {line}: {message}");
    }
}

#[test]
fn a_header_without_an_expectation_is_refused() {
    assert!(error("about = \"a\"").1.contains("expect"));
    assert!(error("about = \"a\"\n[expect]\nexits = []").1.contains("stop"));
    assert!(error("about = \"a\"\n[expect]\nstop = \"halted\"").1.contains("exits_contain"));
    assert!(error(&format!("about = \"a\"\n{EXPECT}\nexits_contain = []")).1.contains("not both"));
}

#[test]
fn a_header_must_be_there_and_end() {
    let refused = |text: &str| Header::parse(text).unwrap_err();
    assert!(matches!(refused("hlt\n"), (1, HeaderError::Missing)));
    assert!(matches!(refused("\n; ---\n; about = \"a\"\n"), (2, HeaderError::Open)));
    assert!(matches!(refused("; ---\n; about = \"a\"\nhlt\n; ---\n"), (3, HeaderError::NotAComment)));
}
