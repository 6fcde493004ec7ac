use super::*;

fn context() -> Context {
    let workspace = r#"{"workspace_root":"/w","target_directory":"/w/target","packages":[]}"#;
    let workspace = serde_json::from_str(workspace).unwrap();
    Context { workspace, install: Install { no_install: true }, with_rig: false }
}

fn run_all(steps: &[Step]) -> (Tally, Vec<String>) {
    let mut out = Vec::new();
    let tally = run_steps(&context(), steps, &mut out).unwrap();
    (tally, String::from_utf8(out).unwrap().lines().map(str::to_owned).collect())
}

const GOOD: Step =
    Step { name: "good", run: |_| Ok(Report { output: "chatter".into(), ..Report::passed() }) };
const BAD: Step = Step { name: "bad", run: |_| Ok(Report::failed("what went wrong\n")) };
const ERROR: Step = Step { name: "error", run: |_| Err(io::Error::other("no such thing").into()) };
const ABSENT: Step = Step { name: "absent", run: |_| Ok(Report::skipped("absent", "no tool")) };
const MANY: Step = Step {
    name: "many",
    run: |_| {
        let tally = Tally { passed: 7, failed: 0, skipped: 1 };
        Ok(Report { tally, notes: vec!["not run: one: no host".into()], output: String::new() })
    },
};

#[test]
fn a_step_that_passes_is_one_line() {
    let (tally, lines) = run_all(&[GOOD]);
    assert_eq!(tally, Tally::PASSED);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("good") && lines[0].contains("ok"), "{lines:?}");
    assert_eq!(lines[1], "1 passed, 0 failed, 0 skipped");
}

#[test]
fn a_step_that_fails_shows_its_output_and_the_next_goes_on() {
    let (tally, lines) = run_all(&[BAD, ERROR, GOOD]);
    assert_eq!(tally, Tally { passed: 1, failed: 2, skipped: 0 });
    assert!(lines[0].starts_with("bad") && lines[0].contains("FAILED"), "{lines:?}");
    assert_eq!(lines[1], "what went wrong");
    assert_eq!(lines[3], "no such thing");
    assert!(lines[4].starts_with("good"), "{lines:?}");
    assert_eq!(lines[5..], ["failed: bad, error", "1 passed, 2 failed, 0 skipped"]);
}

#[test]
fn what_was_not_run_is_named_and_counted() {
    let (tally, lines) = run_all(&[ABSENT, MANY]);
    assert_eq!(tally, Tally { passed: 7, failed: 0, skipped: 2 });
    assert!(lines[0].contains("not run") && !lines[0].contains("ok"), "{lines:?}");
    assert_eq!(lines[1], "    not run: absent: no tool");
    assert!(lines[2].ends_with("(7 passed, 0 failed, 1 skipped)"), "{lines:?}");
    assert_eq!(lines[3..], ["    not run: one: no host", "7 passed, 0 failed, 2 skipped"]);
}
