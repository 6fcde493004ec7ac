//! `strata doctor` on hosts of every kind, from files that say what was found there.
//!
//! `tests/doctor/NAME.json` holds the facts, `NAME.txt` the screen. After a change that is meant, run the tests with
//! `STRATA_BLESS=1` and read the difference.

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Scratch, bare, finish, kvm, stderr};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

/// Every host: its name, the exit code, and whether all of it has to fit on a screen of 24 lines.
const HOSTS: &[(&str, i32, bool)] = &[
    ("amd", 0, true),
    ("ancient", 1, false),
    ("intel", 0, true),
    ("nested", 0, true),
    ("no-hardware", 1, true),
    ("no-module", 1, true),
    ("no-permission", 1, true),
    ("not-nested", 1, true),
    ("old", 0, true),
    ("pvm", 0, true),
];

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor").join(file)
}

fn facts(host: &str) -> PathBuf {
    golden(&format!("{host}.json"))
}

fn doctor(arguments: &[&str], facts: Option<&Path>) -> Output {
    let mut command = bare();
    command.arg("doctor").args(arguments);
    if let Some(path) = facts {
        command.arg("--facts").arg(path);
    }
    finish(&mut command)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Compares with a golden file, or writes it.
fn check(file: &str, actual: &str) {
    let path = golden(file);
    if std::env::var_os("STRATA_BLESS").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{file} is not what strata prints (STRATA_BLESS=1 writes it anew)");
}

#[test]
fn each_kind_of_host_has_its_screen() {
    for &(host, code, one_screen) in HOSTS {
        let output = doctor(&[], Some(&facts(host)));
        let text = stdout(&output);
        check(&format!("{host}.txt"), &text);
        assert_eq!(output.status.code(), Some(code), "{host}");
        assert_eq!(stderr(&output), "", "{host}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{host} is wider than 80 columns");
        assert!(!one_screen || text.lines().count() <= 24, "{host} is higher than 24 lines");
    }
}

#[test]
fn every_golden_file_belongs_to_a_host() {
    for entry in fs::read_dir(golden("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(name == "report" || HOSTS.iter().any(|(host, ..)| *host == name), "{name}");
    }
}

#[test]
fn the_report_for_machines_keeps_its_keys() {
    let output = doctor(&["--json"], Some(&facts("ancient")));
    assert_eq!(output.status.code(), Some(1));
    check("report.json", &stdout(&output));
}

#[test]
fn a_report_can_be_read_back() {
    for &(host, code, _) in HOSTS {
        let first = doctor(&["--json"], Some(&facts(host)));
        assert_eq!(first.status.code(), Some(code));
        let scratch = Scratch::new(&format!("report-{host}"));
        let saved = scratch.file("report.json", stdout(&first));
        assert_eq!(stdout(&doctor(&["--json"], Some(&saved))), stdout(&first), "{host}");
        let original: Value = serde_json::from_str(&fs::read_to_string(facts(host)).unwrap()).unwrap();
        let report: Value = serde_json::from_str(&stdout(&first)).unwrap();
        assert_eq!(report["facts"], original["facts"], "{host}");
        assert_eq!(report["can_run_guests"], Value::Bool(code == 0));
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    let scratch = Scratch::new("facts");
    let wrong = scratch.file("wrong.json", "{}");
    let output = doctor(&[], Some(&wrong));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is not a report of `strata doctor --json`"), "{}", stderr(&output));
    let output = doctor(&[], Some(&scratch.path("absent.json")));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("strata: cannot read "), "{}", stderr(&output));
}

#[test]
fn names_from_a_report_cannot_steer_the_terminal() {
    let scratch = Scratch::new("escape");
    let facts = scratch.file("escape.json", r#"{"facts":{"kernel":"6.1\u001b[2J\nx"}}"#);
    let text = stdout(&doctor(&[], Some(&facts)));
    assert!(text.contains("Linux 6.1?[2J?x\n"), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn this_host_has_a_screen_too() {
    let output = doctor(&[], None);
    let text = stdout(&output);
    assert_eq!(text.lines().filter(|line| line.contains("/dev/kvm   ")).count(), 1, "{text}");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{text}");
    if kvm("the exit code of strata doctor where guests can run") {
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
}

/// What `strata doctor` writes to a terminal.
fn on_a_terminal(no_color: &str) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs =
        rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut command = bare();
    command.arg("doctor").arg("--facts").arg(facts("no-module")).env("NO_COLOR", no_color).stdout(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut terminal = File::from(ours);
    let mut bytes = Vec::new();
    // Linux ends a terminal that nobody holds any more with EIO.
    let _ = terminal.read_to_end(&mut bytes);
    child.wait().unwrap();
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let plain = fs::read_to_string(golden("no-module.txt")).unwrap();
    assert_eq!(on_a_terminal("1"), plain);
    let coloured = on_a_terminal("");
    assert!(coloured.starts_with("\x1b[31mThis host cannot run guests yet.\x1b[0m\n"), "{coloured}");
    let stripped = ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"]
        .iter()
        .fold(coloured, |text, escape| text.replace(escape, ""));
    assert_eq!(stripped, plain, "colours change nothing else");
}
