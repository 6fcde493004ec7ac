use super::*;

#[test]
fn what_follows_the_program_is_not_ours() {
    let words = ["strata-test", "--timeout", "2s", "--map", "33=0", "kernel", "--timeout", "--list", "name"];
    let options = Options::try_parse_from(words).unwrap();
    assert_eq!(options.program(), PathBuf::from("kernel"));
    assert_eq!(options.arguments().collect::<Vec<_>>(), ["--timeout", "--list", "name"]);
    assert_eq!((options.timeout.unwrap().0.as_secs(), options.map), (2, vec![(33, 0)]));
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for words in [
        ["--map", "33"],
        ["--map", "256=0"],
        ["--debug-exit", "0x10000"],
        ["--set", "memory"],
        ["--timeout", "soon"],
        ["--success", "-1"],
    ] {
        assert!(
            Options::try_parse_from(["strata-test"].iter().chain(&words).chain(&["k"])).is_err(),
            "{words:?}"
        );
    }
    assert!(Options::try_parse_from(["strata-test"]).is_err());
}

#[test]
fn what_cargo_and_nextest_say_is_understood() {
    let parse = |words: &[&str]| Harness::try_parse_from(words).unwrap();
    assert!(parse(&["--list", "--format", "terse", "--ignored"]).list);
    let one = parse(&["a::b", "--exact", "--nocapture", "--ignored"]);
    assert!(one.exact && one.nocapture && one.ignored && one.filters == ["a::b"]);
    let many =
        parse(&["a", "b", "--skip", "c", "--skip=d", "--test-threads=3", "--no-capture", "--color=always"]);
    assert_eq!((many.filters.len(), many.skip.len(), many.test_threads), (2, 2, Some(3)));
    assert!(many.nocapture && many.color == Color::Always);
    assert!(parse(&["-q"]).is_terse() && parse(&["--format=terse"]).is_terse() && !parse(&[]).is_terse());
    assert!(Harness::try_parse_from(["--test-threads", "0"]).is_err());
    assert!(Harness::try_parse_from(["--ignored", "--include-ignored"]).is_err());
    assert!(Harness::try_parse_from(["--format", "json"]).is_err());
}

#[test]
fn an_option_of_ours_behind_the_program_is_told_its_place() {
    let error = |words: &[&str]| Harness::of(words.iter().map(OsString::from)).unwrap_err().to_string();
    for words in [["--timeout", "1s"], ["--timeout=1s", "name"]] {
        let error = error(&words);
        assert!(error.contains("'--timeout' is an option of strata-test"), "{error}");
        assert!(error.contains("write it before the program"), "{error}");
    }
    let error = error(&["--nonsense"]);
    assert!(!error.contains("strata-test"), "{error}");
    assert!(Harness::of(["--list".into()]).unwrap().list);
}
