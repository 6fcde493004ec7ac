//! What the guest's output has to show.

use regex_lite::{Regex, RegexBuilder};

/// A regular expression, found in one line of the output.
#[derive(Debug, Clone)]
pub struct Expect(Regex);

/// The expression is none.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text:?} is no regular expression")]
pub struct ExpectError {
    text: String,
    source: regex_lite::Error,
}

impl Expect {
    /// The expression in `text`, in the notation of the crate `regex-lite`.
    ///
    /// # Errors
    ///
    /// It is none, or too large.
    pub fn new(text: &str) -> Result<Self, ExpectError> {
        let built = RegexBuilder::new(text).build();
        built.map(Self).map_err(|source| ExpectError { text: text.to_owned(), source })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        self.0.as_str()
    }

    /// Whether a line has it; what is no UTF-8 is replaced.
    pub fn is_in(&self, line: &[u8]) -> bool {
        self.0.is_match(String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']))
    }
}

/// Looks for an expression in output that comes piece by piece.
#[derive(Debug)]
pub struct Search {
    expect: Expect,
    line: Vec<u8>,
    found: bool,
}

impl Search {
    /// How much of a line is searched: its first part.
    const LONGEST: usize = 64 << 10;

    /// A search from the start.
    pub fn new(expect: Expect) -> Self {
        Self { expect, line: Vec::new(), found: false }
    }

    /// Looks at more output; whether the expression has been found, now or before.
    ///
    /// A line is looked at when it ends: an expression could match its first half, and not all of it.
    pub fn push(&mut self, data: &[u8]) -> bool {
        for &byte in data {
            if byte == b'\n' {
                self.end();
            } else if self.line.len() < Self::LONGEST {
                self.line.push(byte);
            }
        }
        self.found
    }

    /// The output has ended, maybe in the middle of a line; whether the expression has been found.
    pub fn end(&mut self) -> bool {
        self.found = self.found || self.expect.is_in(&self.line);
        self.line.clear();
        self.found
    }
}

#[cfg(test)]
#[path = "expect_test.rs"]
mod tests;
