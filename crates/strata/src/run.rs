//! `strata run`.

use std::fs::File;
use std::io::{self, BufWriter, PipeReader};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::Errno;
use strata_inspect::profile::Profile;
use strata_inspect::stats::Stats;
use strata_inspect::trace::Guest;
use strata_vmm::cassette::Recorder;
use strata_vmm::config::{ConsoleTo, LayerError, Serial};
use strata_vmm::kvm::{CallError, StraceLog};
use strata_vmm::machine::{BuildError, Place, RunError};
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Config, ExitLog, Machine, MachineBuilder};

use crate::cli::RunOptions;
use crate::counts::Counts;
use crate::death::{Case, End};
use crate::gdb;
use crate::keyboard::Keyboard;
use crate::mapping;
use crate::message::mention;
use crate::report::{Output, Report};
use crate::settings;
use crate::signals::{Blocked, Signals};
use crate::terminal::{Input, Raw, Stdin, Window};
use crate::tracing::{self, TraceError};
use crate::unhurried::Unhurried;
use crate::watch::{Flight, Recording, Watch};

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
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error("cannot read the guest's state")]
    State(#[source] CallError),
    #[error(transparent)]
    Gdb(#[from] gdb::Error),
    #[error("the machine has no processor")]
    NoVcpu,
}

impl Error {
    /// Whether the host is to blame, rather than what the user gave.
    pub(crate) fn is_the_hosts(&self) -> bool {
        match self {
            Self::ConfigFile { .. }
            | Self::Config { .. }
            | Self::Options(_)
            | Self::NoReader { .. }
            | Self::Trace(_) => false,
            Self::Build(error) => error.is_the_hosts(),
            Self::Gdb(error) => error.is_the_hosts(),
            _ => true,
        }
    }
}

/// Runs a guest; the value is the process's exit code.
pub(crate) fn run(options: &RunOptions) -> Result<u8, Error> {
    let config = settings::config(options)?;
    let Prepared { machine, input, output, files } = prepare(options, &config)?;
    let case = Case::of(options, &config, &machine)?;
    let (machine, running) = begin(options, &config, machine, &input, files.are_some())?;
    let debugger = options.inspect.gdb.as_ref().map(|at| gdb::serve(&machine, at, &case)).transpose()?;
    let end = if files.are_some() || options.inspect.watches() {
        watched(machine, files, running, &case, &output)?
    } else {
        let mut outcome = machine.run_traced(|_| Flight::of(&config))?;
        drop(running);
        case.close(&mut outcome)
    };
    drop(debugger);
    if !options.quiet {
        end.say(options.inspect.last_exits);
    }
    Ok(end.stop.exit_code())
}

/// Builds a machine and shows its memory, without running it.
pub(crate) fn map(options: &RunOptions) -> Result<u8, Error> {
    let config = settings::config(options)?;
    let mut machine = Machine::builder(config).build()?;
    let state = machine.states().map_err(Error::State)?.into_iter().next().ok_or(Error::NoVcpu)?;
    let to = options.inspect.map.as_deref().unwrap_or(Path::new("-"));
    mapping::write(to, machine.ram(), &machine.places(), &state)?;
    Ok(0)
}

/// A machine that could run, with what it will read and write.
struct Prepared<'a> {
    machine: Machine,
    input: Input,
    output: Output,
    files: Files<'a>,
}

/// Builds the machine, and begins the files that are written of its run.
fn prepare<'a>(options: &'a RunOptions, config: &Config) -> Result<Prepared<'a>, Error> {
    let has_stdio = config.console.iter().any(|console| console.to == ConsoleTo::Stdio);
    // Found once: a guest without a serial port has nobody to type to.
    let has_input = has_stdio || config.devices.serial == Serial::Stdio;
    let input = if has_input { Input::find() } else { Input::Nothing };
    let output = Output::new(options.report.is_some());
    let mut builder = Machine::builder(config.clone()).console(output.clone());
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
    let machine = builder.build()?;
    if let Some(why) = machine.kernel_not_kept()
        && !options.quiet
    {
        mention(&crate::in_one_line(why));
    }
    for pty in machine.ptys() {
        mention(&format!("a console of the guest's is at {}", pty.display()));
    }
    // A file that cannot be written should be known before the guest runs, not after; and of a run that was refused
    // nothing is begun.
    let files = Files {
        report: options.report.as_deref().map(OutputFile::begin).transpose()?,
        record: options.record.as_deref().map(OutputFile::begin).transpose()?,
    };
    Ok(Prepared { machine, input, output, files })
}

/// Takes the terminal and the signals, for as long as the guest runs.
fn begin(
    options: &RunOptions,
    config: &Config,
    mut machine: Machine,
    input: &Input,
    has_files: bool,
) -> Result<(Machine, Running), Error> {
    let port_at_stdio = config.console.iter().position(|console| console.to == ConsoleTo::Stdio);
    let has_sockets = config.vsock.is_some()
        || config.console.iter().any(|console| matches!(console.to, ConsoleTo::Unix(_)));
    let button = machine.power_button();
    // With nothing to tidy up (a terminal, files, sockets), and no guest that could be asked, a signal may end the process as it always does.
    let mut blocked = None;
    if input.is_open() || has_files || has_sockets || button.is_some() {
        let terminal = input.terminal().cloned();
        let window = machine.console().zip(port_at_stdio).map(|(guest, port)| Window::new(guest, port));
        let signals = Signals::new(machine.control(), button, (terminal, window), options.quiet);
        let (signals, mask) = signals.map_err(Error::Signals)?;
        machine = machine.event_source(Box::new(signals));
        blocked = Some(mask);
    }

    let running = Running { terminal: input.terminal().map(Raw::new), _blocked: blocked };
    if running.terminal.is_some() && !options.quiet {
        mention(HINT);
    }
    Ok((machine, running))
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

impl Files<'_> {
    fn are_some(&self) -> bool {
        self.report.is_some() || self.record.is_some()
    }
}

/// A file that has been begun.
pub(crate) struct OutputFile<'a> {
    pub(crate) path: &'a Path,
    pub(crate) file: File,
}

impl<'a> OutputFile<'a> {
    /// Creates or empties it. A FIFO that nobody has opened to read is refused: waiting for its reader could not be
    /// interrupted from a terminal (fifo(7)).
    pub(crate) fn begin(path: &'a Path) -> Result<Self, Error> {
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

/// Runs a machine with a report, a recording or both.
fn watched(
    mut machine: Machine,
    files: Files<'_>,
    running: Running,
    case: &Case<'_>,
    output: &Output,
) -> Result<End, Error> {
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
    let memory = machine.ram().memory().clone();
    let (inspect, places) = (&case.options.inspect, Arc::<[Place]>::from(&*case.places));
    let guest = Guest { memory: memory.clone(), places: case.places.clone(), symbols: case.symbols.clone() };
    let trace = tracing::start(inspect, guest)?;
    let counts = Counts::begin(inspect)?;
    let outcome = machine.run_traced(|vcpu| Watch {
        flight: case.flight(),
        log: log.then(ExitLog::default),
        tape: recorder.as_ref().map(|(_, recorder)| recorder.tracer(vcpu)),
        tap: trace.as_ref().map(|trace| trace.tap(vcpu)),
        stats: inspect.stats.is_some().then(|| Stats::new(Arc::clone(&places))),
        profile: inspect.profile.is_some().then(|| Profile::new(memory.clone(), Arc::clone(&places))),
    });
    // Whoever reads the files may take long.
    drop(running);
    let mut outcome = outcome?;
    if let Some(trace) = trace {
        tracing::finish(trace);
    }
    counts.write(&outcome, case.symbols.as_deref())?;

    if let Some((path, recorder)) = recorder {
        for vcpu in &mut outcome.vcpus {
            recorder.last(vcpu.index, &vcpu.vcpu.state().map_err(Error::State)?);
        }
        recorder.finish().map_err(|source| cannot_write(path, source))?;
    }
    let report = match files.report {
        None => None,
        Some(file) => {
            let report = Report::new(&mut outcome, &case.options.dump, case.config, &output.taken());
            Some((file, report.map_err(Error::State)?))
        }
    };
    // Last: it may step the guest on.
    let end = case.close(&mut outcome);
    if let Some((OutputFile { path, file }, mut report)) = report {
        report.explain(&end);
        report.write_to(file).map_err(|source| cannot_write(path, source))?;
    }
    Ok(end)
}
