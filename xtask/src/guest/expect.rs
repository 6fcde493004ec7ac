//! Compares a run with what the guest's header expects.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::diff;
use super::header::{Bytes, Expect, Number, Stop};
use super::notation::{Run, runs};
use super::report::Report;

/// The kinds of expectation a header can hold, by their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stop,
    Exits,
    ExitsContain,
    Output,
    Memory,
    Dirty,
    Registers,
    ExitCode,
    Explain,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Stop,
        Self::Exits,
        Self::ExitsContain,
        Self::Output,
        Self::Memory,
        Self::Dirty,
        Self::Registers,
        Self::ExitCode,
        Self::Explain,
    ];

    /// Its key in the header's table `expect`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Exits => "exits",
            Self::ExitsContain => "exits_contain",
            Self::Output => "output",
            Self::Memory => "memory",
            Self::Dirty => "dirty",
            Self::Registers => "registers",
            Self::ExitCode => "exit_code",
            Self::Explain => "explain",
        }
    }
}

/// One expectation that was not met.
#[derive(Debug)]
pub(crate) struct Deviation {
    pub(crate) kind: Kind,
    /// Expected and seen.
    pub(crate) lines: Vec<String>,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    {}:", self.kind.key())?;
        self.lines.iter().try_for_each(|line| write!(f, "\n      {line}"))
    }
}

/// Everything in which the run deviates. `code` is strata's exit status.
pub(crate) fn deviations(expect: &Expect, report: &Report, code: i32) -> Vec<Deviation> {
    let lines = |exits: &[String]| runs(exits).iter().map(Run::to_string).collect::<Vec<String>>();
    let exits = |listed: &Vec<String>| diff::lines(&lines(listed), &lines(&report.exits));
    let contained = |listed: &Vec<String>| missing(&runs(listed), &runs(&report.exits));
    let found = [
        (Kind::Stop, stop(&expect.stop, report)),
        (Kind::Exits, expect.exits.as_ref().and_then(exits)),
        (Kind::ExitsContain, expect.exits_contain.as_ref().and_then(contained)),
        (Kind::Output, expect.output.as_ref().and_then(|output| text(output, &report.output))),
        (Kind::Memory, expect.memory.as_ref().and_then(|expected| memory(expected, &report.memory))),
        (Kind::Dirty, expect.dirty.as_ref().and_then(|expected| dirty(expected, report.dirty.as_deref()))),
        (
            Kind::Registers,
            expect.registers.as_ref().and_then(|expected| registers(expected, &report.registers)),
        ),
        (Kind::ExitCode, expect.exit_code.filter(|expected| *expected != code).map(|it| pair(&it, &code))),
        (Kind::Explain, explain(expect.explain.as_deref(), report)),
    ];
    found.into_iter().filter_map(|(kind, lines)| Some(Deviation { kind, lines: lines? })).collect()
}

fn pair(expected: &dyn fmt::Display, seen: &dyn fmt::Display) -> Vec<String> {
    vec![format!("expected {expected}"), format!("seen     {seen}")]
}

fn if_any(lines: Vec<String>) -> Option<Vec<String>> {
    (!lines.is_empty()).then_some(lines)
}

fn stop(expected: &Stop, report: &Report) -> Option<Vec<String>> {
    let matches = match expected {
        Stop::Kind(kind) => report.stop_kind() == kind,
        Stop::Details(details) => details.iter().all(|(key, expected)| {
            let seen = report.stop.get(key);
            seen.is_some_and(|seen| is_same(expected, seen))
        }),
    };
    let shown = match expected {
        Stop::Kind(kind) => kind.clone(),
        Stop::Details(details) => Value::Object(details.clone()).to_string(),
    };
    (!matches).then(|| pair(&shown, &Value::Object(report.stop.clone())))
}

/// Whether a detail of a stop is as expected; numbers may be written either way on either side.
fn is_same(expected: &Value, seen: &Value) -> bool {
    expected == seen || Number::of(expected).is_some_and(|number| Number::of(seen) == Some(number))
}

/// What of `expected` is not in `seen` often enough.
fn missing(expected: &[Run], seen: &[Run]) -> Option<Vec<String>> {
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    for run in expected {
        *wanted.entry(&run.exit).or_default() += run.count;
    }
    let lines = wanted.into_iter().filter_map(|(exit, times)| {
        let found: u64 = seen.iter().filter(|seen| seen.exit == exit).map(|seen| seen.count).sum();
        (found < times).then(|| format!("expected at least {times}, seen {found}: {exit}"))
    });
    let mut lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        lines.push("the last exits were:".to_owned());
        lines.extend(seen.iter().rev().take(5).rev().map(|run| format!("  {run}")));
    }
    if_any(lines)
}

fn text(expected: &str, seen: &str) -> Option<Vec<String>> {
    if expected == seen {
        return None;
    }
    let lines =
        |text: &str| -> Vec<String> { text.split_inclusive('\n').map(|line| format!("{line:?}")).collect() };
    let mut shown = vec!["by lines:".to_owned()];
    shown.extend(diff::lines(&lines(expected), &lines(seen)).unwrap_or_default());
    Some(shown)
}

fn memory(
    expected: &BTreeMap<Number, Bytes>,
    seen: &BTreeMap<String, Option<String>>,
) -> Option<Vec<String>> {
    let bytes = |text: &Option<String>| Bytes::try_from(text.clone()?).ok();
    let seen: BTreeMap<Option<Number>, Option<Bytes>> =
        seen.iter().map(|(at, text)| (Number::parse(at), bytes(text))).collect();
    let mut lines = Vec::new();
    for (at, bytes) in expected {
        match seen.get(&Some(*at)) {
            Some(Some(seen)) if seen == bytes => {}
            Some(Some(seen)) => lines.extend([
                format!("at {at}:"),
                format!("  expected {bytes}"),
                format!("  seen     {seen}"),
            ]),
            _ => lines.push(format!("at {at}: expected {bytes}, not reported")),
        }
    }
    if_any(lines)
}

fn dirty(expected: &[Number], seen: Option<&[String]>) -> Option<Vec<String>> {
    let Some(seen) = seen else {
        return Some(vec!["not reported: does the header's [machine.memory] say `dirty_log = true`?".into()]);
    };
    let sorted = |pages: &mut dyn Iterator<Item = Option<Number>>| {
        let mut pages: Vec<Option<Number>> = pages.collect();
        pages.sort_unstable();
        pages
    };
    let wanted = sorted(&mut expected.iter().copied().map(Some));
    let found = sorted(&mut seen.iter().map(|page| Number::parse(page)));
    let list = |pages: Vec<String>| if pages.is_empty() { "no page".to_owned() } else { pages.join(" ") };
    (wanted != found)
        .then(|| pair(&list(expected.iter().map(Number::to_string).collect()), &list(seen.to_vec())))
}

fn registers(expected: &BTreeMap<String, Number>, seen: &BTreeMap<String, Value>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    for (name, value) in expected {
        match seen.get(name).map(|seen| (Number::of(seen), seen)) {
            Some((Some(seen), _)) if seen == *value => {}
            Some((Some(seen), _)) => lines.push(format!("{name}: expected {value}, seen {seen}")),
            Some((None, seen)) => {
                lines.push(format!("{name}: expected {value}, seen {seen}, which is no number"));
            }
            None => lines.push(format!("{name}: expected {value}, not reported")),
        }
    }
    if_any(lines)
}

/// What of `expected` is not said, or, if nothing is expected, what is held against a guest that did nothing wrong.
fn explain(expected: Option<&[String]>, report: &Report) -> Option<Vec<String>> {
    let said = report.explanation.as_deref().unwrap_or("nothing");
    let mut lines = match expected {
        Some(expected) => {
            let missing = expected.iter().filter(|sentence| !said.contains(sentence.as_str()));
            missing.map(|sentence| format!("expected {sentence}")).collect()
        }
        None if report.accused => vec!["expected no accusation".to_owned()],
        None => Vec::new(),
    };
    if !lines.is_empty() {
        lines.extend(said.lines().map(|line| format!("seen     {line}")));
    }
    if_any(lines)
}

#[cfg(test)]
#[path = "expect_test.rs"]
mod tests;
