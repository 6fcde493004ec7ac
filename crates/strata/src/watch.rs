//! What watches the vCPUs of a run.

use std::fs::File;
use std::io::BufWriter;
use std::sync::{Arc, Mutex, PoisonError};

use strata_inspect::postmortem;
use strata_inspect::profile::Profile;
use strata_inspect::stats::Stats;
use strata_inspect::trace::Tap;
use strata_inspect::{Symbols, flight};
use strata_vmm::cassette::VcpuRecorder;
use strata_vmm::machine::InputLog;
use strata_vmm::memory::GuestMemory;
use strata_vmm::vcpu::{FlightRecorder, Sync, Synced};
use strata_vmm::{Config, Exit, ExitLog, Tracer};

use crate::unhurried::Unhurried;

/// Where a recording goes.
pub(crate) type Recording = BufWriter<Unhurried<File, Box<dyn Fn() -> bool + Send>>>;

/// What every run is watched by, unless its user does not want it: enough to say afterwards why the guest died.
/// What is not wanted is there all the same: to ask at every exit whether it is would cost more than it does.
#[derive(Debug)]
pub(crate) struct Flight {
    recorder: FlightRecorder,
    /// For a replay.
    input: InputLog,
    /// Whether the machine is one that can be replayed.
    can_be_replayed: bool,
}

impl Flight {
    /// For a vCPU of the machine that `config` describes.
    pub(crate) fn of(config: &Config) -> Self {
        let can_be_replayed = config.cpus == 1 && !config.has_virtio();
        let input = if can_be_replayed { InputLog::default() } else { InputLog::closed() };
        Self { recorder: FlightRecorder::default(), input, can_be_replayed }
    }

    /// One that does not keep what a replay needs.
    pub(crate) fn without_input(self) -> Self {
        Self { input: InputLog::closed(), can_be_replayed: false, ..self }
    }

    pub(crate) fn watched(&self) -> postmortem::Watched<'_> {
        postmortem::Watched {
            recorder: Some(&self.recorder),
            input: self.can_be_replayed.then_some(&self.input),
        }
    }
}

impl Tracer for Flight {
    fn wants(&self) -> Sync {
        self.recorder.wants()
    }

    #[allow(clippy::inline_always, reason = "see `Tracer::exit`")]
    #[inline(always)]
    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        self.recorder.exit(exit, synced);
        self.input.exit(exit, synced);
    }
}

/// What watches a vCPU of a run that is reported, recorded or traced, or goes without a flight recorder. A type of its own, so that other runs do not ask at
/// every exit what they have of it.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) flight: Option<Flight>,
    pub(crate) log: Option<ExitLog>,
    pub(crate) tape: Option<VcpuRecorder<Recording>>,
    pub(crate) tap: Option<Tap<GuestMemory>>,
    pub(crate) stats: Option<Stats>,
    pub(crate) profile: Option<Profile<GuestMemory>>,
    pub(crate) mirror: Option<Mirror>,
}

/// A flight recorder that others may look into while the guest runs. A clone is the same one.
#[derive(Clone, Default)]
pub(crate) struct Mirror(Arc<Mutex<FlightRecorder>>);

impl Mirror {
    /// Its last `count` exits, a line each.
    pub(crate) fn lines(&self, count: usize, symbols: Option<&Symbols>) -> Vec<String> {
        let mut lines = flight::lines(&self.0.lock().unwrap_or_else(PoisonError::into_inner), symbols);
        lines.split_off(lines.len().saturating_sub(count))
    }
}

impl Tracer for Mirror {
    fn wants(&self) -> Sync {
        Sync::General
    }

    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).exit(exit, synced);
    }
}

impl Tracer for Watch {
    fn wants(&self) -> Sync {
        self.flight
            .wants()
            .max(self.tap.wants())
            .max(self.stats.wants())
            .max(self.profile.wants())
            .max(self.mirror.wants())
    }

    fn back(&mut self) {
        self.tap.back();
        self.stats.back();
        self.profile.back();
    }

    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        self.flight.exit(exit, synced);
        self.log.exit(exit, synced);
        self.tape.exit(exit, synced);
        self.tap.exit(exit, synced);
        self.stats.exit(exit, synced);
        self.profile.exit(exit, synced);
        self.mirror.exit(exit, synced);
    }
}

/// A tracer that may have a flight recorder in it.
pub(crate) trait Watched: Tracer {
    fn flight(&self) -> Option<&Flight>;
}

impl Watched for Flight {
    fn flight(&self) -> Option<&Flight> {
        Some(self)
    }
}

impl Watched for Watch {
    fn flight(&self) -> Option<&Flight> {
        self.flight.as_ref()
    }
}
