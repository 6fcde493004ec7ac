//! `strata run`.

use std::io::{self, BufWriter, PipeReader};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strata_inspect::gdb::Server;
use strata_inspect::profile::Profile;
use strata_inspect::stats::Stats;
use strata_inspect::trace::Guest;
use strata_vmm::cassette::Recorder;
use strata_vmm::config::{ConsoleTo, LayerError, Serial};
use strata_vmm::kvm::{CallError, StraceLog};
use strata_vmm::machine::{BuildError, Place, RunError};
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Config, ExitLog, Machine, MachineBuilder, Outcome, Stop};

use crate::cli::RunOptions;
use crate::counts::Counts;
use crate::death::{Case, End};
use crate::dump::{Finished, OnDemand};
use crate::gdb;
use crate::keyboard::Keyboard;
use crate::mapping;
use crate::message::mention;
use crate::output::{Files, OutputError, OutputFile};
use crate::report::{Output, Report};
use crate::settings;
use crate::signals::{Blocked, Signals};
use crate::terminal::{Input, Raw, Stdin, Window};
use crate::tracing::{self, TraceError};
use crate::unhurried::Unhurried;
use crate::watch::{Flight, Recording as Tape, Watch};

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
    #[error("a map is that of a machine as KVM has it, also before it runs")]
    Map(#[source] BuildError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("cannot read the terminal")]
    Input(#[source] io::Error),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Output(#[from] OutputError),
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
    /// Why there is no map of a machine that is not run.
    fn of_map(error: BuildError) -> Self {
        match error {
            BuildError::Open(_) => Self::Map(error),
            error => Self::Build(error),
        }
    }

    /// Whether the host is to blame, rather than what the user gave.
    pub(crate) fn is_the_hosts(&self) -> bool {
        match self {
            Self::ConfigFile { .. }
            | Self::Config { .. }
            | Self::Options(_)
            | Self::Output(OutputError::NoReader { .. } | OutputError::NotReplaced { .. })
            | Self::Trace(_) => false,
            Self::Build(error) | Self::Map(error) => error.is_the_hosts(),
            Self::Gdb(error) => error.is_the_hosts(),
            _ => true,
        }
    }
}

/// Runs a guest; the value is the process's exit code.
pub(crate) fn run(options: &RunOptions) -> Result<u8, Error> {
    let config = settings::config(options)?;
    let Prepared { machine, input, output } = prepare(options, &config)?;
    let case = Case::of(options, &config, &machine)?;
    // Of a run that was refused nothing is begun.
    let Files { report, record, map } = Files::begin(options)?;
    let core = options.inspect.core.as_deref();
    let dumps = core.map(|path| OnDemand::new(path, &config.image, &machine, options.quiet));
    let (machine, mut running) = begin(options, &config, machine, &input, dumps.as_ref())?;
    running.debugger = options.inspect.gdb.as_ref().map(|at| gdb::serve(&machine, at, &case)).transpose()?;
    let inspect = &options.inspect;
    let plain = !inspect.watches() && !inspect.no_recorder && inspect.gdb.is_none();
    let end = if report.is_some() || record.is_some() || !plain {
        watched(machine, &case, Files { report, record, map }, (running, &output))?
    } else {
        let mut outcome = machine.run_traced(|_| Flight::of(&config))?;
        // A second SIGTERM that follows at once must not come into the taking apart of a machine that has obeyed the first.
        // Any other end may take long to look into, and can be interrupted.
        let running = Some(running).filter(|_| outcome.stop == Stop::PowerOff);
        let end = case.close(&mut outcome, map);
        drop(outcome);
        drop(running);
        end
    };
    if !options.quiet {
        end.say(options.inspect.last_exits);
    }
    let code = end.stop.exit_code();
    end.finish().map(|()| code)
}

/// Builds a machine and shows its memory, without running it.
pub(crate) fn map(options: &RunOptions) -> Result<u8, Error> {
    let config = settings::config(options)?;
    let mut machine = Machine::builder(config).build().map_err(Error::of_map)?;
    let state = machine.states().map_err(Error::State)?.into_iter().next().ok_or(Error::NoVcpu)?;
    let to = options.inspect.map.as_deref().unwrap_or(Path::new("-"));
    mapping::Target::begin(to)?.write(machine.ram(), (&machine.places(), machine.loaded()), &state)?;
    Ok(0)
}

/// A machine that could run, with what it will read and print.
struct Prepared {
    machine: Machine,
    input: Input,
    output: Output,
}

/// Builds the machine.
fn prepare(options: &RunOptions, config: &Config) -> Result<Prepared, Error> {
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
    Ok(Prepared { machine, input, output })
}

/// Takes the terminal and the signals, for as long as the guest runs.
fn begin(
    options: &RunOptions,
    config: &Config,
    mut machine: Machine,
    input: &Input,
    dumps: Option<&OnDemand>,
) -> Result<(Machine, Running), Error> {
    let port_at_stdio = config.console.iter().position(|console| console.to == ConsoleTo::Stdio);
    let has_sockets = config.vsock.is_some()
        || config.console.iter().any(|console| matches!(console.to, ConsoleTo::Unix(_)));
    let button = machine.power_button();
    let has_files = options.report.is_some() || options.record.is_some() || options.inspect.is_to_finish();
    // With nothing to tidy up (a terminal, files, sockets), and no guest that could be asked, a signal may end the process as it always does.
    let mut blocked = None;
    if input.is_open() || has_files || has_sockets || button.is_some() {
        let terminal = input.terminal().cloned();
        let window = machine.console().zip(port_at_stdio).map(|(guest, port)| Window::new(guest, port));
        let asked = (dumps.cloned(), options.quiet);
        let signals = Signals::new(machine.control(), button, (terminal, window), asked);
        let (signals, mask) = signals.map_err(Error::Signals)?;
        machine = machine.event_source(Box::new(signals));
        blocked = Some(mask);
    }

    let running = Running {
        debugger: None,
        terminal: input.terminal().map(Raw::new),
        _blocked: blocked,
        _dumps: dumps.cloned().map(Finished),
    };
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
    /// It has taken its breakpoints out of the guest before anybody looks into that.
    debugger: Option<Server>,
    terminal: Option<Raw>,
    _blocked: Option<Blocked>,
    /// A core dump that is being written is finished before anybody touches the guest. Its writing can be interrupted.
    _dumps: Option<Finished>,
}

/// Runs a machine with more than the flight recorder to watch it.
fn watched(
    mut machine: Machine,
    case: &Case<'_>,
    Files { report, record, map }: Files<'_>,
    (running, output): (Running, &Output),
) -> Result<End, Error> {
    let recording = record.map(|file| Recording::begin(file, &mut machine)).transpose()?;
    let memory = machine.ram().memory().clone();
    let (inspect, places) = (&case.options.inspect, Arc::<[Place]>::from(&*case.places));
    let guest = Guest {
        memory: memory.clone(),
        cpus: machine.cpus(),
        places: case.places.clone(),
        symbols: case.symbols.clone(),
    };
    let trace = tracing::start(inspect, guest)?;
    let counts = Counts::begin(inspect)?;
    let outcome = machine.run_traced(|vcpu| Watch {
        flight: case.flight(),
        log: report.is_some().then(ExitLog::default),
        tape: recording.as_ref().map(|recording| recording.recorder.tracer(vcpu)),
        tap: trace.as_ref().map(|trace| trace.tap(vcpu)),
        stats: inspect.stats.is_some().then(|| Stats::new(Arc::clone(&places))),
        mirror: case.mirrors.get(usize::from(vcpu)).cloned(),
        profile: inspect.profile.is_some().then(|| Profile::new(memory.clone(), Arc::clone(&places))),
    });
    // Whoever reads the files may take long.
    drop(running);
    let mut outcome = outcome?;
    if let Some(trace) = trace {
        tracing::finish(trace, inspect);
    }
    // One that cannot be written keeps no other from being.
    let counted = counts.write(&outcome, case.symbols.as_deref());
    let recorded = recording.map_or(Ok(()), |recording| recording.finish(&mut outcome));
    let report = report.map(|file| {
        let report = Report::new(&mut outcome, &case.options.dump, case.config, &output.taken());
        (file, report.map_err(Error::State))
    });
    // Last: it may step the guest on.
    let mut end = case.close(&mut outcome, map);
    let reported = report.map_or(Ok(()), |(OutputFile { path, file }, report)| {
        let mut report = report?;
        report.explain(&end);
        Ok(report.write_to(file).map_err(|source| OutputError::new(path, source))?)
    });
    end.failures
        .extend([counted.map_err(Error::from), recorded, reported].into_iter().filter_map(Result::err));
    Ok(end)
}

/// A cassette that is being recorded.
struct Recording<'a> {
    path: &'a Path,
    recorder: Recorder<Tape>,
}

impl<'a> Recording<'a> {
    /// Begins with the state in which every vCPU will start.
    fn begin(OutputFile { path, file }: OutputFile<'a>, machine: &mut Machine) -> Result<Self, Error> {
        let control = machine.control();
        let ended: Box<dyn Fn() -> bool + Send> = Box::new(move || control.stopped().is_some());
        let file: Tape = BufWriter::new(Unhurried::new(file, ended));
        let recorder = Recorder::new(file).map_err(|source| OutputError::new(path, source))?;
        for (vcpu, state) in (0..).zip(machine.states().map_err(Error::State)?) {
            recorder.entry(vcpu, &state);
        }
        Ok(Self { path, recorder })
    }

    /// Ends with the state in which every vCPU stopped.
    fn finish(self, outcome: &mut Outcome<Watch>) -> Result<(), Error> {
        for vcpu in &mut outcome.vcpus {
            self.recorder.last(vcpu.index, &vcpu.vcpu.state().map_err(Error::State)?);
        }
        Ok(self.recorder.finish().map_err(|source| OutputError::new(self.path, source))?)
    }
}
