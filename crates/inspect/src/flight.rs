//! What a flight recorder has kept, as lines.

use std::fmt::Write as _;

use strata_cpu::{Registers, X86State};
use strata_vmm::machine::Place;
use strata_vmm::vcpu::{ExitRecord, FlightRecorder};
use vm_memory::{Bytes, GuestAddress};

use crate::disasm::{self, Instruction};
use crate::explain::LastExit;
use crate::trace::Phrases;
use crate::{Symbols, View};

/// The exits that `recorder` has kept, a line each, the oldest first: where the vCPU came out, what it wanted, and which
/// registers are others than at the exit before; of the first, all that are not 0. Exits in a row that differ in nothing share
/// a line.
///
/// RIP is as KVM leaves it: at the instruction, or behind it. [`lines_of`] knows better.
pub fn lines(recorder: &FlightRecorder, symbols: Option<&Symbols>) -> Vec<String> {
    let rip = |registers: &Registers, _: &mut ExitRecord| registers.rip;
    let lines = collect(kept(recorder), symbols, Phrases::new(None), rip);
    lines.iter().map(Line::to_string).collect()
}

/// As [`lines`], of a guest that stands still, in the words of a trace: the instruction that caused each exit is looked for in
/// memory, and the devices at `places` are named. Code that the guest has overwritten since, or has run in another mode, may
/// not be found; then the line has RIP.
pub fn lines_of<M: Bytes<GuestAddress>>(
    recorder: &FlightRecorder,
    symbols: Option<&Symbols>,
    view: &View<'_, M>,
    places: &[Place],
) -> Vec<String> {
    seen(kept(recorder), symbols, view, places)
}

fn seen<M: Bytes<GuestAddress>>(
    exits: impl Iterator<Item = (LastExit, usize)>,
    symbols: Option<&Symbols>,
    view: &View<'_, M>,
    places: &[Place],
) -> Vec<String> {
    let found = |registers: &Registers, exit: &mut ExitRecord| {
        cause(view, registers, exit).map_or(registers.rip, |instruction| instruction.address)
    };
    let lines = collect(exits, symbols, Phrases::new(Some(places)), found);
    lines.iter().map(Line::to_string).collect()
}

/// The exits, and how many bytes each moved, of which the first few are kept.
fn kept(recorder: &FlightRecorder) -> impl Iterator<Item = (LastExit, usize)> {
    recorder.exits().map(|recorded| (recorded.into(), recorded.len()))
}

/// The instruction that caused an exit, at which the processor had these registers.
pub(crate) fn cause<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    registers: &Registers,
    exit: &mut ExitRecord,
) -> Option<Instruction> {
    let state = X86State { regs: *registers, ..*view.state() };
    disasm::of_exit(&View::new(view.memory(), &state), &exit.lend(), None)
}

fn collect(
    exits: impl Iterator<Item = (LastExit, usize)>,
    symbols: Option<&Symbols>,
    mut phrases: Phrases<'_>,
    place: impl Fn(&Registers, &mut ExitRecord) -> u64,
) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut before = Registers::default();
    for (LastExit { registers, mut exit }, bytes) in exits {
        let mut line = Line { text: String::new(), changes: String::new(), times: 1 };
        if let Some(registers) = registers {
            let address = place(&registers, &mut exit);
            let symbol = symbols.and_then(|symbols| symbols.find(address));
            let place = symbol.map_or_else(|| format!("{address:#x}"), |symbol| symbol.to_string());
            let _ = write!(line.text, "{place:<18} ");
            line.changes = changed(&before, &registers);
            before = registers;
        }
        line.text.push_str(&phrases.of(&exit.lend()));
        // A string instruction's bytes are not all kept.
        if bytes > KEPT {
            let _ = write!(line.text, " .. ({bytes} bytes)");
        }
        match lines.last_mut() {
            Some(last) if last.text == line.text && line.changes.is_empty() => last.times += 1,
            _ => lines.push(line),
        }
    }
    lines
}

/// How many bytes of an access a recorder keeps.
const KEPT: usize = 8;

#[derive(Debug)]
struct Line {
    text: String,
    changes: String,
    times: u64,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { text, changes, times } = self;
        match (changes.is_empty(), times) {
            (true, 1) => f.write_str(text),
            (true, times) => write!(f, "{text}   ({times} times)"),
            (false, 1) => write!(f, "{text:<48}{changes}"),
            (false, times) => write!(f, "{text:<48}{changes}   ({times} times)"),
        }
    }
}

/// The general-purpose registers that are others than `before`, each after a space. RIP and RFLAGS, which nearly always
/// are, are left out.
pub fn changed(before: &Registers, now: &Registers) -> String {
    let mut text = String::new();
    for ((name, old), (_, new)) in before.general().into_iter().zip(now.general()) {
        if old != new {
            let _ = write!(text, " {name}={new:#x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use strata_vmm::devices::AddressSpace;

    use super::*;
    use crate::testing::{CODE, Lab};

    #[test]
    fn exits_read_as_in_a_trace_and_name_the_instruction() {
        let mut lab = Lab::long();
        lab.code(b"\xee\xf4"); // out dx, al; hlt
        lab.state.regs = Registers { rip: CODE + 1, rax: 0x48, rdx: 0x3f8, ..lab.state.regs };
        let out = |registers| {
            let exit = ExitRecord::PioWrite { port: 0x3f8, width: 1, data: b"H".to_vec() };
            (LastExit { registers: Some(registers), exit }, 1)
        };
        let regs = lab.state.regs;
        let exits = [out(regs), out(regs), out(Registers { rax: 0x49, ..regs })];
        let com1 = Place { space: AddressSpace::Pio, first: 0x3f8, last: 0x3ff, name: "com1".into() };
        let lines = seen(exits.into_iter(), None, &lab.view(), &[com1]);
        let first = "0x100000           out 0x3f8 <- 'H' com1.thr";
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], format!("{first:<48} rax=0x48 rdx=0x3f8 rsp=0x8ff0   (2 times)"));
        assert_eq!(lines[1], format!("{first:<48} rax=0x49"));
    }

    #[test]
    fn only_what_changed_is_shown() {
        let before = Registers { rax: 1, r15: 2, ..Registers::default() };
        let now = Registers { rax: 1, rcx: 0x10, r15: 0, rip: 7, ..Registers::default() };
        assert_eq!(changed(&before, &now), " rcx=0x10 r15=0x0");
        assert_eq!(changed(&now, &now), "");
    }
}
