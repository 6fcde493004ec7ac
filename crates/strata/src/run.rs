//! `strata run`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use strata_vmm::config::{LayerError, Serial};
use strata_vmm::kvm::{CallError, StraceLog};
use strata_vmm::machine::{BuildError, RunError};
use strata_vmm::{Config, ExitLog, Machine};

use crate::cli::RunOptions;
use crate::report::{Output, Report};
use crate::signals::Signals;
use crate::terminal::{self, KeyByKey};

/// Why there was no run, or no report of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the configuration {}", path.display())]
    ConfigFile { path: PathBuf, source: io::Error },
    #[error("{}: {error}", path.display())]
    Config { path: PathBuf, error: LayerError },
    #[error(transparent)]
    Options(LayerError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("cannot use standard input and output")]
    Console(#[source] io::Error),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error("cannot write the report {}", path.display())]
    Report { path: PathBuf, source: io::Error },
    #[error("cannot read the guest's state for the report")]
    State(#[source] CallError),
}

impl Error {
    /// Whether the host is to blame, rather than what the user gave.
    pub(crate) fn is_the_hosts(&self) -> bool {
        match self {
            Self::ConfigFile { .. } | Self::Config { .. } | Self::Options(_) => false,
            Self::Build(error) => error.is_the_hosts(),
            _ => true,
        }
    }
}

/// Runs a guest; the value is the process's exit code.
pub(crate) fn run(options: &RunOptions) -> Result<u8, Error> {
    let config = config(options)?;
    let dirty_log = config.memory.dirty_log;
    let wants_input = config.devices.serial == Serial::Stdio;
    let output = Output::new(terminal::output().map_err(Error::Console)?, options.report.is_some());
    let mut builder = Machine::builder(config)?.console(output.clone());
    if let Some(input) = terminal::input().map_err(Error::Console)?.filter(|_| wants_input) {
        builder = builder.input(input);
    }
    if options.show_ioctls {
        builder = builder.probe(Arc::new(StraceLog::new(io::stderr())));
    }
    let signals = Signals::new(builder.control()).map_err(Error::Signals)?;
    let machine = builder.event_source(Box::new(signals)).build()?;

    let terminal = if wants_input { KeyByKey::on_stdin() } else { None };
    let stop = match &options.report {
        None => machine.run()?.stop,
        Some(path) => {
            // A report that cannot be written should be known before the guest runs, not after.
            let file =
                fs::File::create(path).map_err(|source| Error::Report { path: path.clone(), source })?;
            let mut outcome = machine.run_traced(|_| ExitLog::default())?;
            let report =
                Report::new(&mut outcome, &options.dump, dirty_log, &output.taken()).map_err(Error::State)?;
            report.write_to(file).map_err(|source| Error::Report { path: path.clone(), source })?;
            outcome.stop
        }
    };
    drop(terminal);
    if !options.quiet {
        eprintln!("strata: {stop}");
    }
    Ok(stop.exit_code())
}

/// The configuration file, with the options over it.
fn config(options: &RunOptions) -> Result<Config, Error> {
    let file = match &options.config {
        None => None,
        Some(path) => {
            let read = fs::read_to_string(path);
            Some((path, read.map_err(|source| Error::ConfigFile { path: path.clone(), source })?))
        }
    };
    let text = file.as_ref().map(|(_, text)| text.as_str());
    let layered = Config::layered(text, &options.settings());
    let mut config = layered.map_err(|error| match (&file, &error) {
        (Some((path, _)), LayerError::File(_)) => Error::Config { path: (*path).clone(), error },
        _ => Error::Options(error),
    })?;
    if let Some(image) = &options.image {
        config.image.clone_from(image);
    } else if let Some(beside) = file.as_ref().and_then(|(path, _)| path.parent())
        && !config.image.as_os_str().is_empty()
    {
        // A file names its image as seen from where the file is.
        config.image = beside.join(&config.image);
    }
    Ok(config)
}
