use super::*;

#[test]
fn nobody_listening_is_an_error_that_names_the_path() {
    let error = Server::connect(Path::new("/nonexistent/fs.sock")).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("/nonexistent/fs.sock"));
}

#[test]
fn what_a_server_says_becomes_one_harmless_line() {
    assert_eq!(printable(b"  first\n\n\x1b[31msecond\r\n\xff\n"), "first;  [31msecond; \u{fffd}");
    assert_eq!(printable(b""), "");
}

#[test]
fn a_peer_that_hangs_up_is_noticed_and_one_that_does_not_is_not_waited_for() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(!is_hung_up(&ours, Duration::ZERO));
    assert!(!cut_off(&ours, None, Duration::from_secs(20)), "somebody else's process cannot be ended");
    drop(theirs);
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(is_hung_up(&ours, Duration::ZERO));
    assert!(cut_off(&ours, None, Duration::ZERO));
}
