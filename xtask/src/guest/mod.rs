//! Guests: found in guests/ and guests/broken/, described by their headers, run, and compared with what they must do.
//!
//! `header` says what must come out, `report` what did, `expect` compares the two (`notation` is how exits are written
//! in both, `diff` how a difference is shown), `run` makes it happen, here or by `in_rig`.

mod diff;
mod expect;
mod header;
mod in_rig;
mod notation;
mod report;
mod run;
#[cfg(test)]
mod samples;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub(crate) use expect::{Deviation, Kind};
pub(crate) use header::{Bytes, Header, HeaderError, Number, split};
#[cfg(test)]
pub(crate) use run::Failure;
pub(crate) use run::{Outcome, Row, Runner, Seen, Show, run_all};

/// The folder, below the guests', of those that do something wrong on purpose.
pub(crate) const BROKEN: &str = "broken";

/// One guest: an assembler file with a header.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The file's name without `.asm`; `broken/` before it if it is one of those.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
}

/// Why a guest could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    /// The folder or the file can't be read.
    #[error("could not read {path}")]
    Read { path: String, source: io::Error },
    /// The header is missing or wrong.
    #[error("{path}:{line}: {message}")]
    Header { path: String, line: usize, message: HeaderError },
    /// No guest has this name.
    #[error("there is no guest `{name}`{}; `cargo xtask run-guest --list` lists them all", did_you_mean(.near))]
    Unknown { name: String, near: Vec<String> },
}

fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

impl Guest {
    /// Reads the guest in the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, GuestError> {
        let shown = || path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| GuestError::Read { path: shown(), source })?;
        let header = Header::parse(&text).map_err(|(line, message)| GuestError::Header {
            path: shown(),
            line,
            message,
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, path: path.to_owned(), header })
    }

    /// Reads the guest of this name in `folder`.
    fn of(folder: &Path, name: String) -> Result<Self, GuestError> {
        let guest = Self::read(&folder.join(format!("{name}.asm")))?;
        Ok(Self { name, ..guest })
    }

    /// Every guest in `folder`, by name, and then those in [`BROKEN`] below it. What guests include is in another
    /// folder below.
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>, GuestError> {
        names(folder)?.into_iter().map(|name| Self::of(folder, name)).collect()
    }

    /// The guest that somebody means by `word`: a name in `folder`, or the path of an `.asm` file.
    pub(crate) fn named(folder: &Path, word: &str) -> Result<Self, GuestError> {
        if Path::new(word).extension().is_some_and(|ending| ending == "asm") {
            return Self::read(Path::new(word));
        }
        let names = names(folder)?;
        if names.iter().any(|name| name == word) {
            return Self::of(folder, word.to_owned());
        }
        let near = names.into_iter().filter(|name| is_near(word, name)).collect();
        Err(GuestError::Unknown { name: word.to_owned(), near })
    }
}

/// The guests in `folder`, and in [`BROKEN`] below it if that is there.
fn names(folder: &Path) -> Result<Vec<String>, GuestError> {
    let mut names = names_in(folder)?;
    let broken = folder.join(BROKEN);
    if broken.is_dir() {
        names.extend(names_in(&broken)?.into_iter().map(|name| format!("{BROKEN}/{name}")));
    }
    Ok(names)
}

fn names_in(folder: &Path) -> Result<Vec<String>, GuestError> {
    let failed = |source| GuestError::Read { path: folder.display().to_string(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "asm")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether somebody who typed `word` may have meant `name`.
fn is_near(word: &str, name: &str) -> bool {
    name.contains(word) || edits(word, name) <= 1 + word.len() / 4
}

/// How many characters must be put in, left out or replaced to make `a` into `b` (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // `row[j]`: the distance between what was seen of `a` and the first `j` characters of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "mod_test.rs"]
mod tests;
