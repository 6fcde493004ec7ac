//! How a run ended, and why.

use std::sync::Arc;

use strata_inspect::Symbols;
use strata_inspect::explain::Explanation;
use strata_inspect::postmortem::{Finding, Postmortem};
use strata_vmm::boot::Loaded;
use strata_vmm::file_fault::FileState;
use strata_vmm::kvm::CallError;
use strata_vmm::machine::{Fatal, Place};
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Config, Machine, Outcome, Stop};

use crate::cli::RunOptions;
use crate::dump;
use crate::in_one_line;
use crate::mapping::Target;
use crate::message::{line, say, show};
use crate::run::Error;
use crate::tracing::{TraceError, symbols};
use crate::watch::{Flight, Mirror, Watched};

/// What has to be known of a machine before it runs, for when it is dead.
pub(crate) struct Case<'a> {
    pub(crate) options: &'a RunOptions,
    pub(crate) config: &'a Config,
    pub(crate) places: Vec<Place>,
    /// What was put into RAM.
    loaded: Vec<Loaded>,
    pub(crate) symbols: Option<Arc<Symbols>>,
    postmortem: Postmortem,
    /// The vCPUs' last exits, for a debugger to see.
    pub(crate) mirrors: Vec<Mirror>,
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
    /// What else is to be said.
    notes: Vec<String>,
    /// What could not be written of it.
    pub(crate) failures: Vec<Error>,
}

impl<'a> Case<'a> {
    pub(crate) fn of(
        options: &'a RunOptions,
        config: &'a Config,
        machine: &Machine,
    ) -> Result<Self, TraceError> {
        let found = match &options.inspect.symbols {
            Some(_) => symbols(&options.inspect, &config.image)?,
            // An image whose own are damaged does without.
            None if options.inspect.watches() => {
                symbols(&options.inspect, &config.image).unwrap_or_else(|error| {
                    if !options.quiet {
                        say(&format!("going on without symbols: {}", in_one_line(&error)));
                    }
                    None
                })
            }
            // They can wait until they are needed, which for most runs is never.
            None => None,
        };
        let postmortem = Postmortem::of(machine);
        let seen = if options.inspect.gdb.is_some() { machine.cpus() } else { 0 };
        let mirrors = (0..seen).map(|_| Mirror::default()).collect();
        Ok(Self {
            options,
            config,
            places: machine.places(),
            loaded: machine.loaded().to_vec(),
            symbols: found.map(Arc::new),
            postmortem,
            mirrors,
        })
    }

    /// What a vCPU is watched by, unless the user wants nothing.
    pub(crate) fn flight(&self) -> Option<Flight> {
        let flight = || {
            let flight = Flight::of(self.config);
            // A debugger's stops are exits too, which a replay does not have.
            if self.options.inspect.gdb.is_some() { flight.without_input() } else { flight }
        };
        (!self.options.inspect.no_recorder).then(flight)
    }

    /// Looks at a machine that has ended, and draws its map if that is wanted. Where its end says little, its vCPU is
    /// stepped on, or the run is repeated.
    pub(crate) fn close<T: Watched>(&self, outcome: &mut Outcome<T>, map: Option<Target<'_>>) -> End {
        let stop = outcome.stop.clone();
        let blame = blame(&stop, outcome.files());
        let mut end = End {
            stop,
            blame,
            exits: Vec::new(),
            explanation: None,
            notes: Vec::new(),
            failures: Vec::new(),
        };
        let abnormal = is_abnormal(&end.stop);
        let explains = !self.options.inspect.no_recorder;
        let core = self.options.inspect.core.as_deref().filter(|_| abnormal);
        let mut fatal = None;
        if explains && (abnormal || end.stop == Stop::Halted) || core.is_some() {
            match self.look(outcome) {
                Ok(Some(found)) => {
                    fatal = found.fatal;
                    if explains {
                        end.exits = if abnormal { found.exits } else { Vec::new() };
                        // A guest that just halted is not talked about.
                        end.explanation =
                            Some(found.explanation).filter(|found| abnormal || found.is_accusation());
                    }
                }
                Ok(None) => {}
                Err(error) => end.notes.push(format!("cannot look into the guest: {error}")),
            }
        }
        if let Some(path) = core {
            match dump::save(path, &self.config.image, outcome, fatal.as_deref()) {
                Ok(()) if self.options.quiet => {}
                Ok(()) => end.notes.push(format!("core dump: {}", path.display())),
                Err(error) => end.notes.push(error),
            }
        }
        end.failures.extend(map.and_then(|map| self.draw(map, outcome, fatal.as_deref()).err()));
        end
    }

    /// Draws the map of a machine that has ended.
    fn draw<T: Watched>(
        &self,
        map: Target<'_>,
        outcome: &mut Outcome<T>,
        fatal: Option<&Fatal>,
    ) -> Result<(), Error> {
        let (ram, state) = if let Some(fatal) = fatal {
            (fatal.ram(), fatal.state)
        } else {
            let first = outcome.vcpus.first_mut().ok_or(Error::NoVcpu)?;
            let state = first.vcpu.state().map_err(Error::State)?;
            (outcome.ram(), state)
        };
        Ok(map.write(ram, (&self.places, &self.loaded), &state)?)
    }

    /// Finds out why a machine ended as it did. `None` where the vCPU is gone.
    fn look<T: Watched>(&self, outcome: &mut Outcome<T>) -> Result<Option<Finding>, CallError> {
        let stop = outcome.stop.clone();
        let build = || Machine::builder(self.config.clone()).build();
        // What is no file, a FIFO for instance, has been read to its end.
        let again = self.config.image.is_file().then_some(&build as _);
        let mut look = |symbols| {
            self.postmortem.look(
                outcome,
                symbols,
                |tracer: &T| tracer.flight().map(Flight::watched).unwrap_or_default(),
                again,
            )
        };
        if self.symbols.is_some() {
            return look(self.symbols.as_deref());
        }
        // Reading those of the image takes longer than many a guest runs: not for one that just halted.
        if stop == Stop::Halted {
            let found = look(None)?;
            if !found.as_ref().is_some_and(|found| found.explanation.is_accusation()) {
                return Ok(found);
            }
        }
        look(self.image_symbols().as_ref())
    }

    /// The symbols of the image itself, where there are any to be had.
    fn image_symbols(&self) -> Option<Symbols> {
        symbols(&self.options.inspect, &self.config.image).ok().flatten()
    }
}

impl End {
    /// Says on standard error how the guest ended: why, if that is known, and the last of its exits, if that was not well.
    pub(crate) fn say(&self, exits: usize) {
        if let Some(blame) = self.blame {
            // What the guest ran on was not its own any more: its last exits explain nothing.
            show(&[line(&self.stop.to_string()), line(blame)].concat());
            return;
        }
        let tells = |found: &&Explanation| found.is_accusation() || !found.sentences.is_empty();
        let mut text = match self.explanation.as_ref().filter(tells) {
            // The explanation's first line says it too.
            Some(found) if self.stop != Stop::Halted => line(&found.to_string()),
            Some(found) => line(&format!("{}: {found}", self.stop)),
            None => line(&self.stop.to_string()),
        };
        let shown = self.exits.len().min(exits);
        let last = self.exits.get(self.exits.len() - shown..).unwrap_or_default();
        // Where the one exit is the end itself, it has been told.
        if !last.is_empty() && (self.exits.len() > 1 || !is_an_exit(&self.stop)) {
            text.push_str("its last exits:\n");
            text.extend(last.iter().map(|line| format!("  {line}\n")));
        }
        show(&text);
    }

    /// Whether the guest did something wrong.
    pub(crate) fn is_accused(&self) -> bool {
        self.blame.is_none() && self.explanation.as_ref().is_some_and(Explanation::is_accusation)
    }

    /// Says what is said however quiet a run is to be, and gives back what could not be written of it.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.notes.iter().for_each(|note| say(note));
        let mut failures = self.failures.into_iter();
        let first = failures.next();
        failures.for_each(|error| say(&in_one_line(&error)));
        first.map_or(Ok(()), Err)
    }
}

/// Whether a vCPU's exit ended the guest, rather than somebody else.
fn is_an_exit(stop: &Stop) -> bool {
    matches!(
        stop,
        Stop::TripleFault | Stop::InternalError { .. } | Stop::FailEntry { .. } | Stop::MemoryFault { .. }
    )
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
