//! Recordings of runs: every exit of every vCPU, with the answers, as JSON lines (feature `cassette`).
//!
//! `strata run --record FILE` writes one; [`Replay`](crate::testing::Replay) plays it without KVM. The first line names
//! the format and its version; each later one belongs to a vCPU and is the state it was entered with, one exit, or the
//! state it was left in.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use strata_cpu::X86State;

use crate::saved::StateV1;
use crate::vcpu::{Exit, ExitRecord, Synced, Tracer};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Title {
    #[serde(rename = "strata-cassette")]
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    vcpu: u8,
    event: Event,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Event {
    Entry(Box<StateV1>),
    Exit(ExitRecord),
    Last(Box<StateV1>),
}

/// Writes a recording while a machine runs. A clone writes to the same one.
#[derive(Debug, Clone)]
pub struct Recorder<W>(Arc<Mutex<Tapes<W>>>);

#[derive(Debug)]
struct Tapes<W> {
    out: W,
    /// The first write that failed. Nothing is written after it: a recording has no holes.
    failed: Option<io::Error>,
}

impl<W: Write + Send> Recorder<W> {
    /// Begins a recording on `out`; a buffered writer is a good idea.
    ///
    /// # Errors
    ///
    /// The first line cannot be written.
    pub fn new(mut out: W) -> io::Result<Self> {
        write_line(&mut out, &Title { version: VERSION })?;
        Ok(Self(Arc::new(Mutex::new(Tapes { out, failed: None }))))
    }

    /// Notes the state that `vcpu` is entered with.
    pub fn entry(&self, vcpu: u8, state: &X86State) {
        self.line(vcpu, Event::Entry(Box::new(state.into())));
    }

    /// Notes the state that `vcpu` was left in.
    pub fn last(&self, vcpu: u8, state: &X86State) {
        self.line(vcpu, Event::Last(Box::new(state.into())));
    }

    /// What notes the exits of `vcpu`.
    pub fn tracer(&self, vcpu: u8) -> VcpuRecorder<W> {
        VcpuRecorder { recorder: Self(Arc::clone(&self.0)), vcpu }
    }

    /// Ends the recording.
    ///
    /// # Errors
    ///
    /// The first write that failed; the recording ends before it.
    pub fn finish(self) -> io::Result<()> {
        let mut tapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tapes.failed.take() {
            Some(error) => Err(error),
            None => tapes.out.flush(),
        }
    }

    fn line(&self, vcpu: u8, event: Event) {
        let mut tapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tapes.failed.is_none() {
            tapes.failed = write_line(&mut tapes.out, &Line { vcpu, event }).err();
        }
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// Records the exits of one vCPU.
#[derive(Debug)]
pub struct VcpuRecorder<W> {
    recorder: Recorder<W>,
    vcpu: u8,
}

impl<W: Write + Send> Tracer for VcpuRecorder<W> {
    fn exit(&mut self, exit: &Exit<'_>, _: Synced<'_>) {
        self.recorder.line(self.vcpu, Event::Exit(exit.into()));
    }
}

/// What was recorded of one vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tape {
    /// The state it was entered with.
    pub entry: StateV1,
    /// Its exits, with the answers to reads.
    pub exits: Vec<ExitRecord>,
    /// The state it was left in, if the run came to its end.
    pub last: Option<StateV1>,
}

/// A recorded run: a tape for each vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cassette {
    /// By vCPU.
    pub tapes: BTreeMap<u8, Tape>,
}

/// Why a file is no recording. Lines count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassetteError {
    /// The file cannot be read.
    #[error("cannot read the recording")]
    Read(#[source] io::Error),
    /// It does not begin as a recording.
    #[error("this is no recording of strata's: the first line has to be {{\"strata-cassette\":{VERSION}}}")]
    NoTitle,
    /// It is of another version.
    #[error("the recording has version {found}, this strata reads version {VERSION}: record the run again")]
    Version {
        /// The file's.
        found: u32,
    },
    /// A line is damaged.
    #[error("line {number} of the recording is damaged")]
    Line {
        /// Which.
        number: usize,
        /// How.
        source: serde_json::Error,
    },
    /// A line is not where it can be.
    #[error("line {number} of the recording: vCPU {vcpu} {what}")]
    Order {
        /// Which.
        number: usize,
        /// Whose.
        vcpu: u8,
        /// What is wrong.
        what: &'static str,
    },
}

impl Cassette {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// [`CassetteError`], with the line.
    pub fn read(from: impl BufRead) -> Result<Self, CassetteError> {
        let mut lines = (1..).zip(from.lines());
        let title = match lines.next() {
            Some((_, line)) => line.map_err(CassetteError::Read)?,
            None => return Err(CassetteError::NoTitle),
        };
        let Title { version } = serde_json::from_str(&title).map_err(|_| CassetteError::NoTitle)?;
        if version != VERSION {
            return Err(CassetteError::Version { found: version });
        }
        let mut tapes = BTreeMap::new();
        for (number, line) in lines {
            let line = line.map_err(CassetteError::Read)?;
            let Line { vcpu, event } =
                serde_json::from_str(&line).map_err(|source| CassetteError::Line { number, source })?;
            let wrong = |what| CassetteError::Order { number, vcpu, what };
            match (event, tapes.get_mut(&vcpu)) {
                (Event::Entry(entry), None) => {
                    tapes.insert(vcpu, Tape { entry: *entry, exits: Vec::new(), last: None });
                }
                (Event::Entry(_), Some(_)) => return Err(wrong("is entered twice")),
                (_, None) => return Err(wrong("has no entry state before this")),
                (_, Some(Tape { last: Some(_), .. })) => {
                    return Err(wrong("has come to its end before this"));
                }
                (Event::Exit(exit), Some(tape)) => tape.exits.push(exit),
                (Event::Last(last), Some(tape)) => tape.last = Some(*last),
            }
        }
        Ok(Self { tapes })
    }
}

#[cfg(test)]
#[path = "cassette_test.rs"]
mod tests;
