//! All guests, and the proof that one with a wrong expectation fails.

use std::error::Error;
use std::path::PathBuf;
use std::{fs, io};

use serde_json::{Map, Value};

use super::{Context, Report, steps};
use crate::guest::{Bytes, Guest, Kind, Number, Outcome, Row, Runner, run_all, split};
use crate::host::{Place, Wanted};
use crate::run_guest::runner;

/// Runs every guest that can be run on this host.
///
/// The others are reported as not run, unless the step [`in_rig`] comes too: it runs all of them.
pub(super) fn here(context: &Context) -> Result<Report, Box<dyn Error>> {
    let runner = quiet_runner(context, Wanted::Here)?;
    let mut guests = Guest::all(&runner.guests)?;
    if context.with_rig {
        if let Err(why) = &runner.host.kvm {
            return Ok(Report::skipped("guests on this host", &format!("{why}; the rig has them all")));
        }
        guests.retain(|guest| runner.place(guest) == Place::Here);
    }
    Ok(run(&runner, &guests))
}

/// Runs every guest in the rig.
pub(super) fn in_rig(context: &Context) -> Result<Report, Box<dyn Error>> {
    let runner = quiet_runner(context, Wanted::Rig)?;
    let guests = Guest::all(&runner.guests)?;
    if let Err(why) = runner.rig.get() {
        return Ok(Report::skipped("guests in the rig", &format!("no rig: {why}")));
    }
    Ok(run(&runner, &guests))
}

fn run(runner: &Runner, guests: &[Guest]) -> Report {
    let mut report = Report::default();
    let mut failed = Vec::new();
    let summary = run_all(runner, guests, &[], &mut |row| match row.outcome {
        Outcome::Verified(_) => {}
        Outcome::NotRun(_) => report.notes.push(row.to_string()),
        Outcome::Deviates(..) | Outcome::Broken(_) => failed.push(row.to_string()),
    });
    report.tally = summary.tally;
    report.output = failed.join("\n");
    report
}

/// For each kind of expectation, takes a guest that has it, makes it wrong, and demands that just this is found.
pub(super) fn wrong(context: &Context) -> Result<Report, Box<dyn Error>> {
    let wanted = if context.with_rig { Wanted::Either } else { Wanted::Here };
    let mut runner = quiet_runner(context, wanted)?;
    let guests = Guest::all(&runner.guests)?;
    runner.scratch.push("wrong");
    fs::create_dir_all(&runner.scratch)?;
    let mut report = Report::default();
    let mut kinds = Vec::new();
    let mut falsified = Vec::new();
    for kind in Kind::ALL {
        match make_wrong(&runner, &guests, kind)? {
            Some(path) => {
                kinds.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), kind));
                falsified.push(Guest::read(&path)?);
            }
            None => report.add(Err(format!("no guest that can be run expects `{}`", kind.key()))),
        }
    }
    // Those that could not be run come with the others: a wrong guest must not pass for any reason.
    run_all(&runner, &falsified, &[], &mut |row| {
        let kind = kinds.iter().find(|(name, _)| name == row.name).map(|(_, kind)| *kind);
        report.add(kind.map_or(Ok(()), |kind| must_fail(row, kind)));
    });
    Ok(report)
}

/// A runner with a strata that is built already: cargo has nothing more to say in the middle of our list.
fn quiet_runner(context: &Context, wanted: Wanted) -> Result<Runner, Box<dyn Error>> {
    if steps::build(context)?.tally.failed > 0 {
        return Err("strata can't be built; the step `build` shows why".into());
    }
    runner(&context.workspace, context.install, wanted)
}

/// Writes a guest that expects something wrong of this kind, made of one that is run here if there is one.
fn make_wrong(runner: &Runner, guests: &[Guest], kind: Kind) -> io::Result<Option<PathBuf>> {
    let is_here = |guest: &&Guest| runner.place(guest) == Place::Here;
    let is_there = |guest: &&Guest| matches!(runner.place(guest), Place::Rig(_));
    for guest in guests.iter().filter(is_here).chain(guests.iter().filter(is_there)) {
        let text = fs::read_to_string(&guest.path)?;
        let Some(wrong) = falsify(&text, kind) else { continue };
        let name = guest.name.replace('/', "-");
        let path = runner.scratch.join(format!("{name}-{}.asm", kind.key()));
        fs::write(&path, wrong)?;
        return Ok(Some(path));
    }
    Ok(None)
}

fn must_fail(row: &Row<'_>, kind: Kind) -> Result<(), String> {
    match row.outcome {
        Outcome::Deviates(_, found) if found.len() == 1 && found[0].kind == kind => Ok(()),
        _ => {
            Err(format!("a wrong `{}`, and nothing else, should have failed this guest:\n{row}", kind.key()))
        }
    }
}

/// The text of a guest with its expectation of this kind made wrong; `None` if it has none.
fn falsify(text: &str, kind: Kind) -> Option<String> {
    let (toml, start) = split(text).ok()?;
    let mut header: Map<String, Value> = toml::from_str(&toml).ok()?;
    let value = header.get_mut("expect")?.get_mut(kind.key())?;
    *value = other(value)?;
    let lines: Vec<&str> = text.lines().collect();
    let end = start + toml.lines().count();
    let header = toml::to_string(&header).ok()?;
    let header = header.lines().map(|line| format!("; {line}"));
    let before = lines[..start].iter().map(ToString::to_string);
    let after = lines[end..].iter().map(ToString::to_string);
    Some(before.chain(header).chain(after).map(|line| line + "\n").collect())
}

/// A value of the same shape that is not the same.
fn other(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Number(_) => (Number::of(value)?.0 ^ 1).into(),
        Value::String(text) => Value::String(match (Number::parse(text), Bytes::try_from(text.clone())) {
            (Some(Number(number)), _) => format!("{:#x}", number ^ 1),
            (None, Ok(Bytes(mut bytes))) => {
                bytes[0] ^= 1;
                Bytes(bytes).to_string()
            }
            (None, Err(_)) => format!("{text} wrong"),
        }),
        Value::Array(list) => {
            // A page, for the dirty ones, that no guest has; a word, for exits, that is none.
            let extra = if list.iter().all(|it| Number::of(it).is_some()) && !list.is_empty() {
                "0xfffffffffffff000"
            } else {
                "wrong"
            };
            Value::Array(list.iter().cloned().chain([extra.into()]).collect())
        }
        Value::Object(table) => {
            let mut table = table.clone();
            let (_, first) = table.iter_mut().next()?;
            *first = other(first)?;
            Value::Object(table)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = r#"; Before.
; ---
; about = "a guest"
; [expect]
; stop = "halted"
; exits = ["hlt"]
; output = ""
; memory = { "0x6000" = "aa bb", "0x7000" = "01" }
; dirty = ["0x1000"]
; registers = { rax = 5 }
; exit_code = 10
; explain = ["the guest halted"]
; ---
    hlt ; after
"#;

    #[test]
    fn each_kind_is_made_wrong_and_nothing_else_is_touched() {
        let expect = |text: &str| -> Map<String, Value> {
            let header: Map<String, Value> = toml::from_str(&split(text).unwrap().0).unwrap();
            header["expect"].as_object().unwrap().clone()
        };
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::ExitsContain) {
            let wrong = falsify(GUEST, kind).unwrap();
            assert!(
                wrong.starts_with("; Before.\n; ---\n") && wrong.ends_with("\n; ---\n    hlt ; after\n"),
                "{wrong}"
            );
            crate::guest::Header::parse(&wrong).unwrap();
            let (mut right, mut wrong) = (expect(GUEST), expect(&wrong));
            assert_ne!(right.remove(kind.key()), wrong.remove(kind.key()), "{kind:?}");
            assert_eq!(right, wrong, "{kind:?}");
        }
        assert_eq!(falsify(GUEST, Kind::ExitsContain), None);
    }
}
