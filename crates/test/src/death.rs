//! What is said of a guest that ended as it should not have.

use std::fmt::Write as _;
use std::path::Path;

use strata_inspect::Symbols;
use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Budget, Outcome, Stop};

/// Why a guest's end is no success, in a line or more. `image` is read for its symbols, where they have something to say.
///
/// THE PLACE for the explainer: `outcome` has the vCPUs and the RAM as the guest left them, which is what
/// `strata_inspect::explain` wants.
pub fn describe(outcome: &mut Outcome, image: &Path) -> String {
    let mut text = match &outcome.stop {
        Stop::DebugExit { value } => format!("the guest ended with {value:#x} at its debug-exit port"),
        Stop::Budget(Budget::Wall(time)) => format!("the guest was ended after {time:?}: its time was up"),
        stop => format!("the guest ended: {stop}"),
    };
    if !is_death(&outcome.stop) {
        return text;
    }
    // Without symbols there is that much less to say.
    let symbols = Symbols::open(image).unwrap_or_default();
    for vcpu in &mut outcome.vcpus {
        // Likewise where the host does not tell.
        let Ok(state) = vcpu.vcpu.state() else { continue };
        let rip = state.regs.rip;
        let (index, rsp, cr2, cr3) = (vcpu.index, state.regs.rsp, state.cr2, state.cr3);
        // Writing to a text cannot fail.
        let _ = write!(text, "\nvCPU {index}: RIP {rip:#x}, RSP {rsp:#x}, CR2 {cr2:#x}, CR3 {cr3:#x}");
        text.extend(place(rip, &symbols).map(|place| format!("\n{place}")));
    }
    text
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
