//! Statistics and profiles of runs.

use std::io::{self, BufWriter, Write};

use strata_inspect::Symbols;
use strata_inspect::profile::{FlamegraphError, Profile, Weight};
use strata_inspect::stats::{self, Stats};
use strata_vmm::Outcome;
use strata_vmm::memory::GuestMemory;

use crate::cli::InspectOptions;
use crate::message::show;
use crate::output::{OutputError, OutputFile};
use crate::watch::Watch;

/// What is counted in a run, and where it is written.
pub(crate) struct Counts<'a> {
    options: &'a InspectOptions,
    stats: Option<OutputFile<'a>>,
    profile: Option<OutputFile<'a>>,
}

impl<'a> Counts<'a> {
    /// Begins the files, so that one that cannot be written is known before the guest runs.
    pub(crate) fn begin(options: &'a InspectOptions) -> Result<Self, OutputError> {
        Ok(Self {
            options,
            stats: options.stats.as_deref().map(OutputFile::unless_stream).transpose()?.flatten(),
            profile: options.profile.as_deref().map(OutputFile::begin).transpose()?,
        })
    }

    /// Writes what the vCPUs of `outcome` have counted.
    pub(crate) fn write(
        self,
        outcome: &Outcome<Watch>,
        symbols: Option<&Symbols>,
    ) -> Result<(), OutputError> {
        let stats = merged(outcome, |watch| watch.stats.clone(), Stats::merge);
        let listed = stats.map_or(Ok(()), |stats| list(self.stats, &stats.report()));
        let profile = merged(outcome, |watch| watch.profile.clone(), Profile::merge);
        let weight = if self.options.profile_time { Weight::HostTime } else { Weight::Exits };
        let drawn = match (self.profile, profile) {
            (Some(file), Some(profile)) => draw(file, &profile, weight, symbols),
            _ => Ok(()),
        };
        listed.and(drawn)
    }
}

/// What all vCPUs have counted together.
fn merged<T>(
    outcome: &Outcome<Watch>,
    of: impl Fn(&Watch) -> Option<T>,
    merge: impl Fn(&mut T, &T),
) -> Option<T> {
    outcome.vcpus.iter().filter_map(|vcpu| of(&vcpu.tracer)).reduce(|mut all, one| {
        merge(&mut all, &one);
        all
    })
}

/// Statistics are a table, or JSON if their file ends so.
fn list(file: Option<OutputFile<'_>>, report: &stats::Report) -> Result<(), OutputError> {
    let Some(OutputFile { path, file }) = file else {
        show(&report.to_string());
        return Ok(());
    };
    let is_json = path.extension().is_some_and(|end| end == "json");
    let text = if is_json { serde_json::to_string_pretty(report) } else { Ok(report.to_string()) };
    let written = text.map_err(io::Error::from).and_then(|text| writeln!(&file, "{}", text.trim_end()));
    written.map_err(|source| OutputError::new(path, source))
}

/// A profile is a picture, or folded stacks if its file ends so.
fn draw(
    OutputFile { path, file }: OutputFile<'_>,
    profile: &Profile<GuestMemory>,
    weight: Weight,
    symbols: Option<&Symbols>,
) -> Result<(), OutputError> {
    let mut file = BufWriter::new(file);
    let written = if path.extension().is_some_and(|end| end == "folded") {
        let mut lines = profile.folded(weight, symbols).into_iter();
        lines.try_for_each(|line| writeln!(file, "{line}"))
    } else {
        profile.flamegraph(weight, symbols, &mut file).map_err(|error| match error {
            FlamegraphError::Io(error) => error,
            error => io::Error::other(error),
        })
    };
    written.and_then(|()| file.flush()).map_err(|source| OutputError::new(path, source))
}
