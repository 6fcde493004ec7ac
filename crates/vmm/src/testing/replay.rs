//! A vCPU that plays a recorded run.

use std::io;

use strata_cpu::X86State;

use crate::cassette::Tape;
use crate::kvm::{CallError, SoftKick, VcpuKicker, soft_kick};
use crate::vcpu::{Exit, ExitRecord, Vcpu};

/// Plays a [`Tape`], and holds every answer to a read against the recorded one, byte for byte.
#[derive(Debug)]
pub struct Replay {
    tape: Tape,
    /// How many exits have been played.
    played: usize,
    /// The exit that is out, to be answered.
    current: Option<ExitRecord>,
    state: X86State,
    kick: SoftKick,
}

/// How a replay differs from its recording. It comes as the source of a [`CallError`] named `replay`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A device answered something else than it did when the run was recorded.
    #[error("exit {number} was answered `{seen}`, the recording has `{recorded}`")]
    Answer {
        /// Which exit, from 0.
        number: usize,
        /// With the answer of now.
        seen: String,
        /// With the answer of then.
        recorded: String,
    },
    /// The run goes on where the recording ends.
    #[error("the recording ends after {exits} exits")]
    End {
        /// How many it has.
        exits: usize,
    },
    /// A recording holds the state at its beginning and at its end.
    #[error("the state after exit {played} is not in the recording, which has the first and the last")]
    State {
        /// How many exits have been played.
        played: usize,
    },
}

impl Replay {
    /// A vCPU that plays `tape` from its beginning.
    pub fn new(tape: Tape) -> Self {
        let state = X86State::from(&tape.entry);
        Self { tape, played: 0, current: None, state, kick: SoftKick::new() }
    }

    /// Whether all exits have been played.
    pub fn is_at_end(&self) -> bool {
        self.played == self.tape.exits.len()
    }

    /// Checks the answer to the exit that was out.
    fn check_answer(&mut self) -> Result<(), ReplayError> {
        let Some(seen) = self.current.take() else { return Ok(()) };
        let number = self.played.saturating_sub(1);
        match self.tape.exits.get(number) {
            Some(recorded) if *recorded != seen => {
                Err(ReplayError::Answer { number, seen: seen.to_string(), recorded: recorded.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> Result<&mut ExitRecord, ReplayError> {
        self.check_answer()?;
        let recorded =
            self.tape.exits.get(self.played).ok_or(ReplayError::End { exits: self.tape.exits.len() })?;
        self.played += 1;
        let mut record = recorded.clone();
        if let ExitRecord::PioRead { data, .. } | ExitRecord::MmioRead { data, .. } = &mut record {
            // The answer is the device's to give.
            data.fill(0);
        }
        Ok(self.current.insert(record))
    }
}

fn differs(error: ReplayError) -> CallError {
    CallError { call: "replay", source: io::Error::other(error) }
}

impl Vcpu for Replay {
    fn run(&mut self) -> Result<Exit<'_>, CallError> {
        match self.kick.enter() {
            soft_kick::Entry::Enter => self.next().map(ExitRecord::lend).map_err(differs),
            soft_kick::Entry::Kicked => Ok(Exit::Kicked),
            soft_kick::Entry::Interrupted => Ok(Exit::Interrupted),
        }
    }

    /// The state at the beginning, or as [`set_state`](Vcpu::set_state) left it, until the first exit; the recorded last
    /// one after the last.
    fn state(&mut self) -> Result<X86State, CallError> {
        self.check_answer().map_err(differs)?;
        match &self.tape.last {
            _ if self.played == 0 => Ok(self.state),
            Some(last) if self.is_at_end() => Ok(last.into()),
            _ => Err(differs(ReplayError::State { played: self.played })),
        }
    }

    fn set_state(&mut self, state: &X86State) -> Result<(), CallError> {
        self.state = *state;
        Ok(())
    }

    fn kicker(&self) -> VcpuKicker {
        self.kick.kicker()
    }
}
