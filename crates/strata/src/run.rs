//! `strata run`.

use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strata_vmm::cassette::{Recorder, VcpuRecorder};
use strata_vmm::config::{LayerError, Serial};
use strata_vmm::file_fault::FileState;
use strata_vmm::kvm::{CallError, StraceLog};
use strata_vmm::machine::{BuildError, RunError};
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Config, ExitLog, Machine, Stop};

use crate::cli::RunOptions;
use crate::keyboard::Keyboard;
use crate::report::{Output, Report};
use crate::signals::Signals;
use crate::terminal::{Input, Raw, Stdin};

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
    #[error("cannot read the terminal")]
    Input(#[source] io::Error),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error("cannot write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot read the guest's state")]
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
    // Found once: a guest without a serial port has nobody to type to.
    let input = if config.devices.serial == Serial::Stdio { Input::find() } else { Input::Nothing };
    let plain = options.report.is_none() && options.record.is_none();
    let output = Output::new(options.report.is_some());
    let mut builder = Machine::builder(config).console(output.clone());
    match &input {
        Input::Nothing => {}
        Input::Stream => builder = builder.input(Stdin),
        Input::Terminal(_) => {
            let (keyboard, keys) = Keyboard::new(builder.control()).map_err(Error::Input)?;
            builder = builder.input(keys).event_source(Box::new(keyboard));
        }
    }
    if options.show_ioctls {
        builder = builder.probe(Arc::new(StraceLog::new(io::stderr())));
    }
    let mut machine = builder.build()?;
    let button = machine.power_button();
    // With nothing to tidy up, and no guest that could be asked, a signal may end the process as it always does.
    if input.is_open() || !plain || button.is_some() {
        let terminal = input.terminal().cloned();
        let signals = Signals::new(machine.control(), button, terminal, options.quiet);
        machine = machine.event_source(Box::new(signals.map_err(Error::Signals)?));
    }

    let terminal = input.terminal().map(Raw::new);
    if terminal.is_some() && !options.quiet {
        crate::say(HINT);
    }
    let (stop, files) = if plain {
        let outcome = machine.run()?;
        let files = outcome.files();
        (outcome.stop, files)
    } else {
        watched(machine, options, dirty_log, &output)?
    };
    drop(terminal);
    if !options.quiet {
        crate::say(&stop.to_string());
        if let Some(blame) = blame(&stop, files) {
            crate::say(blame);
        }
    }
    Ok(stop.exit_code())
}

/// For whoever sits at a terminal whose Ctrl-C is the guest's.
const HINT: &str = "Ctrl-a x ends the run, Ctrl-a h shows the other keys";

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

/// What watches each vCPU of a run that is reported, recorded or both.
pub(crate) type Watch = (Option<ExitLog>, Option<VcpuRecorder<BufWriter<File>>>);

/// Runs a machine with a report, a recording or both.
fn watched(
    mut machine: Machine,
    options: &RunOptions,
    dirty_log: bool,
    output: &Output,
) -> Result<(Stop, FileState), Error> {
    // A file that cannot be written should be known before the guest runs, not after.
    let create =
        |path: &PathBuf| File::create(path).map_err(|source| Error::File { path: path.clone(), source });
    let report = options.report.as_ref().map(|path| Ok::<_, Error>((path, create(path)?))).transpose()?;
    let record = options.record.as_ref().map(|path| Ok::<_, Error>((path, create(path)?))).transpose()?;
    let recorder = match record {
        None => None,
        Some((path, file)) => {
            let failed = |source| Error::File { path: path.clone(), source };
            let recorder = Recorder::new(BufWriter::new(file)).map_err(failed)?;
            for (vcpu, state) in (0..).zip(machine.states().map_err(Error::State)?) {
                recorder.entry(vcpu, &state);
            }
            Some((path, recorder))
        }
    };

    let log = report.is_some();
    let mut outcome = machine.run_traced(|vcpu| -> Watch {
        (log.then(ExitLog::default), recorder.as_ref().map(|(_, recorder)| recorder.tracer(vcpu)))
    })?;

    if let Some((path, recorder)) = recorder {
        for vcpu in &mut outcome.vcpus {
            recorder.last(vcpu.index, &vcpu.vcpu.state().map_err(Error::State)?);
        }
        recorder.finish().map_err(|source| Error::File { path: path.clone(), source })?;
    }
    if let Some((path, file)) = report {
        let report = Report::new(&mut outcome, &options.dump, dirty_log, &output.taken());
        let written = report.map_err(Error::State)?.write_to(file);
        written.map_err(|source| Error::File { path: path.clone(), source })?;
    }
    let files = outcome.files();
    Ok((outcome.stop, files))
}

/// A configuration is a page of text; a device or a disk image named by mistake is not read to its end.
fn read_config(path: &Path) -> io::Result<String> {
    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}

/// The configuration file, with the options over it.
fn config(options: &RunOptions) -> Result<Config, Error> {
    let file = match &options.config {
        None => None,
        Some(path) => {
            let read = read_config(path);
            Some((path, read.map_err(|source| Error::ConfigFile { path: path.clone(), source })?))
        }
    };
    let text = file.as_ref().map(|(_, text)| text.as_str());
    let layered = Config::layered(text, &options.settings());
    let mut config = layered.map_err(|error| match (&file, &error) {
        (Some((path, _)), LayerError::File(_)) => Error::Config { path: (*path).clone(), error },
        _ => Error::Options(error),
    })?;
    // A file names others as seen from where it is; a setting, from here.
    let beside = |key: &str, path: &mut PathBuf| {
        if let Some(folder) = file.as_ref().and_then(|(file, _)| file.parent())
            && !path.as_os_str().is_empty()
            && !options.set.iter().any(|setting| setting.key == key)
        {
            *path = folder.join(&*path);
        }
    };
    beside("image", &mut config.image);
    if let Some(initrd) = &mut config.initrd {
        beside("initrd", initrd);
    }
    // As they were typed: neither has to be UTF-8 or to look like a value of TOML's.
    if let Some(image) = &options.image {
        config.image.clone_from(image);
    }
    if options.initrd.is_some() {
        config.initrd.clone_from(&options.initrd);
    }
    if options.cmdline.is_some() {
        config.cmdline.clone_from(&options.cmdline);
    }
    Ok(config)
}
