//! Statistics and profiles of runs.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use strata_inspect::Symbols;
use strata_inspect::profile::{FlamegraphError, Weight};
use strata_vmm::Outcome;

use crate::cli::InspectOptions;
use crate::message::show;
use crate::run::{Error, OutputFile};
use crate::watch::Watch;

/// What is counted in a run, and where it is written.
pub(crate) struct Counts<'a> {
    options: &'a InspectOptions,
    stats: Option<OutputFile<'a>>,
    profile: Option<OutputFile<'a>>,
}

impl<'a> Counts<'a> {
    /// Begins the files, so that one that cannot be written is known before the guest runs.
    pub(crate) fn begin(options: &'a InspectOptions) -> Result<Self, Error> {
        let file = |path: &'a Path| OutputFile::begin(path);
        Ok(Self {
            options,
            stats: options.stats.as_deref().filter(|path| *path != Path::new("-")).map(file).transpose()?,
            profile: options.profile.as_deref().map(file).transpose()?,
        })
    }

    /// Writes what the vCPUs of `outcome` have counted. Statistics are a table, or JSON if their file ends so; a profile is
    /// a picture, or folded stacks if its file ends so.
    pub(crate) fn write(self, outcome: &Outcome<Watch>, symbols: Option<&Symbols>) -> Result<(), Error> {
        let watches = || outcome.vcpus.iter().map(|vcpu| &vcpu.tracer);
        let all = watches().filter_map(|watch| watch.stats.clone()).reduce(|mut all, one| {
            all.merge(&one);
            all
        });
        if let Some(report) = all.map(|stats| stats.report()) {
            match self.stats {
                None => show(&report.to_string()),
                Some(OutputFile { path, file }) => {
                    let is_json = path.extension().is_some_and(|end| end == "json");
                    let text =
                        if is_json { serde_json::to_string_pretty(&report) } else { Ok(report.to_string()) };
                    let written =
                        text.map_err(io::Error::from).and_then(|text| writeln!(&file, "{}", text.trim_end()));
                    written.map_err(|source| Error::File { path: path.to_owned(), source })?;
                }
            }
        }
        let Some(OutputFile { path, file }) = self.profile else { return Ok(()) };
        let all =
            watches().filter_map(|watch| watch.profile.as_ref()).map(Clone::clone).reduce(|mut all, one| {
                all.merge(&one);
                all
            });
        let Some(profile) = all else { return Ok(()) };
        let mut file = BufWriter::new(file);
        let weight = if self.options.profile_time { Weight::HostTime } else { Weight::Exits };
        let written = if path.extension().is_some_and(|end| end == "folded") {
            let mut lines = profile.folded(weight, symbols).into_iter();
            lines.try_for_each(|line| writeln!(file, "{line}"))
        } else {
            profile.flamegraph(weight, symbols, &mut file).map_err(|error| match error {
                FlamegraphError::Io(error) => error,
                error => io::Error::other(error),
            })
        };
        written.and_then(|()| file.flush()).map_err(|source| Error::File { path: path.to_owned(), source })
    }
}
