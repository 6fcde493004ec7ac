use super::*;

#[test]
fn the_last_part_is_kept() {
    let mut output = Output::new(false, None);
    output.write_all(&vec![b'a'; LIMIT]).unwrap();
    output.write_all(b"end").unwrap();
    let Written { bytes, dropped, found } = output.take();
    assert_eq!((bytes.len(), dropped, found), (LIMIT, 3, false));
    assert!(bytes.ends_with(b"aend"));
}

#[test]
fn what_is_expected_ends_the_machine() {
    let mut output = Output::new(false, Some(&Expect::new("ready").unwrap()));
    let control = Control::new();
    output.ends(control.clone());
    output.write_all(b"read").unwrap();
    output.write_all(b"y").unwrap();
    assert_eq!(control.stopped(), None);
    output.write_all(b"\n").unwrap();
    assert_eq!(control.stopped(), Some(Stop::Interrupted));
    output.write_all(b"more\n").unwrap();
    assert!(output.take().found);
}

#[test]
fn it_may_be_in_the_last_line() {
    let mut output = Output::new(false, Some(&Expect::new("ready").unwrap()));
    output.write_all(b"ready").unwrap();
    assert!(output.take().found);
}
