//! Which tests of a program are run.

use crate::cli::Harness;
use crate::image::GuestTest;

/// A test to be run or listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected<'a> {
    /// Its place among the records.
    pub index: usize,
    /// What is known of it.
    pub test: &'a GuestTest,
    /// Whether it is only mentioned.
    pub ignored: bool,
}

/// Those that the command line asks for, by name, and how many it leaves out.
pub fn select<'a>(tests: &'a [GuestTest], harness: &Harness) -> (Vec<Selected<'a>>, usize) {
    let matches = |test: &GuestTest, filter: &String| {
        if harness.exact { test.name == *filter } else { test.name.contains(filter.as_str()) }
    };
    let is_meant = |test: &GuestTest| {
        (harness.filters.is_empty() || harness.filters.iter().any(|filter| matches(test, filter)))
            && !harness.skip.iter().any(|filter| matches(test, filter))
            && (test.ignored || !harness.ignored)
            && !harness.bench
    };
    let mut selected: Vec<Selected<'_>> = tests
        .iter()
        .enumerate()
        .filter(|(_, test)| is_meant(test))
        .map(|(index, test)| Selected {
            index,
            test,
            ignored: test.ignored && !harness.ignored && !harness.include_ignored,
        })
        .collect();
    selected.sort_by(|a, b| a.test.name.cmp(&b.test.name));
    let left_out = tests.len() - selected.len();
    (selected, left_out)
}

#[cfg(test)]
#[path = "select_test.rs"]
mod tests;
