use super::*;
use crate::image::GuestTest;

fn result(name: &str, verdict: Verdict, output: &str) -> Result {
    Result { name: name.into(), verdict, written: Written { bytes: output.into(), ..Written::default() } }
}

fn report(style: Style, results: Vec<Result>) -> (String, Counts) {
    let mut out = Vec::new();
    let mut report = Report::begin(&mut out, style, results.len()).unwrap();
    for result in results {
        let test = GuestTest { name: result.name.clone(), ignored: false, should_panic: result.name == "p" };
        report.ended(&Selected { index: 0, test: &test, ignored: false }, result).unwrap();
    }
    let counts = report.end(2, Duration::from_millis(1234)).unwrap();
    (String::from_utf8(out).unwrap(), counts)
}

fn results() -> Vec<Result> {
    vec![
        result("p", Verdict::Passed, "said\n"),
        result("f", Verdict::Failed("why".into()), "panicked"),
        result("e", Verdict::Failed(String::new()), "panicked\n"),
        result("i", Verdict::Ignored, ""),
    ]
}

#[test]
fn results_are_in_the_words_of_rusts_own_programs() {
    let (text, counts) = report(Style::default(), results());
    assert_eq!(
        text,
        "\nrunning 4 tests\n\
         test p - should panic ... ok\n\
         test f ... FAILED\n\
         test e ... FAILED\n\
         test i ... ignored\n\
         \nfailures:\n\n\
         ---- e stdout ----\npanicked\n\n\
         ---- f stdout ----\npanicked\nwhy\n\n\
         \nfailures:\n    e\n    f\n\
         \ntest result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 2 filtered out; finished in 1.23s\n\n"
    );
    assert_eq!(counts, Counts { passed: 1, failed: 2, ignored: 1 });
}

#[test]
fn one_that_passes_is_short() {
    let (text, _) = report(Style::default(), vec![result("a", Verdict::Passed, "hidden")]);
    assert!(text.starts_with("\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed;"), "{text}");
}

#[test]
fn terse_results_are_characters() {
    let (text, _) = report(Style { terse: true, ..Style::default() }, results());
    assert!(text.starts_with("\nrunning 4 tests\n.FFi\n\nfailures:\n"), "{text}");
}

#[test]
fn output_of_what_has_passed_is_shown_if_asked_for() {
    let (text, _) = report(Style { show_output: true, ..Style::default() }, results());
    assert!(text.contains("\nsuccesses:\n\n---- p stdout ----\nsaid\n\n\nsuccesses:\n    p\n"), "{text}");
}

#[test]
fn words_have_colours_if_asked_for() {
    let (text, _) = report(Style { color: true, ..Style::default() }, results());
    assert!(text.contains("test f ... \x1b[31mFAILED\x1b[0m\n"), "{text}");
}

#[test]
fn a_list_is_in_the_words_of_rusts_own_programs() {
    let test = GuestTest { name: "a::b".into(), ignored: true, should_panic: false };
    let tests = [Selected { index: 0, test: &test, ignored: true }];
    let lists = [true, false].map(|terse| {
        let mut out = Vec::new();
        list(&mut out, &tests, terse).unwrap();
        String::from_utf8(out).unwrap()
    });
    assert_eq!(lists, ["a::b: test\n", "a::b: test\n\n1 test, 0 benchmarks\n"]);
}
