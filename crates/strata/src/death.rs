//! How a run ended, and why.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use strata_inspect::Symbols;
use strata_inspect::core::{self, Addresses};
use strata_inspect::explain::Explanation;
use strata_inspect::postmortem::{Finding, Postmortem};
use strata_vmm::cpu::X86State;
use strata_vmm::file_fault::FileState;
use strata_vmm::kvm::CallError;
use strata_vmm::machine::{Fatal, Place};
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Config, Machine, Outcome, Stop};

use crate::cli::RunOptions;
use crate::in_one_line;
use crate::message::{say, show};
use crate::tracing::{TraceError, symbols};
use crate::watch::{Flight, Watched};

/// What has to be known of a machine before it runs, for when it is dead.
pub(crate) struct Case<'a> {
    pub(crate) options: &'a RunOptions,
    pub(crate) config: &'a Config,
    pub(crate) places: Vec<Place>,
    pub(crate) symbols: Option<Arc<Symbols>>,
    postmortem: Postmortem,
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

impl<'a> Case<'a> {
    pub(crate) fn of(
        options: &'a RunOptions,
        config: &'a Config,
        machine: &Machine,
    ) -> Result<Self, TraceError> {
        // Those of the image can wait until they are needed, which for most runs is never.
        let needed = options.inspect.watches() || options.inspect.symbols.is_some();
        let symbols = if needed { symbols(&options.inspect, &config.image)? } else { None };
        let postmortem = Postmortem::of(machine);
        Ok(Self { options, config, places: machine.places(), symbols: symbols.map(Arc::new), postmortem })
    }

    /// What a vCPU is watched by, unless the user wants nothing.
    pub(crate) fn flight(&self) -> Option<Flight> {
        (!self.options.inspect.no_recorder).then(|| Flight::of(self.config))
    }

    /// Looks at a machine that has ended. Where its end says little, its vCPU is stepped on, or the run is repeated.
    pub(crate) fn close<T: Watched>(&self, outcome: &mut Outcome<T>) -> End {
        let stop = outcome.stop.clone();
        let blame = blame(&stop, outcome.files());
        let mut end = End { stop, blame, exits: Vec::new(), explanation: None };
        let abnormal = is_abnormal(&end.stop);
        let no_recorder = self.options.inspect.no_recorder;
        if no_recorder && self.options.inspect.core.is_none() || !(abnormal || end.stop == Stop::Halted) {
            return end;
        }
        let Finding { exits, explanation, fatal, .. } = match self.look(outcome) {
            Ok(Some(found)) => found,
            Ok(None) => return end,
            Err(error) => {
                say(&format!("cannot look into the guest: {error}"));
                return end;
            }
        };
        if abnormal && let Some(path) = &self.options.inspect.core {
            save_core(path, outcome, fatal.as_deref());
        }
        if !no_recorder {
            end.exits = if abnormal { exits } else { Vec::new() };
            end.explanation = Some(explanation);
        }
        end
    }

    /// Finds out why a machine ended as it did.
    fn look<T: Watched>(&self, outcome: &mut Outcome<T>) -> Result<Option<Finding>, CallError> {
        let own = if self.symbols.is_none() { self.image_symbols() } else { None };
        let symbols = self.symbols.as_deref().or(own.as_ref());
        let build = || Machine::builder(self.config.clone()).build();
        // What is no file, a FIFO for instance, has been read to its end.
        let again = self.config.image.is_file().then_some(&build as _);
        self.postmortem.look(
            outcome,
            symbols,
            |tracer| tracer.flight().map(Flight::watched).unwrap_or_default(),
            again,
        )
    }

    /// The symbols of the image itself, where there are any to be had.
    fn image_symbols(&self) -> Option<Symbols> {
        symbols(&self.options.inspect, &self.config.image).ok().flatten()
    }
}

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
