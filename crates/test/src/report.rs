//! Results as Rust's own test programs write them.

use std::io::{self, Write};
use std::time::Duration;

use crate::output::Written;
use crate::select::Selected;

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Not as it should: why.
    Failed(String),
    /// It was not run.
    Ignored,
}

/// A test that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Result {
    /// Its name.
    pub name: String,
    /// How it went.
    pub verdict: Verdict,
    /// What it wrote.
    pub written: Written,
}

/// How many went how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// As they should.
    pub passed: usize,
    /// Not so.
    pub failed: usize,
    /// Not run, and said to be.
    pub ignored: usize,
}

/// How it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// One character a test.
    pub terse: bool,
    /// With colours.
    pub color: bool,
    /// The output of tests that have passed too.
    pub show_output: bool,
}

/// Writes results as they come.
#[derive(Debug)]
pub struct Report<W> {
    out: W,
    style: Style,
    counts: Counts,
    kept: Vec<Result>,
    column: usize,
}

/// After so many characters of terse output comes a line's end.
const COLUMNS: usize = 88;

impl<W: Write> Report<W> {
    /// Begins: so many tests will come.
    ///
    /// # Errors
    ///
    /// The output cannot be written; so for all that follow.
    pub fn begin(mut out: W, style: Style, count: usize) -> io::Result<Self> {
        let tests = if count == 1 { "test" } else { "tests" };
        writeln!(out, "\nrunning {count} {tests}")?;
        out.flush()?;
        Ok(Self { out, style, counts: Counts::default(), kept: Vec::new(), column: 0 })
    }

    /// A test has ended.
    #[allow(clippy::missing_errors_doc, reason = "see `begin`")]
    pub fn ended(&mut self, selected: &Selected<'_>, result: Result) -> io::Result<()> {
        let (word, letter, color) = match result.verdict {
            Verdict::Passed => ("ok", ".", 32),
            Verdict::Failed(_) => ("FAILED", "F", 31),
            Verdict::Ignored => ("ignored", "i", 33),
        };
        if self.style.terse {
            self.colored(letter, color)?;
            self.column += 1;
            if self.column == COLUMNS {
                writeln!(self.out)?;
                self.column = 0;
            }
        } else {
            let panics = if selected.test.should_panic { " - should panic" } else { "" };
            write!(self.out, "test {}{panics} ... ", result.name)?;
            self.colored(word, color)?;
            writeln!(self.out)?;
        }
        self.out.flush()?;
        match result.verdict {
            Verdict::Passed => self.counts.passed += 1,
            Verdict::Failed(_) => self.counts.failed += 1,
            Verdict::Ignored => self.counts.ignored += 1,
        }
        if matches!(result.verdict, Verdict::Failed(_)) || self.style.show_output {
            self.kept.push(result);
        }
        Ok(())
    }

    /// All have ended. Writes what failed, and sums up.
    #[allow(clippy::missing_errors_doc, reason = "see `begin`")]
    pub fn end(mut self, left_out: usize, time: Duration) -> io::Result<Counts> {
        if self.style.terse && self.column > 0 {
            writeln!(self.out)?;
        }
        self.kept.sort_by(|a, b| a.name.cmp(&b.name));
        let (failed, passed): (Vec<Result>, Vec<Result>) = std::mem::take(&mut self.kept)
            .into_iter()
            .filter(|result| result.verdict != Verdict::Ignored)
            .partition(|result| matches!(result.verdict, Verdict::Failed(_)));
        if !passed.is_empty() {
            self.section("successes", &passed)?;
        }
        if !failed.is_empty() {
            self.section("failures", &failed)?;
        }
        write!(self.out, "\ntest result: ")?;
        if self.counts.failed > 0 { self.colored("FAILED", 31) } else { self.colored("ok", 32) }?;
        let Counts { passed, failed, ignored } = self.counts;
        writeln!(
            self.out,
            ". {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {left_out} filtered out; finished in {:.2}s\n",
            time.as_secs_f64()
        )?;
        self.out.flush()?;
        Ok(self.counts)
    }

    fn section(&mut self, title: &str, results: &[Result]) -> io::Result<()> {
        writeln!(self.out, "\n{title}:\n")?;
        for Result { name, verdict, written } in results {
            let Written { bytes, dropped, .. } = written;
            let why = if let Verdict::Failed(why) = verdict { why.as_str() } else { "" };
            if bytes.is_empty() && why.is_empty() {
                continue;
            }
            writeln!(self.out, "---- {name} stdout ----")?;
            if *dropped > 0 {
                writeln!(self.out, "({dropped} bytes before these are left out)")?;
            }
            self.out.write_all(bytes)?;
            if !bytes.is_empty() && !bytes.ends_with(b"\n") {
                writeln!(self.out)?;
            }
            if !why.is_empty() {
                writeln!(self.out, "{why}")?;
            }
            writeln!(self.out)?;
        }
        writeln!(self.out, "\n{title}:")?;
        for Result { name, .. } in results {
            writeln!(self.out, "    {name}")?;
        }
        Ok(())
    }

    fn colored(&mut self, text: &str, color: u8) -> io::Result<()> {
        if self.style.color {
            write!(self.out, "\x1b[{color}m{text}\x1b[0m")
        } else {
            write!(self.out, "{text}")
        }
    }
}

/// Lists tests; in the terse format without a count.
///
/// # Errors
///
/// The output cannot be written.
pub fn list(out: &mut impl Write, tests: &[Selected<'_>], terse: bool) -> io::Result<()> {
    for Selected { test, .. } in tests {
        writeln!(out, "{}: test", test.name)?;
    }
    if !terse {
        let plural = if tests.len() == 1 { "test" } else { "tests" };
        writeln!(out, "\n{} {plural}, 0 benchmarks", tests.len())?;
    }
    out.flush()
}

#[cfg(test)]
#[path = "report_test.rs"]
mod tests;
