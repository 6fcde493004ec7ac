use super::*;

#[test]
fn a_nul_is_refused_wherever_it_is() {
    assert_eq!(Cmdline::new("a b\0"), Err(CmdlineError::Nul { at: 3 }));
    assert_eq!(Cmdline::new("\0"), Err(CmdlineError::Nul { at: 0 }));
    let mut cmdline = Cmdline::new("a").unwrap();
    assert_eq!(cmdline.push("b\0c"), Err(CmdlineError::Nul { at: 1 }));
    assert_eq!(cmdline.as_bytes(), b"a");
}

#[test]
fn parameters_are_parted_by_one_space() {
    let mut cmdline = Cmdline::default();
    for parameter in ["", "a", "", "b=c"] {
        cmdline.push(parameter).unwrap();
    }
    assert_eq!(cmdline.to_string(), "a b=c");
    assert_eq!(cmdline.to_bytes_with_nul(), b"a b=c\0");
}

#[test]
fn letters_beyond_ascii_go_through() {
    assert_eq!(Cmdline::new("name=\u{e4}").unwrap().as_bytes(), b"name=\xc3\xa4");
    assert_eq!(Cmdline::new(b"\xff".as_slice()).unwrap().as_bytes(), b"\xff");
}
