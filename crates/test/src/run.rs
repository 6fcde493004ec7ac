//! One machine, from its settings to what came of it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use strata_inspect::postmortem::Postmortem;
use strata_vmm::machine::{BuildError, RunError};
use strata_vmm::{Config, Machine, Stop, config};

use crate::death::{self, Remains};
use crate::interrupt::Interrupt;
use crate::output::{Output, Written};
use crate::settings::Settings;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The program.
    pub image: &'a Path,
    /// Its command line, if it is to have another than the settings'.
    pub cmdline: Option<&'a str>,
    /// When it is ended.
    pub timeout: Option<Duration>,
    /// Whether its output is shown as it comes.
    pub show: bool,
    /// Whether it reads our standard input.
    pub stdin: bool,
}

/// What came of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub stop: Stop,
    /// What that is as an exit code: 0 for success.
    pub code: u8,
    /// What it wrote.
    pub written: Written,
    /// What there is to say of an end that is no success.
    pub why: String,
    /// How long it ran, start and end included.
    pub time: Duration,
}

impl Ran {
    /// Whether it went as it should.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

/// Why a machine could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Standard input cannot be handed on.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
}

impl JobError {
    /// Whether this host is to blame, rather than the settings or the program.
    pub fn is_the_hosts(&self) -> bool {
        match self {
            Self::Build(error) => error.is_the_hosts(),
            Self::Run(_) | Self::Input(_) => true,
        }
    }

    /// Whether `strata doctor` has something to say about it.
    pub fn is_for_the_doctor(&self) -> bool {
        matches!(self, Self::Build(error) if error.is_the_hosts())
    }
}

/// The exit code of a program whose output did not show what was expected.
const NOT_FOUND: u8 = 1;

/// Builds a machine, runs it and takes it down.
///
/// # Errors
///
/// The machine could not be had. How the guest ended is never an error.
pub fn run(job: Job<'_>, settings: &Settings, interrupt: &Interrupt) -> Result<Ran, JobError> {
    let start = Instant::now();
    let config = configuration(job, settings);
    let output = Output::new(job.show, settings.expect.as_ref());
    let mut builder = Machine::builder(config.clone()).console(output.clone());
    if job.stdin {
        let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned().map_err(JobError::Input)?;
        builder = builder.input(std::fs::File::from(input));
    }
    output.ends(builder.control());
    let running = interrupt.enter(builder.control());
    let machine = builder.build()?;
    let postmortem = Postmortem::of(&machine);
    let mut outcome = machine.run_traced(|_| death::Watch::default())?;
    drop(running);
    let written = output.take();
    let remains = Remains { image: job.image, machine: &config, postmortem };
    let stop = outcome.stop.clone();
    let interrupted = interrupt.happened() && stop == Stop::Interrupted;
    let (code, why) = match &settings.expect {
        _ if interrupted => (Stop::Interrupted.exit_code(), "interrupted".to_owned()),
        Some(_) if written.found => (0, String::new()),
        Some(expect) => {
            let code = settings.codes.of_stop(&stop).max(NOT_FOUND);
            (
                code,
                format!(
                    "{}\nno line of its output has {:?}",
                    death::describe(&mut outcome, &remains),
                    expect.text()
                ),
            )
        }
        None => match settings.codes.of_stop(&stop) {
            0 => (0, String::new()),
            code => (code, death::describe(&mut outcome, &remains)),
        },
    };
    // Its memory and descriptors go before the next one comes.
    drop(outcome);
    Ok(Ran { stop, code, written, why, time: start.elapsed() })
}

/// The machine of a job.
fn configuration(job: Job<'_>, settings: &Settings) -> Config {
    let mut machine = settings.machine.clone();
    job.image.clone_into(&mut machine.image);
    machine.cmdline = job.cmdline.map(str::to_owned).or_else(|| settings.cmdline.clone());
    machine.budget.wall = job.timeout.map(config::Duration).or(machine.budget.wall);
    machine
}
