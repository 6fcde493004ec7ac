//! `strata doctor`: what this host can do, on one screen.

mod cpuid;

use std::borrow::Cow;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strata_vmm::cpu::cpuid::ParseLeafError;
use strata_vmm::host::{CheckState, Diagnosis, Facts, FeatureState, Level, Limits, Memory, probe};

use crate::cli::DoctorOptions;

/// No guest can run here.
const CANNOT_RUN: u8 = 1;
/// The screen's width.
const WIDTH: usize = 80;

/// Why there is no diagnosis.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoctorError {
    /// The file of facts cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It is not what `--json` writes.
    #[error("{} is not a report of `strata doctor {options}`", path.display())]
    Parse { path: PathBuf, options: &'static str, source: serde_json::Error },
    /// Its CPUID leaves are none.
    #[error("{} is not a report of `strata doctor --cpuid --json`", path.display())]
    Leaf { path: PathBuf, source: ParseLeafError },
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    facts: &'a Facts,
}

/// What `--facts` reads of it. The diagnosis is made anew.
#[derive(Deserialize)]
struct SavedReport {
    facts: Facts,
}

/// Looks at the host, prints what it is like, and returns the exit code.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<u8, DoctorError> {
    if let Some(baseline) = options.cpuid {
        return cpuid::doctor(options, baseline);
    }
    let facts = match &options.facts {
        Some(path) => read::<SavedReport>(path, "--json")?.facts,
        None => Facts::gather(Path::new("/"), probe),
    };
    let diagnosis = Diagnosis::of(&facts);
    let report = Report { diagnosis: &diagnosis, facts: &facts };
    print(options, &report, |paint| screen(&facts, &diagnosis, paint));
    Ok(if diagnosis.can_run_guests { 0 } else { CANNOT_RUN })
}

/// Writes to standard output what was asked for: JSON, or text for people.
fn print(options: &DoctorOptions, report: &impl Serialize, screen: impl FnOnce(Paint) -> String) {
    let stdout = io::stdout();
    let text = if options.json {
        // Plain data with text keys: this cannot fail.
        serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
    } else {
        let colours =
            stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        screen(Paint { colours })
    };
    // A reader that has gone away still has the exit code.
    let _ = stdout.lock().write_all(text.as_bytes());
}

/// Reads back what `--json` wrote.
fn read<T: DeserializeOwned>(path: &Path, options: &'static str) -> Result<T, DoctorError> {
    let text =
        fs::read_to_string(path).map_err(|source| DoctorError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| DoctorError::Parse {
        path: path.to_owned(),
        options,
        source,
    })
}

/// The whole text.
fn screen(facts: &Facts, diagnosis: &Diagnosis, paint: Paint) -> String {
    let mut out = Screen { text: String::new(), paint };
    let colour = match diagnosis.findings.first().map(|finding| finding.level) {
        Some(Level::Blocks) => RED,
        Some(Level::Slow) => YELLOW,
        _ => GREEN,
    };
    out.line(&paint.with(colour, diagnosis.headline));
    out.line("");
    for check in &diagnosis.checks {
        let (mark, colour) = match check.state {
            CheckState::Ok => ("ok", GREEN),
            CheckState::Failed => ("no", RED),
            CheckState::NotTried => ("-", YELLOW),
        };
        let name = match check.key {
            "cpu" => "CPU",
            "kvm" => "KVM",
            "device" => "/dev/kvm",
            _ => "a machine",
        };
        out.row(mark, colour, name, &check.found);
    }
    let kernel = if facts.kernel.is_empty() { "unknown" } else { &facts.kernel };
    out.row("", "", "kernel", &format!("Linux {kernel}"));
    out.row("", "", "memory", &memory(&facts.memory));
    if let Some(limits) = &diagnosis.limits {
        out.row("", "", "limits", &limits_words(limits));
    }
    let missing: Vec<_> = diagnosis.features.iter().filter(|feature| feature.answer == 0).collect();
    if !diagnosis.features.is_empty() {
        let all = diagnosis.features.len();
        let present = all - missing.len();
        out.row("", "", "features", &format!("{present} of the {all} that matter (`--json` lists them)"));
    }
    findings(&mut out, diagnosis);
    missing_features(&mut out, &missing);
    out.text
}

fn findings(out: &mut Screen, diagnosis: &Diagnosis) {
    if !diagnosis.findings.is_empty() {
        out.line("");
    }
    for finding in &diagnosis.findings {
        let (mark, colour) = match finding.level {
            Level::Blocks => ("stop", RED),
            Level::Slow => ("slow", YELLOW),
            Level::Limits => ("limit", YELLOW),
            Level::Hint => ("hint", GREEN),
        };
        out.hanging(&format!("  {mark:<7}"), colour, &finding.what);
        out.hanging("      -> ", "", &finding.advice);
    }
}

fn missing_features(out: &mut Screen, missing: &[&FeatureState]) {
    if missing.is_empty() {
        return;
    }
    out.line("");
    out.line("  Missing feature   What that costs                           What brings it");
    for FeatureState { name, without_it, brought_by, .. } in missing {
        out.line(&format!("  {name:<17} {without_it:<41} {brought_by}"));
    }
}

fn memory(memory: &Memory) -> String {
    let (available, total) = (size(memory.available), size(memory.total));
    let (free_2m, free_1g) = (memory.huge_2m.free, memory.huge_1g.free);
    format!("{available} free of {total}; huge pages: {free_2m} x 2M, {free_1g} x 1G")
}

/// Bytes for people, with one decimal, rounded down.
fn size(bytes: u64) -> String {
    let (unit, name) = if bytes < 1 << 30 { (1 << 20, "MiB") } else { (1 << 30, "GiB") };
    let tenths = bytes % unit * 10 / unit;
    format!("{}.{tenths} {name}", bytes / unit)
}

fn limits_words(limits: &Limits) -> String {
    let Limits { vcpus_recommended, vcpus, memory_slots, hardware_breakpoints, .. } = limits;
    format!(
        "{vcpus} vCPUs ({vcpus_recommended} run well), {memory_slots} memory slots, {hardware_breakpoints} breakpoints"
    )
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Colours, or none.
#[derive(Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    /// `text` in a colour (ECMA-48, SGR).
    fn with(self, colour: &str, text: &'_ str) -> String {
        if self.colours && !colour.is_empty() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Lines of at most [`WIDTH`] columns.
struct Screen {
    text: String,
    paint: Paint,
}

impl Screen {
    fn line(&mut self, line: &str) {
        self.text += line.trim_end();
        self.text.push('\n');
    }

    /// `  ok  KVM        text`
    fn row(&mut self, mark: &str, colour: &str, name: &str, text: &str) {
        let mark = format!("  {mark:<4}");
        self.wrapped(&(self.paint.with(colour, &mark) + &format!("{name:<11}")), mark.len() + 11, text);
    }

    /// `label` in its colour, then `text`.
    fn hanging(&mut self, label: &str, colour: &str, text: &str) {
        self.wrapped(&self.paint.with(colour, label), label.len(), text);
    }

    /// `label`, `indent` columns wide, and `text` broken between words, its further lines below its first.
    fn wrapped(&mut self, label: &str, indent: usize, text: &str) {
        let mut line = label.to_owned();
        let mut column = indent;
        for word in text.split(' ') {
            let word = printable(word);
            let len = word.chars().count();
            if column > indent && column + 1 + len > WIDTH {
                self.line(&line);
                line = " ".repeat(indent);
                column = indent;
            }
            if column > indent {
                line.push(' ');
                column += 1;
            }
            line += &word;
            column += len;
        }
        self.line(&line);
    }
}

/// Names come from the host's files, or from a report of another host: none of them may steer the terminal.
fn printable(word: &str) -> Cow<'_, str> {
    if word.contains(char::is_control) { word.replace(char::is_control, "?").into() } else { word.into() }
}
