use clap::Parser;
use clap::error::ErrorKind;

use super::*;

#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    options: Options,
}

fn parsed(arguments: &[&str]) -> Result<Options, ErrorKind> {
    let words = ["rig"].iter().chain(arguments);
    Alone::try_parse_from(words).map(|alone| alone.options).map_err(|error| error.kind())
}

#[test]
fn everything_after_the_dashes_is_the_commands() {
    let options = parsed(&["--", "x", "--smp", "4", "--"]).unwrap();
    assert_eq!(options.command, ["x", "--smp", "4", "--"]);
    assert_eq!((options.smp, options.mem, options.icount), (1, 1024, false));
    assert_eq!(options.timeout, Duration::from_secs(600));
    assert_eq!((options.kernel, options.out, options.install.no_install), (None, None, false));
}

#[test]
fn every_option_is_understood() {
    let options = parsed(&[
        "--smp",
        "2",
        "--mem",
        "512",
        "--timeout",
        "9",
        "--file",
        "a",
        "--file",
        "b:/c",
        "--env",
        "K=V=W",
        "--env",
        "E=",
        "--out",
        "o",
        "--kernel",
        "linux-image-x",
        "--icount",
        "--no-install",
        "--",
        "x",
    ])
    .unwrap();
    assert_eq!((options.smp, options.mem, options.timeout), (2, 512, Duration::from_secs(9)));
    let b = Brought { from: "b".into(), to: Some("/c".into()) };
    assert_eq!(options.file, [Brought { from: "a".into(), to: None }, b]);
    assert_eq!(options.env, [("K".into(), "V=W".into()), ("E".into(), OsString::new())]);
    assert_eq!(options.out, Some("o".into()));
    assert_eq!(options.kernel, Some(Source::Package("linux-image-x".into())));
    assert!(options.icount && options.install.no_install);
}

#[test]
fn nonsense_is_refused() {
    for arguments in [
        &["--smp", "0", "--", "x"][..],
        &["--mem", "1", "--", "x"],
        &["--timeout", "0", "--", "x"],
        &["--timeout", "soon", "--", "x"],
        &["--env", "K", "--", "x"],
        &["--env", "=V", "--", "x"],
        &["--kernel", "/not/there", "--", "x"],
        &["--kernel", "", "--", "x"],
    ] {
        assert_eq!(parsed(arguments).unwrap_err(), ErrorKind::ValueValidation, "{arguments:?}");
    }
    assert_eq!(parsed(&[]).unwrap_err(), ErrorKind::MissingRequiredArgument);
    assert_eq!(parsed(&["x"]).unwrap_err(), ErrorKind::UnknownArgument);
}

#[test]
fn only_a_colon_before_a_slash_separates() {
    for (text, from, to) in [
        ("a:b", "a:b", None),
        ("a:b:/c", "a:b", Some("/c")),
        ("/a:/b:/c", "/a:/b", Some("/c")),
        (":/c", "", Some("/c")),
    ] {
        let expected = Brought { from: from.into(), to: to.map(Into::into) };
        assert_eq!(Brought::parse(OsStr::new(text)), expected, "{text}");
    }
}

#[test]
fn a_kernel_is_what_exists_under_that_name() {
    let file = std::env::current_exe().unwrap();
    assert_eq!(file.to_str().unwrap().parse::<Source>().unwrap(), Source::File(file.clone()));
    assert_eq!("/".parse::<Source>().unwrap(), Source::Folder("/".into()));
}
