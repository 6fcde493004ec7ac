//! `strata-test`: the runner.

#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, iter};

use clap::Parser as _;
use strata_test::cli::{Color, Harness, Options};
use strata_test::image::{GuestTest, Image, ImageError};
use strata_test::interrupt::Interrupt;
use strata_test::report::{self, Style};
use strata_test::run::{Job, JobError, run};
use strata_test::select::select;
use strata_test::settings::{Settings, SettingsError};
use strata_test::suite::{SuiteError, run_suite};

/// musl's own allocator is slow.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Tests have failed: Rust's own test programs say it so.
const TESTS_FAILED: u8 = 101;
/// Something was wrong with what the user gave; the host could not do it; it was interrupted: as of `strata`.
const BAD_INPUT: u8 = 2;
const HOST_FAILED: u8 = 4;
const INTERRUPTED: u8 = 130;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Suite(#[from] SuiteError),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Self::Suite(error.into())
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options) {
        Ok(code) => code.into(),
        Err(failure) => {
            let causes = iter::successors(failure.source(), |&cause| cause.source());
            let line = causes.fold(failure.to_string(), |line, cause| format!("{line}: {cause}"));
            let (code, hint) = match &failure {
                Failure::Suite(SuiteError::Job(error)) if error.is_for_the_doctor() => {
                    (HOST_FAILED, "; `strata doctor` says what this host lacks, and what to do about it")
                }
                Failure::Suite(SuiteError::Job(error)) if error.is_the_hosts() => (HOST_FAILED, ""),
                Failure::Suite(SuiteError::Interrupted { .. }) => (INTERRUPTED, ""),
                Failure::Suite(SuiteError::Write(_) | SuiteError::Thread(_)) | Failure::Signals(_) => {
                    (HOST_FAILED, "")
                }
                _ => (BAD_INPUT, ""),
            };
            // Where nobody reads it, there is nobody to tell.
            let _ = writeln!(io::stderr(), "strata-test: {line}{hint}");
            code.into()
        }
    }
}

fn start(options: &Options) -> Result<u8, Failure> {
    let image = Image::read(options.program())?;
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let settings = Settings::new(options, package.as_deref())?;
    if image.is_test() {
        test(&image, &settings, options.arguments())
    } else {
        run_whole(&image, &settings, options.arguments())
    }
}

/// `cargo test`.
fn test(
    image: &Image,
    settings: &Settings,
    arguments: impl Iterator<Item = OsString>,
) -> Result<u8, Failure> {
    let harness = Harness::of(arguments).unwrap_or_else(|error| error.exit());
    if harness.list {
        let whole = [GuestTest { name: image.name(), ignored: false, should_panic: false }];
        let (selected, _) = select(image.tests.as_deref().unwrap_or(&whole), &harness);
        report::list(&mut io::stdout().lock(), &selected, harness.is_terse()).map_err(SuiteError::Write)?;
        return Ok(0);
    }
    let color = match harness.color {
        Color::Auto => io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none(),
        Color::Always => true,
        Color::Never => false,
    };
    let style = Style { terse: harness.is_terse(), color, show_output: harness.show_output };
    let interrupt = Interrupt::by_signals().map_err(Failure::Signals)?;
    let counts = run_suite(image, settings, &harness, style, (&interrupt, &mut io::stdout()))?;
    Ok(if counts.failed > 0 { TESTS_FAILED } else { 0 })
}

/// `cargo run`.
fn run_whole(
    image: &Image,
    settings: &Settings,
    arguments: impl Iterator<Item = OsString>,
) -> Result<u8, Failure> {
    // What is said to a program is said to the kernel.
    let words: Vec<String> = settings
        .cmdline
        .iter()
        .cloned()
        .chain(arguments.map(|word| word.to_string_lossy().into_owned()))
        .collect();
    let cmdline = (!words.is_empty()).then(|| words.join(" "));
    let interrupt = Interrupt::by_signals().map_err(Failure::Signals)?;
    let job = Job {
        image: &image.path,
        cmdline: cmdline.as_deref(),
        timeout: settings.run_timeout,
        show: true,
        stdin: true,
    };
    let ran = run(job, settings, &interrupt)?;
    if !ran.why.is_empty() {
        let _ = writeln!(io::stderr(), "strata-test: {}", ran.why);
    }
    Ok(ran.code)
}
