//! What a test costs: a hundred of them, two at a time, by `strata-test` and by the least that KVM needs for the same guest.
//!
//! The image has a hundred tests that do nothing. In `guests/os`, then in the workspace:
//!
//! ```sh
//! cargo test --release --no-run --test hundred # names IMAGE
//! cargo bench -p strata-test --bench hundred --profile dev -- IMAGE
//! ```
//!
//! This takes some ten seconds, without optimisation half a millisecond a test more than with. The profile of releases, without
//! `--profile dev`, takes minutes to build. IMAGE is named from `guests/os`: give its whole path. Without one nothing is done.
//! Prints milliseconds a test: the whole time by the number of tests.

mod bare;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bare::Bare;
use clap::Parser as _;
use strata_test::cli::{Harness, Options};
use strata_test::image::Image;
use strata_test::interrupt::Interrupt;
use strata_test::report::Style;
use strata_test::settings::Settings;
use strata_test::suite::run_suite;

/// Machines at a time, by either.
const THREADS: u16 = 2;
/// Each is measured so often, in turn; the median counts.
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    // cargo adds an option of its own.
    let Some(image) = std::env::args().skip(1).find(|word| !word.starts_with('-')) else {
        return ExitCode::SUCCESS;
    };
    match compare(&image) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(path: &str) -> Result<(), Box<dyn Error>> {
    let options = Options::try_parse_from(["strata-test", path])?;
    let settings = Settings::new(&options, None)?;
    let memory = settings.machine.memory.size.ok_or("the settings say no size of RAM")?;
    let image = Image::read(path)?;
    let count = image.tests.as_ref().map_or(0, Vec::len);
    let bare = Bare::new(path, usize::try_from(memory.0)?)?;
    let harness = Harness { test_threads: Some(THREADS), ..Harness::default() };
    let (mut floors, mut times) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        floors.push(floor(&bare, count));
        let start = Instant::now();
        let (interrupt, mut out) = (Interrupt::new(), io::sink());
        let counts = run_suite(&image, &settings, &harness, Style::default(), (&interrupt, &mut out))?;
        times.push(start.elapsed());
        if counts.passed != count {
            return Err(format!("{} of {count} tests have passed", counts.passed).into());
        }
    }
    let (floor, time) = (median(floors, count), median(times, count));
    println!("test.strata {time:.2} ms\ntest.floor {floor:.2} ms\ntest.over {:.2} ms", time - floor);
    Ok(())
}

/// The same tests, without Strata.
fn floor(bare: &Bare, count: usize) -> Duration {
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let test = next.fetch_add(1, Relaxed);
                    if test >= count {
                        return;
                    }
                    bare.run(test);
                }
            });
        }
    });
    start.elapsed()
}

/// Milliseconds a test. The first round, which finds nothing in any cache, does not count.
fn median(mut times: Vec<Duration>, count: usize) -> f64 {
    times.remove(0);
    times.sort_unstable();
    let tests = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    times[times.len() / 2].as_secs_f64() * 1e3 / f64::from(tests)
}
