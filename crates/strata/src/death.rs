//! How a run ended, and why.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use strata_inspect::core::{self, Addresses};
use strata_inspect::explain::{Death, DeviceRange, Explanation, Facts, Kind, LastExit, Sentence, explain};
use strata_inspect::{Symbols, View, flight};
use strata_vmm::config::Irqchip;
use strata_vmm::cpu::X86State;
use strata_vmm::file_fault::FileState;
use strata_vmm::kvm::CallError;
use strata_vmm::machine::{Fatal, Place, ReplayBudget, replay};
use strata_vmm::vcpu::{FlightRecorder, Vcpu as _};
use strata_vmm::{Config, Machine, Outcome, Stop};

use crate::cli::{InspectOptions, RunOptions};
use crate::in_one_line;
use crate::mapping;
use crate::message::{say, show};
use crate::run::Error;
use crate::tracing::{TraceError, symbols};
use crate::watch::{Flight, Watched};

/// What has to be known of a machine before it runs, for when it is dead.
pub(crate) struct Case<'a> {
    pub(crate) options: &'a RunOptions,
    pub(crate) config: &'a Config,
    pub(crate) places: Vec<Place>,
    pub(crate) symbols: Option<Arc<Symbols>>,
    /// What could be told of its end before it began.
    warnings: Vec<String>,
}

/// How a run ended, and what is to be said about it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) stop: Stop,
    /// A file that was meddled with.
    blame: Option<&'static str>,
    /// The last exits of the vCPU that ended it, a line each, the oldest first; of an abnormal end.
    pub(crate) exits: Vec<String>,
    pub(crate) explanation: Option<Explanation>,
}

/// How many instructions a guest is followed that did not come to its end.
const TRAIL: usize = 512;

impl<'a> Case<'a> {
    pub(crate) fn of(
        options: &'a RunOptions,
        config: &'a Config,
        machine: &Machine,
    ) -> Result<Self, TraceError> {
        // Those of the image can wait until they are needed, which for most runs is never.
        let needed = options.inspect.watches() || options.inspect.symbols.is_some();
        let symbols = if needed { symbols(&options.inspect, &config.image)? } else { None };
        let warnings = machine.entry_warnings().iter().map(ToString::to_string).collect();
        Ok(Self { options, config, places: machine.places(), symbols: symbols.map(Arc::new), warnings })
    }

    /// What a vCPU is watched by.
    pub(crate) fn flight(&self) -> Flight {
        if self.options.inspect.no_recorder { Flight::default() } else { Flight::of(self.config) }
    }

    /// Looks at a machine that has ended. Where its end says little, its vCPU is stepped on, or the run is repeated.
    pub(crate) fn close<T: Watched>(&self, outcome: &mut Outcome<T>) -> End {
        let (end, fatal) = self.judge(outcome);
        let inspect = &self.options.inspect;
        if let Some(path) = inspect.core.as_ref().filter(|_| is_abnormal(&end.stop)) {
            save_core(path, outcome, fatal.as_deref());
        }
        if let Some(path) = &inspect.map {
            self.save_map(path, outcome, fatal.as_deref());
        }
        end
    }

    /// How a machine ended and why; with the guest before its last instruction, if it had to be run again.
    fn judge<T: Watched>(&self, outcome: &mut Outcome<T>) -> (End, Option<Box<Fatal>>) {
        let stop = outcome.stop.clone();
        let blame = blame(&stop, outcome.files());
        let mut end = End { stop, blame, exits: Vec::new(), explanation: None };
        let abnormal = is_abnormal(&end.stop);
        let InspectOptions { no_recorder, core, map, .. } = &self.options.inspect;
        let unwanted = *no_recorder && core.is_none() && map.is_none();
        if unwanted || !(abnormal || end.stop == Stop::Halted) {
            return (end, None);
        }
        let Found { exits, explanation, fatal } = match self.look(outcome, &end.stop) {
            Ok(Some(found)) => found,
            Ok(None) => return (end, None),
            Err(error) => {
                say(&format!("cannot look into the guest: {error}"));
                return (end, None);
            }
        };
        if !no_recorder {
            end.exits = if abnormal { exits } else { Vec::new() };
            end.explanation = Some(explanation);
        }
        (end, fatal)
    }

    /// Writes the map of a machine that has ended.
    fn save_map<T: Watched>(&self, path: &Path, outcome: &mut Outcome<T>, fatal: Option<&Fatal>) {
        let index = outcome.stopped_by.unwrap_or(0);
        let state = match fatal {
            Some(fatal) => Some(Ok(fatal.state)),
            None => outcome.vcpus.iter_mut().find(|it| it.index == index).map(|it| it.vcpu.state()),
        };
        let ram = fatal.map_or(outcome.ram(), Fatal::ram);
        let written = match state {
            Some(Ok(state)) => mapping::write(path, ram, &self.places, &state),
            Some(Err(error)) => Err(Error::State(error)),
            None => Err(Error::NoVcpu),
        };
        if let Err(error) = written {
            say(&in_one_line(&error));
        }
    }

    /// Finds out why a machine ended as it did. `None` where the vCPU is gone.
    fn look<T: Watched>(&self, outcome: &mut Outcome<T>, stop: &Stop) -> Result<Option<Found>, CallError> {
        let index = outcome.stopped_by.unwrap_or(0);
        let Some(vcpu) = outcome.vcpus.iter_mut().find(|vcpu| vcpu.index == index) else { return Ok(None) };
        let state = vcpu.vcpu.state()?;
        let no_exits = FlightRecorder::default();
        let recorder = vcpu.tracer.flight().recorder.as_ref().unwrap_or(&no_exits);
        let last: Vec<_> = recorder.exits().map(LastExit::from).collect();
        let own = if self.symbols.is_none() { self.image_symbols() } else { None };
        let symbols = self.symbols.as_deref().or(own.as_ref());
        let exits = flight::lines(recorder, symbols);
        let trail = match stop {
            Stop::Budget(_) => outcome.trail(index, TRAIL)?,
            _ => Vec::new(),
        };
        let devices = self.places.iter().map(DeviceRange::from).collect();
        let machine = Facts {
            interrupt_controller: self.config.irqchip == Irqchip::Kernel,
            emulated: Path::new(PVM).exists(),
            devices,
        };
        let several = (self.config.cpus > 1).then_some(index);
        let death = |view, trail| {
            explain(&Death { stop, view, vcpu: several, symbols, exits: &last, trail, machine: &machine })
        };
        let mut explanation = death(View::new(outcome.ram().memory(), &state), &trail);
        let mut fatal = None;
        if explanation.kind == Kind::StateGone {
            match self.repeat(outcome) {
                Ok(found) => {
                    explanation = death(View::new(found.ram().memory(), &found.state), &found.trail);
                    fatal = Some(found);
                }
                Err(why) => {
                    let text = format!("running it again does not show what happened: {why}");
                    explanation.sentences.push(Sentence { text, ..Sentence::default() });
                }
            }
        }
        if explanation.is_accusation() {
            explanation.hints.extend(self.warnings.iter().map(|warning| format!("at the start: {warning}")));
        }
        Ok(Some(Found { exits, explanation, fatal }))
    }

    /// The symbols of the image itself, where there are any to be had.
    fn image_symbols(&self) -> Option<Symbols> {
        symbols(&self.options.inspect, &self.config.image).ok().flatten()
    }

    /// Runs the machine once more to its last instruction.
    fn repeat<T: Watched>(&self, outcome: &Outcome<T>) -> Result<Box<Fatal>, String> {
        let input = outcome.vcpus.first().and_then(|vcpu| vcpu.tracer.flight().input.as_ref());
        let Some(input) = input else {
            return Err(
                "a machine of several processors, or with virtio devices, cannot be repeated".to_owned()
            );
        };
        if !self.config.image.is_file() {
            return Err(format!("{} is no file that could be read again", self.config.image.display()));
        }
        let build = || Machine::builder(self.config.clone()).build();
        replay(build, input, ReplayBudget::default()).map(Box::new).map_err(|error| in_one_line(&error))
    }
}

/// What was found out about an end.
struct Found {
    exits: Vec<String>,
    explanation: Explanation,
    /// The guest before its last instruction, if it had to be run again.
    fatal: Option<Box<Fatal>>,
}

/// Where a host shows that its KVM is a PVM.
const PVM: &str = "/sys/module/kvm_pvm";

impl End {
    /// Says on standard error how the guest ended, with the last of its exits if that was not well.
    pub(crate) fn say(&self, exits: usize) {
        say(&self.stop.to_string());
        if let Some(blame) = self.blame {
            say(blame);
        }
        let mut text = String::new();
        let shown = self.exits.len().min(exits);
        if let Some(last) = self.exits.get(self.exits.len() - shown..).filter(|last| !last.is_empty()) {
            text.push_str(if shown == 1 { "\nits last exit:\n" } else { "\nits last exits:\n" });
            // Writing to a string does not fail.
            let _ = last.iter().try_for_each(|line| writeln!(text, "  {line}"));
        }
        let tells = |found: &&Explanation| found.is_accusation() || !found.sentences.is_empty();
        if let Some(explanation) = self.explanation.as_ref().filter(tells) {
            let _ = write!(text, "\n{explanation}");
        }
        if !text.is_empty() {
            show(&text);
        }
    }
}

/// Writes the core dump of a machine that has ended.
fn save_core<T: Watched>(path: &Path, outcome: &mut Outcome<T>, fatal: Option<&Fatal>) {
    let states: Result<Vec<X86State>, _> = match fatal {
        // The vCPU itself knows nothing any more.
        Some(fatal) => Ok(vec![fatal.state]),
        None => outcome.vcpus.iter_mut().map(|vcpu| vcpu.vcpu.state()).collect(),
    };
    let ram = fatal.map_or(outcome.ram(), Fatal::ram);
    let saved = states.map_err(|error| error.to_string()).and_then(|states| {
        core::save(path, ram.memory(), &states, Addresses::Linear).map_err(|error| in_one_line(&error))
    });
    match saved {
        Ok(_) => say(&format!("core dump: {}", path.display())),
        Err(error) => say(&error),
    }
}

/// Whether the flight recorder is to be shown: the guest did not end by itself, nor because somebody wanted it to.
fn is_abnormal(stop: &Stop) -> bool {
    !matches!(
        stop,
        Stop::Halted
            | Stop::PowerOff
            | Stop::Reset
            | Stop::Debug(_)
            | Stop::DebugExit { .. }
            | Stop::OutputClosed
            | Stop::OutputFailed { .. }
            | Stop::Interrupted
    )
}

/// A guest whose kernel or initrd was meddled with, and which then failed.
fn blame(stop: &Stop, files: FileState) -> Option<&'static str> {
    match stop {
        Stop::VcpuFailed { .. }
        | Stop::MemoryFault { .. }
        | Stop::InternalError { .. }
        | Stop::TripleFault
        | Stop::Panicked => {}
        _ => return None,
    }
    match files {
        FileState::Intact => None,
        FileState::Changed => Some(
            "the kernel's or the initrd's file was changed while the guest ran on it: \
             replace such a file by renaming another one, not in place",
        ),
        FileState::Shrunk => Some(
            "the kernel's or the initrd's file was cut off while the guest ran on it: \
             replace such a file by renaming another one, not in place",
        ),
    }
}
