use super::super::{Kind, samples};
use super::*;
use crate::host::{self, Kvm};
use crate::testing::Folder;

/// A nasm that takes the file itself for the image, after logging its arguments.
const NASM: &str = r#"echo "$@" > "$(dirname "$0")/nasm.log"
while [ "$1" != -o ]; do shift; done; cp "$3" "$2""#;

/// Finds what strata is told: sets `$config`, `$report` and `$dumps`, and logs everything.
const STRATA: &str = r#"here=$(dirname "$0"); echo "$@" > "$here/strata.log"
shift; image=$1; shift
while [ $# -gt 0 ]; do case $1 in
  --config) config=$2; shift;; --report) report=$2; shift;; --dump) dumps="$dumps $2"; shift;;
esac; shift; done
"#;

const HERE: host::Place = host::Place::Here;

/// A place with a fake nasm, a fake strata and one guest.
struct Place {
    folder: Folder,
    runner: Runner,
}

impl Place {
    /// Strata ends as the sample report says and does `body` before.
    fn new(body: &str) -> Self {
        let finish = "cp \"$here/sample.json\" \"$report\"; exit 4";
        let place = Self::with_strata(&format!("{STRATA}{body}\n{finish}"));
        place.folder.file("sample.json", &samples::report().to_string());
        place
    }

    fn with_strata(script: &str) -> Self {
        let folder = Folder::new();
        let runner = Runner {
            nasm: folder.script("nasm", NASM),
            strata: folder.script("strata", script),
            host: Host { kvm: Ok(Kvm::Pvm) },
            wanted: Wanted::Either,
            rig: Lazy::none("no QEMU"),
            guests: folder.path().join("guests"),
            scratch: folder.path().join("out/guests"),
            limit: Duration::from_secs(60),
        };
        Self { folder, runner }
    }

    fn guest(&self, more: &str, expect: &str) -> Guest {
        let toml = format!(
            "about = \"a guest\"\n{more}\n[machine]\nmode = \"real16\"\n[machine.memory]\nsize = \"64K\"\ntop = 0xffff800000000000\n[expect]\n{expect}"
        );
        let header = samples::commented(&toml);
        let path = self.folder.file("guests/sample.asm", &format!("; ---\n{header}\n; ---\nhlt\n"));
        Guest::read(&path).unwrap()
    }

    fn run(&self, guest: &Guest) -> Outcome {
        self.runner.run(guest, Show::Captured, &[]).1
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

fn failure(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Broken(failure) => chain(failure),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_as_expected_is_verified() {
    let place = Place::new("");
    let outcome = place.run(&place.guest("", samples::EXPECT));
    assert!(matches!(&outcome, Outcome::Verified(seen) if seen.exits == 4), "{outcome:?}");
    let line = Row { name: "sample", place: &HERE, outcome: &outcome, repeats: false }.to_string();
    assert!(line.starts_with("verified  sample: debug, 4 exits, "), "{line}");
    assert_eq!(outcome.tally(), Tally::PASSED);
}

#[test]
fn nasm_and_strata_are_called_as_documented() {
    let place = Place::new("cp \"$config\" \"$here/config.log\"");
    let guest = place.guest("", samples::EXPECT);
    place.runner.run(&guest, Show::Captured, &["--trace".into()]);
    let base = place.folder.path().display();
    assert_eq!(
        place.text("nasm.log").trim(),
        format!(
            "-f bin -Werror -I {base}/guests/ -I {base}/guests/include/ -o {base}/out/guests/sample.bin {base}/guests/sample.asm"
        )
    );
    assert_eq!(
        place.text("strata.log").trim(),
        format!(
            "run {base}/out/guests/sample.bin --config {base}/out/guests/sample.toml --report {base}/out/guests/sample.json --dump 0x6000,2 --dump 0x7000,1 --quiet --trace"
        )
    );
    let config: serde_json::Map<String, serde_json::Value> =
        toml::from_str(&place.text("config.log")).unwrap();
    assert_eq!(config, guest.header.machine);
}

#[test]
fn every_kind_of_wrong_expectation_fails_by_its_name() {
    let place = Place::new("");
    let contain = samples::EXPECT.replace("exits = [", "exits_contain = [");
    for (kind, right, from, to) in [
        (Kind::Stop, samples::EXPECT, "0x1005", "0x1006"),
        (Kind::Exits, samples::EXPECT, "2 * in", "3 * in"),
        (Kind::ExitsContain, contain.as_str(), "2 * in", "3 * in"),
        (Kind::Output, samples::EXPECT, "two", "Two"),
        (Kind::Memory, samples::EXPECT, "aa bb", "aa bc"),
        (Kind::Dirty, samples::EXPECT, "[0x2000, ", "["),
        (Kind::Registers, samples::EXPECT, "rax = 5", "rax = 6"),
        (Kind::ExitCode, samples::EXPECT, "exit_code = 4", "exit_code = 0"),
        (Kind::Explain, samples::EXPECT, "no IDT", "no GDT"),
    ] {
        let outcome = place.run(&place.guest("", right));
        assert_eq!(outcome.tally(), Tally::PASSED, "{kind:?}: {outcome:?}");
        let outcome = place.run(&place.guest("", &right.replace(from, to)));
        let kinds: Vec<Kind> = match &outcome {
            Outcome::Deviates(_, found) => found.iter().map(|deviation| deviation.kind).collect(),
            other => panic!("{kind:?}: {other:?}"),
        };
        assert_eq!(kinds, [kind]);
        let text = Row { name: "sample", place: &HERE, outcome: &outcome, repeats: false }.to_string();
        assert!(text.starts_with("FAILED    sample: ") && text.contains(kind.key()), "{text}");
    }
}

#[test]
fn what_the_host_cannot_run_is_not_run_and_not_passed() {
    let place = Place::with_strata("exit 1");
    let outcome = place.run(&place.guest("needs = [\"pages-1g\"]", samples::EXPECT));
    let line = Row { name: "sample", place: &HERE, outcome: &outcome, repeats: false }.to_string();
    assert_eq!(line, "not run:  sample: needs 1 GiB pages: this host is PVM; no rig: no QEMU");
    assert_eq!(outcome.tally(), Tally::SKIPPED);
}

#[test]
fn standard_input_is_what_the_header_says() {
    let place = Place::new("cat > \"$here/stdin.log\"");
    place.run(&place.guest("stdin = \"typed\\n\"", samples::EXPECT));
    assert_eq!(place.text("stdin.log"), "typed\n");
    place.run(&place.guest("", samples::EXPECT));
    assert_eq!(place.text("stdin.log"), "");
}

#[test]
fn a_guest_that_does_not_read_its_input_does_not_hang_us() {
    let place = Place::new("");
    let long = "x".repeat(1 << 20);
    let outcome = place.run(&place.guest(&format!("stdin = \"{long}\""), samples::EXPECT));
    assert_eq!(outcome.tally(), Tally::PASSED, "{outcome:?}");
}

#[test]
fn without_a_report_strata_is_quoted() {
    let place = Place::with_strata("echo /dev/kvm: permission denied: join the group kvm >&2; exit 1");
    let outcome = place.run(&place.guest("", samples::EXPECT));
    let text = failure(&outcome);
    assert!(text.contains("/dev/kvm: permission denied: join the group kvm"), "{text}");
    assert_eq!(outcome.tally(), Tally::FAILED);
}

#[test]
fn an_old_report_is_not_taken_for_a_new_one() {
    let place = Place::with_strata("exit 4");
    let report = samples::report().to_string();
    place.folder.file("out/guests/sample.json", &report);
    assert!(failure(&place.run(&place.guest("", samples::EXPECT))).contains("wrote no report"));
}

#[test]
fn a_strata_that_hangs_is_killed() {
    let mut place = Place::with_strata("echo last words; exec sleep 1000");
    place.runner.limit = Duration::from_millis(300);
    let text = failure(&place.run(&place.guest("", samples::EXPECT)));
    assert!(text.starts_with("killed: it was still running") && text.ends_with("last words"), "{text}");
}

#[test]
fn a_strata_that_is_killed_fails_whatever_it_reported() {
    let place = Place::new("cp \"$here/sample.json\" \"$report\"; kill -SEGV $$");
    let text = failure(&place.run(&place.guest("", samples::EXPECT)));
    assert!(text.starts_with("strata was killed"), "{text}");
}

#[test]
fn a_report_that_is_none_fails() {
    let place = Place::with_strata(&format!("{STRATA}echo '{{}}' > \"$report\""));
    let text = failure(&place.run(&place.guest("", samples::EXPECT)));
    assert!(text.contains("sample.json") && text.contains("missing field"), "{text}");
}

#[test]
fn what_nasm_refuses_is_quoted() {
    let mut place = Place::new("");
    place.runner.nasm =
        place.folder.script("bad-nasm", "echo sample.asm:9: error: no such instruction; exit 1");
    let text = failure(&place.run(&place.guest("", samples::EXPECT)));
    assert!(text.contains("sample.asm:9"), "{text}");
}

#[test]
fn all_guests_are_counted() {
    let place = Place::new("");
    let guests = [
        place.guest("", samples::EXPECT),
        place.guest("", &samples::EXPECT.replace("one", "none")),
        place.guest("needs = [\"paging32\"]", samples::EXPECT),
        place.guest("", samples::EXPECT),
    ];
    let mut rows = Vec::new();
    let summary = run_all(&place.runner, &guests, &[], &mut |row| rows.push(row.to_string()));
    let tally = Tally { passed: 2, failed: 1, skipped: 1 };
    assert_eq!(summary, Summary { tally, here: 3, in_rig: 0 });
    assert_eq!(summary.to_string(), "3 here, 0 in the rig\n2 passed, 1 failed, 1 not run");
    assert_eq!(rows.len(), 4);
    assert!(rows[1].starts_with("FAILED") && rows[2].starts_with("not run:"), "{rows:?}");
}

#[test]
fn a_reason_that_breaks_all_guests_is_given_once() {
    let place = Place::with_strata("echo no KVM here >&2; exit 4");
    let guests = [place.guest("", samples::EXPECT), place.guest("", samples::EXPECT)];
    let mut rows = Vec::new();
    let summary = run_all(&place.runner, &guests, &[], &mut |row| rows.push(row.to_string()));
    assert_eq!(summary.tally, Tally { passed: 0, failed: 2, skipped: 0 });
    assert!(rows[0].contains("no KVM here"), "{rows:?}");
    assert_eq!(rows[1], "FAILED    sample: for the same reason");
}
