//! All guests, and the proof that one with a wrong expectation fails.

use std::error::Error;
use std::path::Path;
use std::{fs, io};

use serde_json::{Map, Value};

use super::{Context, Report, steps};
use crate::guest::{Bytes, Guest, Kind, Number, Outcome, Row, Runner, Show, run_all, split};
use crate::host::Place;
use crate::run_guest::runner;

/// Runs every guest.
pub(super) fn all(context: &Context) -> Result<Report, Box<dyn Error>> {
    let runner = quiet_runner(context)?;
    let mut report = Report::default();
    let guests = Guest::all(&runner.guests)?;
    let mut failed = Vec::new();
    report.tally = run_all(&runner, &guests, &[], &mut |row| match row.outcome {
        Outcome::Verified(_) => {}
        Outcome::NotRun(_) => report.notes.push(row.to_string()),
        Outcome::Deviates(..) | Outcome::Broken(_) => failed.push(row.to_string()),
    });
    report.output = failed.join("\n");
    Ok(report)
}

/// For each kind of expectation, takes a guest that has it, makes it wrong, and demands that just this is found.
pub(super) fn wrong(context: &Context) -> Result<Report, Box<dyn Error>> {
    let mut runner = quiet_runner(context)?;
    let guests = Guest::all(&runner.guests)?;
    runner.scratch.push("wrong");
    fs::create_dir_all(&runner.scratch)?;
    let mut report = Report::default();
    for kind in Kind::ALL {
        report.add(prove(&runner, &guests, kind)?);
    }
    Ok(report)
}

/// A runner with a strata that is built already: cargo has nothing more to say in the middle of our list.
fn quiet_runner(context: &Context) -> Result<Runner, Box<dyn Error>> {
    if steps::build(context)?.tally.failed > 0 {
        return Err("strata can't be built; the step `build` shows why".into());
    }
    runner(&context.workspace, context.install)
}

fn prove(runner: &Runner, guests: &[Guest], kind: Kind) -> io::Result<Result<(), String>> {
    let key = kind.key();
    let runs_here = |guest: &&Guest| runner.host.place(guest.header.needs()) == Place::Here;
    for guest in guests.iter().filter(runs_here) {
        let text = fs::read_to_string(&guest.path)?;
        let Some(wrong) = falsify(&text, kind) else { continue };
        let path = runner.scratch.join(format!("{}-{key}.asm", guest.name));
        fs::write(&path, wrong)?;
        return Ok(must_fail(runner, &path, kind));
    }
    Ok(Err(format!("no guest that runs here expects `{key}`: there is nothing to make wrong")))
}

fn must_fail(runner: &Runner, path: &Path, kind: Kind) -> Result<(), String> {
    let guest = Guest::read(path).map_err(|error| error.to_string())?;
    let outcome = runner.run(&guest, Show::Captured, &[]);
    match &outcome {
        Outcome::Deviates(_, found) if found.len() == 1 && found[0].kind == kind => Ok(()),
        _ => {
            let row = Row { name: &guest.name, outcome: &outcome, repeats: false };
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
