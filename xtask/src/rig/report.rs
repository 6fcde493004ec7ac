//! What the emulated host says over its report port while it runs the commands; `init.sh` is the other side.
//!
//! Lines of words, some of which are followed by as many raw bytes as they say. So nothing that a command prints can
//! be mistaken for a report.

use std::io::{self, BufRead, Read};
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

/// Longest file sent: a number that is wrong must not use up all memory.
const LONGEST: u64 = 1 << 30;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: u8,
    pub(super) time: Duration,
    /// The files asked for, none where there was no such file; before them, where they are captured, standard
    /// output and standard error.
    pub(super) blobs: Vec<Option<Vec<u8>>>,
}

/// One thing said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The emulated host is up, after this time by its own clock.
    Ready(Duration),
    /// It has no /dev/kvm.
    NoKvm,
    /// It starts the command of this number.
    Began(usize),
    /// That command has ended.
    Ended(usize, Ended),
    /// The files of `/out` are on the disk.
    Archived,
    /// All is done.
    End,
}

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("could not read the emulated host's report")]
    Read(#[source] io::Error),
    #[error("could not understand the emulated host's report: {0:?}")]
    Garbled(Vec<u8>),
}

/// Reads to the end and gives `tell` what was said.
pub(super) fn read(mut from: impl BufRead, tell: &mut dyn FnMut(Event)) -> Result<(), ReportError> {
    let mut began = Duration::ZERO;
    let mut current: Option<(usize, Ended)> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line).map_err(ReportError::Read)? == 0 {
            return Ok(());
        }
        let garbled = || ReportError::Garbled(line.clone());
        let text = std::str::from_utf8(&line).map_err(|_| garbled())?;
        let mut words = text.split_whitespace();
        match (words.next(), &mut current) {
            (Some("ready"), None) => tell(Event::Ready(seconds(&mut words).ok_or_else(garbled)?)),
            (Some("no-kvm"), None) => tell(Event::NoKvm),
            (Some("began"), None) => {
                let number = next(&mut words).ok_or_else(garbled)?;
                began = seconds(&mut words).ok_or_else(garbled)?;
                tell(Event::Began(number));
            }
            (Some("ended"), None) => {
                let number = next(&mut words).ok_or_else(garbled)?;
                let code = next(&mut words).ok_or_else(garbled)?;
                let time = seconds(&mut words).ok_or_else(garbled)?.saturating_sub(began);
                current = Some((number, Ended { code, time, blobs: Vec::new() }));
            }
            (Some("blob"), Some((_, sent))) => {
                let length: u64 = next(&mut words).filter(|&length| length <= LONGEST).ok_or_else(garbled)?;
                let mut bytes = Vec::new();
                (&mut from).take(length).read_to_end(&mut bytes).map_err(ReportError::Read)?;
                if bytes.len() as u64 != length {
                    return Err(ReportError::Read(io::ErrorKind::UnexpectedEof.into()));
                }
                sent.blobs.push(Some(bytes));
            }
            (Some("none"), Some((_, sent))) => sent.blobs.push(None),
            (Some("done"), Some(_)) => {
                if let Some((number, ended)) = current.take() {
                    tell(Event::Ended(number, ended));
                }
            }
            (Some("archived"), None) => tell(Event::Archived),
            (Some("end"), None) => tell(Event::End),
            _ => return Err(garbled()),
        }
    }
}

fn next<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

/// A number of seconds such as `12.34`.
fn seconds(words: &mut SplitWhitespace<'_>) -> Option<Duration> {
    Duration::try_from_secs_f64(next(words)?).ok()
}

#[cfg(test)]
#[path = "report_test.rs"]
mod tests;
