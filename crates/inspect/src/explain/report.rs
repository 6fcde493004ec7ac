//! What an explanation consists of, and how it reads.

use std::fmt;

use serde::Serialize;

/// Why a guest ended, as a value that can be printed and serialised.
///
/// [`Display`](fmt::Display) is the report, over several lines, without a newline at its end; [`summary`](Self::summary) is one
/// line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// What kind of end it was.
    pub kind: Kind,
    /// The first line: what happened.
    pub headline: String,
    /// The linear address of the guilty instruction, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rip: Option<String>,
    /// The first exception: `#PF`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// What is known, in the order in which it happened.
    pub sentences: Vec<Sentence>,
    /// The registers at the end, in lines; where KVM or the processor gave up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registers: Vec<String>,
    /// What to look at.
    pub hints: Vec<String>,
    /// The guest did something wrong.
    pub accusation: bool,
}

/// What kind of end it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// An exception that found no handler.
    TripleFault,
    /// The same, on a host that has reset the processor before anybody could look: it takes a replay.
    StateGone,
    /// KVM gave up.
    InternalError,
    /// The processor did not start.
    FailedEntry,
    /// KVM could not reach the guest's memory.
    MemoryFault,
    /// It sleeps for ever, and meant to.
    Halt,
    /// It sleeps for an interrupt that nothing can send.
    EndlessHalt,
    /// Its time was used up in a loop that only an interrupt could end, and interrupts are off.
    Spin,
    /// Its exits were used up by asking where nobody answers.
    Poll,
    /// It used up what it was given, and nothing is wrong with that.
    Budget,
    /// Anything else.
    Other,
}

/// One thing that is known, and its details.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// A sentence without its full stop.
    pub text: String,
    /// Lines that go with it: the instruction, the walk through the page tables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl Explanation {
    pub(super) fn new(kind: Kind, headline: impl Into<String>) -> Self {
        Self {
            kind,
            headline: headline.into(),
            rip: None,
            exception: None,
            sentences: Vec::new(),
            registers: Vec::new(),
            hints: Vec::new(),
            accusation: true,
        }
    }

    /// One that accuses nobody.
    pub(super) fn neutral(kind: Kind, headline: impl Into<String>) -> Self {
        Self { accusation: false, ..Self::new(kind, headline) }
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.tell(text, Vec::new());
    }

    pub(super) fn tell(&mut self, text: impl Into<String>, details: Vec<String>) {
        self.sentences.push(Sentence { text: text.into(), details });
    }

    pub(super) fn hint(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.hints.contains(&text) {
            self.hints.push(text);
        }
    }

    /// Whether the guest is said to have done something wrong. A guest that ended well, or of which nothing is known, is not
    /// accused.
    pub fn is_accusation(&self) -> bool {
        self.accusation
    }

    /// All sentences in one line; the headline if there are none.
    pub fn summary(&self) -> String {
        let sentences: Vec<_> = self.sentences.iter().map(|sentence| sentence.text.as_str()).collect();
        if sentences.is_empty() { self.headline.clone() } else { sentences.join("; ") }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        for Sentence { text, details } in &self.sentences {
            write!(f, "\n  {text}")?;
            details.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
        }
        if !self.registers.is_empty() {
            f.write_str("\n  the registers then:")?;
            self.registers.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
        }
        self.hints.iter().try_for_each(|hint| write!(f, "\n  look at: {hint}"))
    }
}
