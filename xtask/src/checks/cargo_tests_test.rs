use super::*;

/// What `cargo test -- --show-output` prints.
const GOOD: &str = "\
running 4 tests
test a ... ok
test b ... ok
test c ... ignored, takes an hour
test d ... ok

successes:

---- a stdout ----
not run: page tables by KVM: no usable /dev/kvm
not run: and more of it

---- b stdout ----
hello

successes:
    a
    b
    d

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 2 tests
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

#[test]
fn every_test_is_counted_and_what_checked_nothing_is_no_pass() {
    let report = read(GOOD, true);
    assert_eq!(report.tally, Tally { passed: 4, failed: 0, skipped: 2 });
    assert_eq!(
        report.notes,
        ["not run: c: takes an hour", "not run: a: page tables by KVM: no usable /dev/kvm"]
    );
    assert_eq!(report.output, "");
}

#[test]
fn failures_are_counted_and_shown_without_what_passed() {
    let output =
        "test a ... ok\ntest b ... FAILED\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured";
    let report = read(output, false);
    assert_eq!(report.tally, Tally { passed: 1, failed: 1, skipped: 0 });
    assert!(report.output.contains("test b ... FAILED") && !report.output.contains("test a"), "{report:?}");
}

#[test]
fn what_does_not_compile_is_one_failure() {
    let report = read("error[E0425]: cannot find value `x`", false);
    assert_eq!(report.tally, Tally::FAILED);
    assert!(report.output.contains("E0425"));
}
