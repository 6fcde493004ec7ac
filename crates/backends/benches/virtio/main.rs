//! Round trips of virtio requests, from the driver's doorbell to its interrupt: the devices of `strata-devices` on the
//! back ends of this crate, and a floor that only moves the bytes and signals. `cargo xtask bench virtio` runs it.
//!
//! No KVM is needed: the main thread is the driver. It fills a ring in memory, rings an eventfd as `KVM_IOEVENTFD` would,
//! and waits for the eventfd that `KVM_IRQFD` would wait for. Both sides are given the same rings, the same file and the
//! same TAP, one request at a time.
//!
//! - `virtio run FOLDER`: all of them; a line of a name and the ns of one round trip for each.
//! - `virtio calls SIDE WHAT FOLDER`: [`CALLS`] round trips of `strata` or `floor`, for strace; WHAT is `block`, `send` or
//!   `receive`.
//!
//! Without either nothing is done. Files are made in FOLDER. A TAP is made in a network namespace of its own, for which
//! `CAP_SYS_ADMIN` is needed.

#![allow(unsafe_code, reason = "a driver and a floor by raw pointers and raw system calls")]
#![allow(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "fields of structures of the kernel's and of a ring's"
)]

mod driver;
mod floor;
mod host;
mod ours;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use driver::{Driver, What};
use floor::Floor;
use host::Host;
use ours::Ours;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Round trips of one run, and before it.
const TRIPS: u32 = 2000;
const WARM_UP: u32 = 100;
/// Of so many runs the median counts.
const RUNS: usize = 5;
/// Round trips under strace.
const CALLS: u32 = 1000;

/// Who does the device's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Strata,
    Floor,
    /// A floor that moves no bytes.
    Signal,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["run", folder] => run(Path::new(folder)),
        ["calls", side, what, folder] => calls(side, what, Path::new(folder)),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<()> {
    let host = Host::new(folder)?;
    let names = [(What::Block, "block"), (What::Send, "send"), (What::Receive, "receive")];
    for (what, name) in names {
        let mut times = [Vec::new(), Vec::new()];
        // Taking turns: on a real host both see the same weather.
        for _ in 0..RUNS {
            for (side, times) in [Side::Strata, Side::Floor].into_iter().zip(&mut times) {
                times.push(time(side, what, &host)?);
            }
        }
        for (side, times) in ["strata", "floor"].into_iter().zip(&mut times) {
            println!("virtio.{name}.{side} {}", median(times));
        }
    }
    let mut times = (0..RUNS).map(|_| time(Side::Signal, What::Block, &host)).collect::<Result<Vec<_>>>()?;
    println!("virtio.signal {}", median(&mut times));
    Ok(())
}

fn median(times: &mut [u128]) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The ns of one round trip.
fn time(side: Side, what: What, host: &Host) -> Result<u128> {
    with(side, what, host, |driver| {
        driver.trips(WARM_UP);
        let begin = Instant::now();
        driver.trips(TRIPS);
        begin.elapsed().as_nanos() / u128::from(TRIPS)
    })
}

fn calls(side: &str, what: &str, folder: &Path) -> Result<()> {
    let side = match side {
        "strata" => Side::Strata,
        "floor" => Side::Floor,
        _ => return Err("no such side".into()),
    };
    let what = match what {
        "block" => What::Block,
        "send" => What::Send,
        "receive" => What::Receive,
        _ => return Err("no such request".into()),
    };
    with(side, what, &Host::new(folder)?, |driver| driver.trips(CALLS))
}

/// Has a driver at one of the sides.
fn with<T>(side: Side, what: What, host: &Host, act: impl FnOnce(&mut Driver) -> T) -> Result<T> {
    let mut driver = Driver::new(what, host)?;
    Ok(if side == Side::Strata {
        let ours = Ours::start(&mut driver, host)?;
        let result = act(&mut driver);
        drop(ours);
        result
    } else {
        let floor = Floor::start(&driver, host, side == Side::Floor)?;
        let result = act(&mut driver);
        drop(floor);
        result
    })
}
