//! `strata doctor --cpuid` on processors of every kind, from files that say what KVM supports there.
//!
//! `tests/doctor-cpuid/HOST.json` holds what it supports, `HOST.BASELINE.txt` the screen. `intel` and `amd` have more than any KVM
//! passes on, so that there is
//! something to remove; `pvm` and `qemu` (an emulated AMD processor) are real. After a change that is meant, run the tests with `STRATA_BLESS=1` and read
//! the difference.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Scratch, bare, finish, kvm, stderr};
use serde_json::Value;

/// Every host, and which baselines it can run.
const HOSTS: &[(&str, &[&str])] = &[
    ("intel", &["host", "x86-64-v2", "x86-64-v3"]),
    ("amd", &["host", "x86-64-v2", "x86-64-v3"]),
    ("pvm", &["host"]),
    ("qemu", &["host", "x86-64-v2", "x86-64-v3"]),
];
const BASELINES: [&str; 3] = ["host", "x86-64-v2", "x86-64-v3"];

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor-cpuid").join(file)
}

fn doctor(baseline: &str, arguments: &[&str], facts: Option<&Path>) -> Output {
    let mut command = bare();
    command.args(["doctor", "--cpuid", baseline]).args(arguments);
    if let Some(path) = facts {
        command.arg("--facts").arg(path);
    }
    finish(&mut command)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn each_kind_of_host_has_its_screens() {
    for (host, can) in HOSTS {
        for baseline in BASELINES {
            let output = doctor(baseline, &[], Some(&golden(&format!("{host}.json"))));
            let text = stdout(&output);
            let path = golden(&format!("{host}.{baseline}.txt"));
            if std::env::var_os("STRATA_BLESS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{host}, {baseline}");
            assert_eq!(output.status.code(), Some(i32::from(!can.contains(&baseline))), "{host}, {baseline}");
            assert_eq!(stderr(&output), "", "{host}, {baseline}");
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{host}, {baseline}: too wide");
        }
    }
}

#[test]
fn the_report_for_machines_has_every_difference_with_its_place() {
    let output = doctor("x86-64-v2", &["--json"], Some(&golden("intel.json")));
    let report = report(&output);
    assert_eq!((&report["baseline"], &report["can_run"]), (&"x86-64-v2".into(), &true.into()));
    let removed = report["removed"].as_array().unwrap();
    let avx2 = removed.iter().find(|bit| bit["name"] == "avx2").unwrap();
    assert_eq!(avx2["place"], "0x7.0 ebx bit 5");
    assert_eq!(avx2["reason"], "not part of the baseline");
    let vmx = removed.iter().find(|bit| bit["name"] == "vmx").unwrap();
    assert_eq!(vmx["reason"], "nested virtualisation is not asked for");
    let l3 =
        report["numbers"].as_array().unwrap().iter().find(|number| number["place"] == "0x4.3 eax").unwrap();
    assert_eq!((&l3["from"], &l3["to"]), (&0x7c0f_c163_u32.into(), &0x163.into()));

    let output = doctor("x86-64-v3", &["--json"], Some(&golden("pvm.json")));
    let report = self::report(&output);
    assert_eq!((output.status.code(), &report["can_run"]), (Some(1), &false.into()));
    assert!(report["missing"].as_array().unwrap().contains(&"avx2".into()));
    assert_eq!((&report["instead"], &report["guest"]), (&"host".into(), &Value::Array(Vec::new())));
}

#[test]
fn a_report_can_be_read_back() {
    let scratch = Scratch::new("cpuid-report");
    let first = doctor("host", &["--json"], Some(&golden("amd.json")));
    let saved = scratch.file("report.json", stdout(&first));
    for baseline in BASELINES {
        let again = doctor(baseline, &["--json"], Some(&saved));
        assert_eq!(stdout(&again), stdout(&doctor(baseline, &["--json"], Some(&golden("amd.json")))));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scratch = Scratch::new("cpuid-wrong");
    for wrong in ["{}", r#"{"supported":["what?"]}"#, "nothing"] {
        let file = scratch.file("wrong.json", wrong);
        let output = doctor("host", &[], Some(&file));
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.contains("is not a report of `strata doctor --cpuid --json`"), "{said}");
    }
    let output = doctor("i486", &[], None);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("host, x86-64-v2 or x86-64-v3"), "{}", stderr(&output));
}

#[test]
fn this_host_has_a_screen_too() {
    let output = finish(bare().args(["doctor", "--cpuid"]));
    if kvm("strata doctor --cpuid where guests can run") {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("What a guest of host sees"), "{}", stdout(&output));
    } else {
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    }
}
