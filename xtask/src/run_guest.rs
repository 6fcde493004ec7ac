//! `cargo xtask run-guest`.

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::cli::{Install, RunGuest};
use crate::debian;
use crate::guest::{Guest, Kind, Outcome, Row, Runner, Seen, Show, run_all};
use crate::host::{Host, Place, Wanted};
use crate::linux;
use crate::process::{chain, say};
use crate::rig::{Lazy, Machine};
use crate::tools::{NASM, Tools};
use crate::workspace::Workspace;

/// The guest that is run when none is named.
const DEFAULT: &str = "hello";
/// What is no file in guests/ but a distribution's kernel.
pub(crate) const LINUX: &str = "linux";
/// What is a whole distribution, on a disk.
pub(crate) const DEBIAN: &str = "debian";
/// No guest needs more than a second or two; an emulated host may be a hundred times slower than a good one.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the command; `false` says that a guest failed.
pub(crate) fn run(options: &RunGuest) -> Result<bool, Box<dyn Error>> {
    let workspace = Workspace::find()?;
    let folder = workspace.root.join("guests");
    if options.list {
        list(&Guest::all(&folder)?);
        return Ok(true);
    }
    let wanted = match (options.rig, options.no_rig) {
        (true, _) => Wanted::Rig,
        (_, true) => Wanted::Here,
        _ => Wanted::Either,
    };
    if options.fresh && options.guest.as_deref() != Some(DEBIAN) {
        return Err(
            format!("--fresh is for the guest `{DEBIAN}`: the others have no disk that is kept").into()
        );
    }
    if options.guest.as_deref() == Some(LINUX) {
        return linux::run(&workspace, options, wanted);
    }
    if options.guest.as_deref() == Some(DEBIAN) {
        return debian::run(&workspace, options, wanted);
    }
    if options.kernel.is_some() {
        let why =
            format!("--kernel is for the guests `{LINUX}` and `{DEBIAN}`: the others are kernels themselves");
        return Err(why.into());
    }
    // The guests are read first: a mistyped name must not first install and build things.
    if options.all {
        let guests = Guest::all(&folder)?;
        let runner = runner(&workspace, options.install, wanted)?;
        let summary = run_all(&runner, &guests, &options.strata_options, &mut |row| say(row));
        say(summary);
        return Ok(summary.tally.failed == 0);
    }
    let guest = Guest::named(&folder, options.guest.as_deref().unwrap_or(DEFAULT))?;
    let runner = runner(&workspace, options.install, wanted)?;
    Ok(run_one(&runner, &guest, &options.strata_options))
}

/// A runner for the workspace's guests on this host; installs nasm and builds strata where needed.
pub(crate) fn runner(
    workspace: &Workspace,
    install: Install,
    wanted: Wanted,
) -> Result<Runner, Box<dyn Error>> {
    Ok(Runner {
        nasm: Tools::of_this_process(!install.no_install).ensure(&NASM)?,
        strata: workspace.build_strata()?,
        host: Host::detect(Path::new("/sys"), Path::new("/dev")),
        wanted,
        rig: Lazy::new(Machine::default(), !install.no_install),
        guests: workspace.root.join("guests"),
        scratch: workspace.target.join("guests"),
        limit: LIMIT,
    })
}

fn list(guests: &[Guest]) {
    let width = guests.iter().map(|guest| guest.name.len()).max().unwrap_or(0);
    for guest in guests {
        say(format_args!("{:width$}  {}", guest.name, guest.header.about));
    }
    say(format_args!("{LINUX:width$}  a kernel of the distribution, with a shell"));
    say(format_args!("{DEBIAN:width$}  all of the distribution, from disk, with a network"));
}

/// Runs one guest with its output shown live, then says in one line how it went.
fn run_one(runner: &Runner, guest: &Guest, options: &[OsString]) -> bool {
    let (place, outcome) = runner.run(guest, Show::Live, options);
    if let Outcome::Verified(seen) | Outcome::Deviates(seen, _) = &outcome
        && seen.open_line
    {
        say("");
    }
    let (text, good) = verdict(&guest.name, &place, &outcome, !options.is_empty());
    say(text);
    good
}

/// The lines after a guest's output, the last of which sums up, and whether that is a success.
///
/// A guest with options of the user's own is another guest than its header speaks of: that it deviates is worth
/// saying, but no failure.
fn verdict(name: &str, place: &Place, outcome: &Outcome, has_options: bool) -> (String, bool) {
    match outcome {
        Outcome::Verified(seen) => (format!("{}{name}: {seen}{place}, verified", explained(seen)), true),
        Outcome::Deviates(seen, found) => {
            // Where it is what deviates, it is quoted there.
            let said = if found.iter().any(|deviation| deviation.kind == Kind::Explain) {
                String::new()
            } else {
                explained(seen)
            };
            let keys: Vec<&str> = found.iter().map(|deviation| deviation.kind.key()).collect();
            let keys = keys.join(", ");
            if has_options {
                return (
                    format!("{said}{name}: {seen}{place}, not verified: with these options, {keys} differ"),
                    true,
                );
            }
            let details: Vec<String> = found.iter().map(ToString::to_string).collect();
            let details = details.join("\n");
            (format!("{said}{details}\n{name}: {seen}{place}, FAILED: not as its header says: {keys}"), false)
        }
        Outcome::Broken(failure) => (format!("{name}{place}: FAILED: {}", chain(failure)), false),
        // Asked for by name, a guest that can't run is a failure, in the words of the list.
        Outcome::NotRun(_) => (Row { name, place, outcome, repeats: false }.to_string(), false),
    }
}

/// What strata has to say about a guest's end, and an empty line; nothing if that is nothing.
fn explained(seen: &Seen) -> String {
    seen.explanation.as_deref().map_or_else(String::new, |text| format!("{}\n\n", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{Deviation, Failure};

    fn seen() -> Seen {
        Seen {
            stop: "halted".into(),
            exits: 1,
            time: Duration::from_millis(1234),
            open_line: false,
            explanation: None,
        }
    }

    fn deviating() -> Outcome {
        let deviation =
            |kind| Deviation { kind, lines: vec!["expected this".into(), "seen     that".into()] };
        Outcome::Deviates(seen(), vec![deviation(Kind::Output), deviation(Kind::Dirty)])
    }

    #[test]
    fn a_verified_guest_is_one_line() {
        let line = "hello: halted, 1 exit, 1.234 s, verified";
        assert_eq!(
            verdict("hello", &Place::Here, &Outcome::Verified(seen()), false),
            (line.to_owned(), true)
        );
        assert_eq!(verdict("hello", &Place::Here, &Outcome::Verified(seen()), true), (line.to_owned(), true));
    }

    #[test]
    fn what_is_explained_comes_before_the_last_line() {
        let explained = || Seen { explanation: Some("it died of\n  this\n".into()), ..seen() };
        let expected = "it died of\n  this\n\nhello: halted, 1 exit, 1.234 s, verified";
        let (text, _) = verdict("hello", &Place::Here, &Outcome::Verified(explained()), false);
        assert_eq!(text, expected);
        let quoted = Deviation { kind: Kind::Explain, lines: vec!["seen     it died of".into()] };
        let (text, _) = verdict("hello", &Place::Here, &Outcome::Deviates(explained(), vec![quoted]), false);
        assert_eq!(text.matches("it died of").count(), 1, "{text}");
    }

    #[test]
    fn a_guest_in_the_rig_says_why() {
        let place = Place::Rig(Some("no /dev/kvm".into()));
        let line = "hello: halted, 1 exit, 1.234 s, in the rig (no /dev/kvm), verified";
        assert_eq!(verdict("hello", &place, &Outcome::Verified(seen()), false), (line.to_owned(), true));
    }

    #[test]
    fn a_deviating_guest_fails_with_what_deviates_and_a_last_line() {
        let (text, good) = verdict("hello", &Place::Here, &deviating(), false);
        assert!(!good);
        assert!(
            text.starts_with("    output:\n      expected this\n      seen     that\n    dirty:"),
            "{text}"
        );
        let last = "hello: halted, 1 exit, 1.234 s, FAILED: not as its header says: output, dirty";
        assert_eq!(text.lines().last(), Some(last));
    }

    #[test]
    fn with_options_of_ones_own_a_deviation_is_said_but_no_failure() {
        let line = "hello: halted, 1 exit, 1.234 s, not verified: with these options, output, dirty differ";
        assert_eq!(verdict("hello", &Place::Here, &deviating(), true), (line.to_owned(), true));
    }

    #[test]
    fn a_guest_that_gave_no_report_or_could_not_run_is_a_failure() {
        let failure = Failure::TooLong { limit: LIMIT, output: String::new() };
        let (text, good) = verdict("hello", &Place::Here, &Outcome::Broken(failure), true);
        assert_eq!((text.as_str(), good), ("hello: FAILED: killed: it was still running after 60 s", false));
        let (text, good) = verdict(
            "hello",
            &Place::Here,
            &Outcome::NotRun("needs 1 GiB pages: this host is PVM".into()),
            false,
        );
        assert_eq!((text.as_str(), good), ("not run:  hello: needs 1 GiB pages: this host is PVM", false));
    }
}
