use super::*;

fn events(bytes: &[u8]) -> (Vec<Event>, Result<(), ReportError>) {
    let mut events = Vec::new();
    let result = read(bytes, &mut |event| events.push(event));
    (events, result)
}

#[test]
fn a_run_is_told_in_order() {
    let (events, result) =
        events(b"ready 2.5\nbegan 0 2.5\nended 0 7 2.75\nblob 5\na\nb\0\nnone\ndone 0\narchived\nend\n");
    result.unwrap();
    let finished =
        Ended { code: 7, time: Duration::from_millis(250), blobs: vec![Some(b"a\nb\0\n".to_vec()), None] };
    let expected = [
        Event::Ready(Duration::from_millis(2500)),
        Event::Began(0),
        Event::Ended(0, finished),
        Event::Archived,
        Event::End,
    ];
    assert_eq!(events, expected);
}

#[test]
fn content_that_looks_like_a_report_is_content() {
    let (events, result) = events(b"began 0 1\nended 0 0 1\nblob 9\ndone 0\nx\ndone 0\n");
    result.unwrap();
    let Event::Ended(0, finished) = &events[1] else { panic!("{events:?}") };
    assert_eq!(finished.blobs, [Some(b"done 0\nx\n".to_vec())]);
}

#[test]
fn nonsense_and_a_sudden_end_are_errors() {
    for bytes in [
        &b"hello\n"[..],
        b"began x\n",
        b"ready never\n",
        b"ready -1\n",
        b"ended 0 256 1\n",
        b"blob 5\n",
        b"done 0\n",
        b"\n",
        b"\xff\n",
        b"ended 0 0 1\nblob 9999999999\n",
        b"ended 0 0 1\nend\n",
    ] {
        assert!(matches!(events(bytes).1, Err(ReportError::Garbled(_))), "{}", bytes.escape_ascii());
    }
    assert!(matches!(events(b"ended 0 0 1\nblob 5\nabc").1, Err(ReportError::Read(_))));
}
