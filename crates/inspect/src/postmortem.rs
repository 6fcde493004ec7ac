//! Looking into a machine that has ended.

use std::path::Path;

use strata_vmm::kvm::CallError;
use strata_vmm::machine::{BuildError, Fatal, InputLog, Place, ReplayBudget, ReplayError, replay};
use strata_vmm::vcpu::{FlightRecorder, Vcpu as _};
use strata_vmm::{Machine, Outcome, Stop};

use crate::explain::{Death, DeviceRange, Explanation, Facts, Kind, LastExit, Sentence, explain};
use crate::{Symbols, View, flight};

/// What has to be known of a machine before it runs, to look into it when it is dead.
#[derive(Debug, Clone)]
pub struct Postmortem {
    interrupt_controller: bool,
    several: bool,
    /// Whether it can be run again; otherwise it is not even built again, which would open its disks and sockets twice.
    repeatable: bool,
    places: Vec<Place>,
    /// What could be told of its end before it began.
    warnings: Vec<String>,
}

/// What watched a vCPU.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watched<'a> {
    /// Its last exits.
    pub recorder: Option<&'a FlightRecorder>,
    /// The answers to its reads, for a replay.
    pub input: Option<&'a InputLog>,
}

/// What was found out about an end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The last exits of the vCPU that ended the machine, a line each, the oldest first.
    pub exits: Vec<String>,
    /// Why it ended.
    pub explanation: Explanation,
    /// The guest before its last instruction, if it had to be run again.
    pub fatal: Option<Box<Fatal>>,
}

/// Why a machine cannot be run again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepeatError {
    /// Nobody kept the answers to its reads.
    #[error("the answers to its reads were not kept: it has several processors, or virtio devices")]
    NoInput,
    /// The image cannot be had again: a pipe, for instance.
    #[error("its image cannot be read again")]
    NoImage,
    /// It was tried.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// Where a host shows that its KVM is a PVM.
const PVM: &str = "/sys/module/kvm_pvm";

/// How many instructions a guest is followed that did not come to its end.
const TRAIL: usize = 512;

impl Postmortem {
    /// Of this machine, which is about to run.
    pub fn of(machine: &Machine) -> Self {
        Self {
            interrupt_controller: machine.has_irqchip(),
            several: machine.cpus() > 1,
            repeatable: machine.can_be_replayed(),
            places: machine.places(),
            warnings: machine.entry_warnings().iter().map(ToString::to_string).collect(),
        }
    }

    /// Finds out why the machine ended as it did. Where its end says little, its vCPU is stepped on, or the machine that
    /// `again` builds is run to its last instruction. `None` where the vCPU is gone.
    ///
    /// # Errors
    ///
    /// The call that failed.
    pub fn look<T>(
        &self,
        outcome: &mut Outcome<T>,
        symbols: Option<&Symbols>,
        watched: impl Fn(&T) -> Watched<'_>,
        again: Option<&dyn Fn() -> Result<Machine, BuildError>>,
    ) -> Result<Option<Finding>, CallError> {
        let stop = outcome.stop.clone();
        let index = outcome.stopped_by.unwrap_or(0);
        let Some(vcpu) = outcome.vcpus.iter_mut().find(|vcpu| vcpu.index == index) else { return Ok(None) };
        let state = vcpu.vcpu.state()?;
        let no_exits = FlightRecorder::default();
        let Watched { recorder, input } = watched(&vcpu.tracer);
        let recorder = recorder.unwrap_or(&no_exits);
        let last: Vec<_> = recorder.exits().map(LastExit::from).collect();
        let recorder = recorder.clone();
        // As far as it is needed when the outcome is borrowed again.
        let input = input.filter(|_| self.repeatable).cloned();
        let trail = match stop {
            // Where the host cannot step, there is that much less to say.
            Stop::Budget(_) => outcome.trail(index, TRAIL).unwrap_or_default(),
            _ => Vec::new(),
        };
        let machine = Facts {
            interrupt_controller: self.interrupt_controller,
            emulated: Path::new(PVM).exists(),
            devices: self.places.iter().map(DeviceRange::from).collect(),
        };
        let death = |view, trail| {
            let vcpu = self.several.then_some(index);
            explain(&Death { stop: &stop, view, vcpu, symbols, exits: &last, trail, machine: &machine })
        };
        let mut explanation = death(View::new(outcome.ram().memory(), &state), &trail);
        let mut fatal = None;
        if explanation.kind == Kind::StateGone {
            match repeat(input.as_ref(), again) {
                Ok(found) => {
                    explanation = death(View::new(found.ram().memory(), &found.state), &found.trail);
                    fatal = Some(found);
                }
                Err(why) => {
                    let causes =
                        std::iter::successors(std::error::Error::source(&why), |cause| cause.source());
                    let why = causes.fold(why.to_string(), |line, cause| format!("{line}: {cause}"));
                    let text = format!("running it again does not show what happened: {why}");
                    explanation.sentences.push(Sentence { text, ..Sentence::default() });
                }
            }
        }
        let view = match fatal.as_deref() {
            Some(found) => View::new(found.ram().memory(), &found.state),
            None => View::new(outcome.ram().memory(), &state),
        };
        let exits = flight::lines_of(&recorder, symbols, &view, &self.places);
        if explanation.is_accusation() {
            explanation
                .hints
                .extend(self.warnings.iter().map(|warning| format!("the state at the start: {warning}")));
        }
        Ok(Some(Finding { exits, explanation, fatal }))
    }
}

/// Runs a machine once more to its last instruction.
fn repeat(
    input: Option<&InputLog>,
    again: Option<&dyn Fn() -> Result<Machine, BuildError>>,
) -> Result<Box<Fatal>, RepeatError> {
    let input = input.ok_or(RepeatError::NoInput)?;
    let again = again.ok_or(RepeatError::NoImage)?;
    Ok(replay(again, input, ReplayBudget::default()).map(Box::new)?)
}
