//! How a run ended, and why.

use std::sync::Arc;

use strata_inspect::Symbols;
use strata_vmm::file_fault::FileState;
use strata_vmm::machine::Place;
use strata_vmm::vcpu::FlightRecorder;
use strata_vmm::{Config, Machine, Outcome, Stop};

use crate::cli::RunOptions;
use crate::message::say;
use crate::tracing::{TraceError, symbols};
use crate::watch::{Flight, Watched};

/// What has to be known of a machine before it runs, for when it is dead.
pub(crate) struct Case<'a> {
    pub(crate) options: &'a RunOptions,
    pub(crate) config: &'a Config,
    pub(crate) places: Vec<Place>,
    pub(crate) symbols: Option<Arc<Symbols>>,
}

/// How a run ended, and what is to be said about it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) stop: Stop,
    /// A file that was meddled with.
    blame: Option<&'static str>,
    /// The last exits of the vCPU that ended it, a line each, the oldest first.
    pub(crate) exits: Vec<String>,
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
        Ok(Self { options, config, places: machine.places(), symbols: symbols.map(Arc::new) })
    }

    /// What a vCPU is watched by.
    pub(crate) fn flight(&self) -> Flight {
        if self.options.inspect.no_recorder { Flight::default() } else { Flight::of(self.config) }
    }

    /// Looks at a machine that has ended. Where its end says little, its vCPU may be stepped on.
    pub(crate) fn close<T: Watched>(&self, outcome: &mut Outcome<T>) -> End {
        let stop = outcome.stop.clone();
        let blame = blame(&stop, outcome.files());
        let exits = if is_abnormal(&stop) { last_exits(outcome) } else { Vec::new() };
        End { stop, blame, exits }
    }
}

impl End {
    /// Says on standard error how the guest ended.
    pub(crate) fn say(&self) {
        say(&self.stop.to_string());
        if let Some(blame) = self.blame {
            say(blame);
        }
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

/// What the flight recorder of the vCPU has that ended the machine, or of the first.
fn last_exits<T: Watched>(outcome: &Outcome<T>) -> Vec<String> {
    let index = outcome.stopped_by.unwrap_or(0);
    let vcpu = outcome.vcpus.iter().find(|vcpu| vcpu.index == index);
    let recorder = vcpu.and_then(|vcpu| vcpu.tracer.flight().recorder.as_ref());
    recorder.into_iter().flat_map(FlightRecorder::exits).map(ToString::to_string).collect()
}
