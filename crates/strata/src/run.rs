//! `strata run`.

use std::fs::File;
use std::io::{self, BufWriter, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::Errno;
use strata_vmm::cassette::{Recorder, VcpuRecorder};
use strata_vmm::config::{ConsoleTo, LayerError, Serial};
use strata_vmm::file_fault::FileState;
use strata_vmm::kvm::{CallError, StraceLog};
use strata_vmm::machine::{BuildError, RunError};
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Config, ExitLog, Machine, MachineBuilder, Outcome, Stop};

use crate::cli::RunOptions;
use crate::keyboard::Keyboard;
use crate::message::{mention, say};
use crate::report::{Output, Report};
use crate::signals::{Blocked, Signals};
use crate::terminal::{Input, Raw, Stdin, Window};
use crate::unhurried::Unhurried;

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
    #[error("cannot write {}: nobody reads it; start the reader of a FIFO before the run", path.display())]
    NoReader { path: PathBuf },
    #[error("cannot read the guest's state")]
    State(#[source] CallError),
    #[error(transparent)]
    Gdb(#[from] crate::gdb::Error),
}

impl Error {
    /// Whether the host is to blame, rather than what the user gave.
    pub(crate) fn is_the_hosts(&self) -> bool {
        match self {
            Self::ConfigFile { .. } | Self::Config { .. } | Self::Options(_) | Self::NoReader { .. } => false,
            Self::Build(error) => error.is_the_hosts(),
            Self::Gdb(error) => error.is_the_hosts(),
            _ => true,
        }
    }
}

/// Runs a guest; the value is the process's exit code.
pub(crate) fn run(options: &RunOptions) -> Result<u8, Error> {
    let config = config(options)?;
    let dirty_log = config.memory.dirty_log;
    let debugger = crate::gdb::Plan::of(&config, &options.inspect)?;
    let port_at_stdio = config.console.iter().position(|console| console.to == ConsoleTo::Stdio);
    let has_stdio = port_at_stdio.is_some();
    // Found once: a guest without a serial port has nobody to type to.
    let has_input = has_stdio || config.devices.serial == Serial::Stdio;
    let input = if has_input { Input::find() } else { Input::Nothing };
    let has_sockets = config.vsock.is_some()
        || config.console.iter().any(|console| matches!(console.to, ConsoleTo::Unix(_)));
    let plain = options.report.is_none() && options.record.is_none();
    let output = Output::new(options.report.is_some());
    let mut builder = Machine::builder(config).console(output.clone());
    let keys = match &input {
        Input::Terminal(_) => {
            let (keyboard, keys) = Keyboard::new(builder.control()).map_err(Error::Input)?;
            builder = builder.event_source(Box::new(keyboard));
            Some(keys)
        }
        Input::Nothing | Input::Stream => None,
    };
    builder = if has_stdio {
        console_at_stdio(builder, &input, keys).map_err(Error::Input)?
    } else {
        match (&input, keys) {
            (_, Some(keys)) => builder.input(keys),
            (Input::Stream, None) => builder.input(Stdin),
            (_, None) => builder,
        }
    };
    if options.show_ioctls {
        let control = builder.control();
        let out = Unhurried::new(io::stderr(), move || control.stopped().is_some());
        builder = builder.probe(Arc::new(StraceLog::new(out)));
    }
    let mut machine = builder.build()?;
    if let Some(why) = machine.kernel_not_kept()
        && !options.quiet
    {
        mention(&crate::in_one_line(why));
    }
    for pty in machine.ptys() {
        mention(&format!("a console of the guest's is at {}", pty.display()));
    }
    let button = machine.power_button();
    // A file that cannot be written should be known before the guest runs, not after; and of a run that was refused
    // nothing is begun.
    let files = Files {
        report: options.report.as_deref().map(OutputFile::begin).transpose()?,
        record: options.record.as_deref().map(OutputFile::begin).transpose()?,
    };
    // With nothing to tidy up (a terminal, files, sockets), and no guest that could be asked, a signal may end the process as it always does.
    let mut blocked = None;
    if input.is_open() || !plain || has_sockets || button.is_some() {
        let terminal = input.terminal().cloned();
        let window = machine.console().zip(port_at_stdio).map(|(guest, port)| Window::new(guest, port));
        let signals = Signals::new(machine.control(), button, (terminal, window), options.quiet);
        let (signals, mask) = signals.map_err(Error::Signals)?;
        machine = machine.event_source(Box::new(signals));
        blocked = Some(mask);
    }

    let debugger = debugger.map(|plan| plan.serve(&machine, |setup| setup)).transpose()?;
    let running = Running { terminal: input.terminal().map(Raw::new), _blocked: blocked };
    if running.terminal.is_some() && !options.quiet {
        mention(HINT);
    }
    let (stop, images) = if plain {
        let outcome = machine.run()?;
        drop(running);
        (outcome.stop.clone(), outcome.files())
    } else {
        watched(machine, files, running, |outcome| {
            Report::new(outcome, &options.dump, dirty_log, &output.taken())
        })?
    };
    drop(debugger);
    if !options.quiet {
        say(&stop.to_string());
        if let Some(blame) = blame(&stop, images) {
            say(blame);
        }
    }
    Ok(stop.exit_code())
}

/// Gives a virtio console what a serial port would have: the keys of a terminal, or all of standard input.
fn console_at_stdio(
    builder: MachineBuilder,
    input: &Input,
    keys: Option<PipeReader>,
) -> io::Result<MachineBuilder> {
    let input = match (input, keys) {
        (_, Some(keys)) => Some(keys.into()),
        (Input::Stream, None) => Some(io::stdin().as_fd().try_clone_to_owned()?),
        (_, None) => None,
    };
    Ok(builder.stdio(input, io::stdout().as_fd().try_clone_to_owned()?))
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

/// What is in force while the guest runs. It ends with the terminal as it was before a signal can end the process.
struct Running {
    terminal: Option<Raw>,
    _blocked: Option<Blocked>,
}

/// What is written of a run.
struct Files<'a> {
    report: Option<OutputFile<'a>>,
    record: Option<OutputFile<'a>>,
}

/// A file that has been begun.
struct OutputFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> OutputFile<'a> {
    /// Creates or empties it. A FIFO that nobody has opened to read is refused: waiting for its reader could not be
    /// interrupted from a terminal (fifo(7)).
    fn begin(path: &'a Path) -> Result<Self, Error> {
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let opened = open(path, how | OFlags::NONBLOCK, Mode::from_raw_mode(0o666)).and_then(|file| {
            // From here on a reader may take its time.
            fcntl_setfl(&file, OFlags::empty())?;
            Ok(File::from(file))
        });
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(Errno::NXIO) => Err(Error::NoReader { path: path.to_owned() }),
            Err(error) => Err(cannot_write(path, error.into())),
        }
    }
}

fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

/// Where a recording goes.
type Recording = BufWriter<Unhurried<File, Box<dyn Fn() -> bool + Send>>>;

/// What watches each vCPU of a run that is reported, recorded or both.
pub(crate) type Watch = (Option<ExitLog>, Option<VcpuRecorder<Recording>>);

/// Runs a machine with a report, a recording or both.
fn watched(
    mut machine: Machine,
    files: Files<'_>,
    running: Running,
    report: impl FnOnce(&mut Outcome<Watch>) -> Result<Report, CallError>,
) -> Result<(Stop, FileState), Error> {
    let recorder = match files.record {
        None => None,
        Some(OutputFile { path, file }) => {
            let control = machine.control();
            let ended: Box<dyn Fn() -> bool + Send> = Box::new(move || control.stopped().is_some());
            let file: Recording = BufWriter::new(Unhurried::new(file, ended));
            let recorder = Recorder::new(file).map_err(|source| cannot_write(path, source))?;
            for (vcpu, state) in (0..).zip(machine.states().map_err(Error::State)?) {
                recorder.entry(vcpu, &state);
            }
            Some((path, recorder))
        }
    };

    let log = files.report.is_some();
    let outcome = machine.run_traced(|vcpu| -> Watch {
        (log.then(ExitLog::default), recorder.as_ref().map(|(_, recorder)| recorder.tracer(vcpu)))
    });
    // Whoever reads the files may take long.
    drop(running);
    let mut outcome = outcome?;

    if let Some((path, recorder)) = recorder {
        for vcpu in &mut outcome.vcpus {
            recorder.last(vcpu.index, &vcpu.vcpu.state().map_err(Error::State)?);
        }
        recorder.finish().map_err(|source| cannot_write(path, source))?;
    }
    if let Some(OutputFile { path, file }) = files.report {
        let report = report(&mut outcome).map_err(Error::State)?;
        report.write_to(file).map_err(|source| cannot_write(path, source))?;
    }
    Ok((outcome.stop.clone(), outcome.files()))
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
    for disk in &mut config.disk {
        beside("disk", &mut disk.path);
    }
    for share in &mut config.share {
        beside("share", &mut share.dir);
    }
    for console in &mut config.console {
        if let ConsoleTo::File(path) | ConsoleTo::Unix(path) = &mut console.to {
            beside("console", path);
        }
    }
    if let Some(vsock) = &mut config.vsock {
        beside("vsock", &mut vsock.path);
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
    options.devices.add_to(&mut config);
    Ok(config)
}
