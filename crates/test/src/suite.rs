//! All the tests of a program, each in a machine of its own, several at a time.

use std::io::{self, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use strata_vmm::Stop;

use crate::cli::Harness;
use crate::death;
use crate::image::{GuestTest, Image};
use crate::interrupt::Interrupt;
use crate::report::{Counts, Report, Result as TestResult, Style, Verdict};
use crate::run::{Job, JobError, run};
use crate::select::{Selected, select};
use crate::settings::Settings;

/// Why not all tests have been run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// A machine could not be had; it would be the same for the next.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The results cannot be written.
    #[error("cannot write the results")]
    Write(#[from] io::Error),
    /// Somebody wants it to end.
    #[error("interrupted while these tests ran: {}", running.join(", "))]
    Interrupted {
        /// The names of the tests that were running.
        running: Vec<String>,
    },
}

/// Runs the tests that `harness` selects, and writes the results to `out`.
///
/// # Errors
///
/// Each case of [`SuiteError`]. A test that fails is none.
pub fn run_suite(
    image: &Image,
    settings: &Settings,
    harness: &Harness,
    style: Style,
    (interrupt, out): (&Interrupt, &mut dyn Write),
) -> Result<Counts, SuiteError> {
    let start = Instant::now();
    let whole = [GuestTest { name: image.name(), ignored: false, should_panic: false }];
    let tests = image.tests.as_deref().unwrap_or(&whole);
    let (selected, left_out) = select(tests, harness);
    let mut report = Report::begin(out, style, selected.len())?;
    let suite = Suite {
        image: &image.path,
        is_ours: image.tests.is_some(),
        settings,
        interrupt,
        // A kernel with tests of its own writes their results itself.
        show: harness.nocapture || image.tests.is_none(),
        selected: &selected,
        next: AtomicUsize::new(0),
        ended: AtomicBool::new(false),
    };
    let threads = threads(harness).min(selected.len());
    let failed = thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(|| suite.work(sender));
        }
        drop(sender);
        suite.collect(&results, &mut report)
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(report.end(left_out, start.elapsed())?),
    }
}

/// How many machines run at a time.
fn threads(harness: &Harness) -> usize {
    match harness.test_threads {
        Some(count) => count.into(),
        None => thread::available_parallelism().map_or(1, NonZero::get),
    }
}

/// How a test of `strata-guest`'s ends that has failed, with a message.
const FAILED: Stop = Stop::DebugExit { value: 0x11 };

struct Suite<'a> {
    image: &'a Path,
    is_ours: bool,
    settings: &'a Settings,
    interrupt: &'a Interrupt,
    show: bool,
    selected: &'a [Selected<'a>],
    next: AtomicUsize,
    ended: AtomicBool,
}

/// A test by its place among the selected, and how it went.
type Ended = (usize, Result<TestResult, JobError>);

impl Suite<'_> {
    /// Runs one test after the other, until there are no more.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the results end when every thread has dropped its own"
    )]
    fn work(&self, sender: mpsc::Sender<Ended>) {
        while !self.ended.load(Relaxed) {
            let place = self.next.fetch_add(1, Relaxed);
            let Some(selected) = self.selected.get(place) else { return };
            if sender.send((place, self.run_one(selected))).is_err() {
                return;
            }
        }
    }

    fn run_one(&self, selected: &Selected<'_>) -> Result<TestResult, JobError> {
        let name = selected.test.name.clone();
        if selected.ignored {
            return Ok(TestResult {
                name,
                verdict: Verdict::Ignored,
                written: crate::output::Written::default(),
            });
        }
        // A number is found sooner than a name, by a guest that may be slow.
        let cmdline = self.is_ours.then(|| format!("test={}", selected.index));
        let job = Job {
            image: self.image,
            cmdline: cmdline.as_deref(),
            timeout: Some(self.settings.timeout),
            show: self.show,
            stdin: false,
        };
        let ran = run(job, self.settings, self.interrupt)?;
        let mut written = ran.written;
        // The guest has said why, and that it has failed is said by its being here.
        let has_said = self.is_ours && ran.stop == FAILED && !written.bytes.is_empty();
        let verdict = match ran.code {
            0 => Verdict::Passed,
            _ if has_said => Verdict::Failed(death::places(&written.bytes, self.image)),
            _ => Verdict::Failed(ran.why),
        };
        if self.show {
            // It has been seen.
            written.bytes.clear();
            written.dropped = 0;
        }
        Ok(TestResult { name, verdict, written })
    }

    /// Writes results as they come; why there are no more, if that is not as it should be.
    fn collect<W: Write>(
        &self,
        results: &mpsc::Receiver<Ended>,
        report: &mut Report<W>,
    ) -> Option<SuiteError> {
        let mut failed = None;
        let mut interrupted = Vec::new();
        for (place, result) in results {
            let Some(selected) = self.selected.get(place) else { continue };
            if self.interrupt.happened() {
                self.ended.store(true, Relaxed);
                interrupted.push(selected.test.name.clone());
                continue;
            }
            let done = match result {
                Ok(result) => report.ended(selected, result).map_err(SuiteError::from),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = done {
                self.ended.store(true, Relaxed);
                failed.get_or_insert(error);
            }
        }
        if self.interrupt.happened() {
            return Some(SuiteError::Interrupted { running: interrupted });
        }
        failed
    }
}
