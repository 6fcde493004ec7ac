use super::*;

fn search(text: &str) -> Search {
    Search::new(Expect::new(text).unwrap())
}

#[test]
fn an_expression_is_found_in_a_line_however_it_comes() {
    let mut search = search("^all 3 passed$");
    assert!(!search.push(b"all 3 pa"));
    assert!(!search.push(b"ssed"));
    assert!(search.push(b"\r\nmore"));
    assert!(search.push(b"\n"));
}

#[test]
fn the_last_line_need_not_end() {
    let mut search = search("done");
    assert!(!search.push(b"done"));
    assert!(search.end());
}

#[test]
fn it_is_not_found_across_lines_or_in_what_is_not_there() {
    let mut search = search("a.*b");
    assert!(!search.push(b"a\nb\n\xff\n"));
    assert!(!search.end());
}

#[test]
fn a_line_without_end_is_bounded() {
    let mut search = search("x");
    for _ in 0..100 {
        search.push(&[b'.'; 4096]);
    }
    assert_eq!(search.line.len(), Search::LONGEST);
}

#[test]
fn what_is_no_expression_is_refused() {
    assert!(Expect::new("(").unwrap_err().to_string().starts_with("\"(\" is no regular expression"));
}
