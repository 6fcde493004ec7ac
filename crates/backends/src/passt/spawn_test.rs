use super::*;

#[test]
fn a_program_that_is_not_there_is_said_to_be_missing() {
    let program = Path::new("there-is-no-such-passt");
    let error = spawn(&PasstOptions { program, ..PasstOptions::default() }).unwrap_err();
    assert!(matches!(error, PasstError::NotInstalled(_)));
    assert!(error.to_string().contains("install the package passt"), "{error}");
}

#[test]
fn a_program_that_cannot_be_started_is_said_to_be_one() {
    let program = Path::new("/");
    let error = spawn(&PasstOptions { program, ..PasstOptions::default() }).unwrap_err();
    assert!(matches!(error, PasstError::Start { .. }), "{error}");
}

#[test]
fn what_it_says_is_handed_on() {
    let program = Path::new("sh");
    let refuse = "echo 'Failed to send 9 bytes to syslog' >&2; echo 'No external routable interface for IPv4' >&2; exit 1";
    let script = ["-c".as_ref(), refuse.as_ref()];
    // The shell has options that it does not know before that, and says so.
    let error = spawn(&PasstOptions { program, arguments: &script, ..PasstOptions::default() }).unwrap_err();
    assert!(matches!(error, PasstError::Refused(_)), "{error}");

    let said = Said::new(refuse.replace("echo '", "").replace("' >&2;", "\n").as_bytes());
    assert_eq!(
        PasstError::Refused(said).to_string(),
        "passt gives up: No external routable interface for IPv4; exit 1 \
        (it needs an interface with a default route: see `ip route`)"
    );
    assert_eq!(Said::new(b"Failed to send 3 bytes to syslog\n").to_string(), "it does not say why");
}

#[test]
fn nobody_at_a_path() {
    let error = super::super::Passt::connect(Path::new("/there/is/no/socket")).unwrap_err();
    assert!(error.to_string().starts_with("passt cannot be reached at /there/is/no/socket: "), "{error}");
}
