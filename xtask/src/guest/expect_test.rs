use super::super::samples;
use super::*;
use serde_json::json;

fn expectation() -> Expect {
    toml::from_str(samples::EXPECT).unwrap()
}

/// In which kinds the sample run deviates after `change` of its report.
fn after(change: impl FnOnce(&mut Value)) -> Vec<Kind> {
    let mut report = samples::report();
    change(&mut report);
    against(&expectation(), report, 4)
}

fn against(expect: &Expect, report: Value, code: i32) -> Vec<Kind> {
    let report = serde_json::from_value(report).unwrap();
    let found = deviations(expect, &report, code);
    assert!(found.iter().all(|deviation| !deviation.lines.is_empty()));
    found.into_iter().map(|deviation| deviation.kind).collect()
}

#[test]
fn a_run_as_expected_does_not_deviate() {
    assert_eq!(after(|_| {}), []);
}

#[test]
fn any_other_stop_deviates() {
    assert_eq!(after(|report| report["stop"]["kind"] = json!("halted")), [Kind::Stop]);
    assert_eq!(after(|report| report["stop"]["rip"] = json!("0x1006")), [Kind::Stop]);
    assert_eq!(after(|report| report["stop"]["code"] = json!(4)), [Kind::Stop]);
    assert_eq!(after(|report| report["stop"] = json!({ "kind": "debug" })), [Kind::Stop]);
    let word = Expect { stop: Stop::Kind("debug".into()), ..expectation() };
    assert_eq!(against(&word, samples::report(), 4), []);
    let word = Expect { stop: Stop::Kind("halted".into()), ..expectation() };
    assert_eq!(against(&word, samples::report(), 4), [Kind::Stop]);
}

#[test]
fn any_other_list_of_exits_deviates() {
    let exits = |list: Value| after(|report| report["exits"] = list);
    assert_eq!(exits(json!(["out 0x3f8/1 <- 35", "in 0x3f8/1 -> 41", "hlt"])), [Kind::Exits]);
    assert_eq!(exits(json!([])), [Kind::Exits]);
    let longer = ["out 0x3f8/1 <- 35", "in 0x3f8/1 -> 41", "in 0x3f8/1 -> 41", "hlt", "hlt"];
    assert_eq!(exits(json!(longer)), [Kind::Exits]);
    let as_a_run = ["out 0x3f8/1 <- \"5\"", "2 * in 0x3f8/1 -> 41", "hlt"];
    assert_eq!(exits(json!(as_a_run)), [], "the same exits, written otherwise");
    let reordered = ["in 0x3f8/1 -> 41", "out 0x3f8/1 <- 35", "in 0x3f8/1 -> 41", "hlt"];
    assert_eq!(exits(json!(reordered)), [Kind::Exits]);
}

#[test]
fn contained_exits_count_but_have_no_order() {
    let contains = |listed: &[&str]| {
        let listed = listed.iter().map(|&exit| exit.to_owned()).collect();
        let expect = Expect { exits: None, exits_contain: Some(listed), ..expectation() };
        against(&expect, samples::report(), 4)
    };
    assert_eq!(contains(&["hlt", "2 * in 0x3f8/1 -> 41"]), []);
    assert_eq!(contains(&[]), []);
    assert_eq!(contains(&["3 * in 0x3f8/1 -> 41"]), [Kind::ExitsContain]);
    assert_eq!(contains(&["hlt", "shutdown"]), [Kind::ExitsContain]);
}

#[test]
fn any_other_output_deviates() {
    for output in ["", "one\ntwo", "one\ntwo\n\n", "One\ntwo\n"] {
        assert_eq!(after(|report| report["output"] = json!(output)), [Kind::Output], "{output:?}");
    }
}

#[test]
fn any_other_memory_deviates() {
    for bytes in ["aabc", "aa", "aabb00", "what"] {
        assert_eq!(after(|report| report["memory"]["0x6000"] = json!(bytes)), [Kind::Memory], "{bytes}");
    }
    assert_eq!(after(|report| report["memory"]["0x6000"] = Value::Null), [Kind::Memory]);
    assert_eq!(after(|report| report["memory"] = json!({})), [Kind::Memory]);
    assert_eq!(after(|report| drop(report.as_object_mut().unwrap().remove("memory"))), [Kind::Memory]);
}

#[test]
fn any_other_set_of_dirty_pages_deviates() {
    for pages in [json!(["0x1000"]), json!([]), json!(["0x1000", "0x2000", "0x3000"]), json!(["0x1000", "x"])]
    {
        assert_eq!(after(|report| report["dirty"] = pages.clone()), [Kind::Dirty], "{pages}");
    }
    let none = Expect { dirty: Some(Vec::new()), ..expectation() };
    let mut report = samples::report();
    report.as_object_mut().unwrap().remove("dirty");
    assert_eq!(against(&none, report, 4), [Kind::Dirty], "without a log nothing is known");
}

#[test]
fn any_other_register_deviates() {
    assert_eq!(after(|report| report["registers"]["rax"] = json!("0x6")), [Kind::Registers]);
    assert_eq!(after(|report| report["registers"]["rax"] = json!("five")), [Kind::Registers]);
    assert_eq!(after(|report| report["registers"] = json!({})), [Kind::Registers]);
    assert_eq!(
        after(|report| report["registers"]["rbx"] = json!("0x0")),
        [],
        "rbx is not expected to be anything"
    );
}

#[test]
fn any_other_exit_status_deviates() {
    assert_eq!(against(&expectation(), samples::report(), 0), [Kind::ExitCode]);
    let indifferent = Expect { exit_code: None, ..expectation() };
    assert_eq!(against(&indifferent, samples::report(), 0), []);
}

#[test]
fn a_sentence_that_is_not_said_deviates() {
    assert_eq!(after(|report| report["explanation"] = json!("it died of #UD")), [Kind::Explain]);
    assert_eq!(after(|report| report["explanation"] = Value::Null), [Kind::Explain]);
    assert_eq!(after(|report| report["accused"] = json!(false)), [], "the sentences are what counts");
}

#[test]
fn an_accusation_of_a_guest_that_expects_none_deviates() {
    let healthy = Expect { explain: None, ..expectation() };
    assert_eq!(against(&healthy, samples::report(), 4), [Kind::Explain]);
    let mut report = samples::report();
    report["accused"] = json!(false);
    assert_eq!(against(&healthy, report.clone(), 4), [], "an explanation may be neutral");
    for key in ["accused", "explanation"] {
        report.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(against(&healthy, report, 4), []);
}

#[test]
fn several_deviations_are_all_named() {
    let found = after(|report| {
        report["output"] = json!("");
        report["dirty"] = json!([]);
    });
    assert_eq!(found, [Kind::Output, Kind::Dirty]);
}

#[test]
fn a_deviation_reads_expected_then_seen() {
    let report = serde_json::from_value(samples::report()).unwrap();
    let found = deviations(&expectation(), &report, 0);
    assert_eq!(found[0].to_string(), "    exit_code:\n      expected 4\n      seen     0");
}
