//! What is said of a guest that ended as it should not have.

use std::fmt::Write as _;
use std::path::Path;

use strata_inspect::Symbols;
use strata_inspect::postmortem::{Postmortem, Watched};
use strata_vmm::machine::InputLog;
use strata_vmm::vcpu::FlightRecorder;
use strata_vmm::{Budget, Config, Machine, Outcome, Stop};

/// What watches a guest, for when it dies.
pub type Watch = (FlightRecorder, InputLog);

/// What has to be known of a guest that has ended.
#[derive(Debug)]
pub struct Remains<'a> {
    /// The file it was, read for its symbols where they have something to say.
    pub image: &'a Path,
    /// The machine, for running it again where the host keeps nothing of a dead one.
    pub machine: &'a Config,
    /// What was known of it before.
    pub postmortem: Postmortem,
}

/// How many of the last exits are shown.
const EXITS: usize = 8;

/// Why a guest's end is no success, in a line or more: how it stopped, and if it died, why.
pub fn describe(outcome: &mut Outcome<Watch>, remains: &Remains<'_>) -> String {
    let mut text = match &outcome.stop {
        Stop::DebugExit { value } => format!("the guest ended with {value:#x} at its debug-exit port"),
        Stop::Budget(Budget::Wall(time)) => format!("the guest was ended after {time:?}: its time was up"),
        stop => format!("the guest ended: {stop}"),
    };
    if !is_death(&outcome.stop) {
        return text;
    }
    // Without symbols there is that much less to say.
    let symbols = Symbols::open(remains.image).unwrap_or_default();
    let again = || Machine::builder(remains.machine.clone()).build();
    match remains.postmortem.look(outcome, Some(&symbols), watched, Some(&again)) {
        Ok(Some(found)) => {
            // Of a `hlt` that the guest meant there is nothing to explain. Writing to a text cannot fail.
            if !found.explanation.sentences.is_empty() {
                let _ = write!(text, "\n{}", found.explanation);
            }
            let last = found.exits.get(found.exits.len().saturating_sub(EXITS)..).unwrap_or_default();
            if !last.is_empty() {
                let _ = write!(text, "\nits last exits:");
                let _ = last.iter().try_for_each(|line| write!(text, "\n  {line}"));
            }
        }
        // The vCPU's thread is gone, or the host does not tell.
        Ok(None) => {}
        Err(error) => drop(write!(text, "\ncannot look into the guest: {error}")),
    }
    text
}

fn watched((recorder, input): &Watch) -> Watched<'_> {
    Watched { recorder: Some(recorder), input: Some(input) }
}

/// Whether the guest did not choose this end.
pub fn is_death(stop: &Stop) -> bool {
    !matches!(
        stop,
        Stop::DebugExit { .. } | Stop::PowerOff | Stop::Reset | Stop::Interrupted | Stop::Panicked
    )
}

/// How many addresses are looked up in one output: a guest may print any number of them.
const MAX_PLACES: usize = 8;

/// What the addresses are that an output names as `RIP 0x..`: `strata-guest` prints so of an exception that nobody handles.
pub fn places(output: &[u8], image: &Path) -> String {
    let output = String::from_utf8_lossy(output);
    let mut addresses = Vec::new();
    for rest in output.split("RIP 0x").skip(1).take(MAX_PLACES) {
        let digits = rest.split(|digit: char| !digit.is_ascii_hexdigit()).next().unwrap_or_default();
        addresses.extend(u64::from_str_radix(digits, 16));
    }
    addresses.dedup();
    if addresses.is_empty() {
        return String::new();
    }
    let symbols = Symbols::open(image).unwrap_or_default();
    let lines: Vec<String> = addresses.into_iter().filter_map(|address| place(address, &symbols)).collect();
    lines.join("\n")
}

/// An address of the program in words.
fn place(address: u64, symbols: &Symbols) -> Option<String> {
    let symbol = symbols.find(address)?;
    let line = symbols.line(address).map(|line| format!(", {line}")).unwrap_or_default();
    Some(format!("{address:#x} is {symbol}{line}"))
}

#[cfg(test)]
#[path = "death_test.rs"]
mod tests;
