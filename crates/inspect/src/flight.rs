//! What a flight recorder has kept, as lines.

use std::fmt::Write as _;

use strata_cpu::Registers;
use strata_vmm::vcpu::{FlightRecorder, Recorded};

use crate::Symbols;

/// The exits that `recorder` has kept, a line each, the oldest first: where the vCPU came out, what it wanted, and which
/// registers are others than at the exit before. Exits in a row that differ in nothing share a line.
///
/// RIP is as KVM leaves it: at the instruction, or behind it.
pub fn lines(recorder: &FlightRecorder, symbols: Option<&Symbols>) -> Vec<String> {
    let mut lines: Vec<Line> = Vec::new();
    let mut before: Option<&Recorded> = None;
    for recorded in recorder.exits() {
        let line = Line::of(recorded, before, symbols);
        match lines.last_mut() {
            Some(last) if last.text == line.text && line.changes.is_empty() => last.times += 1,
            _ => lines.push(line),
        }
        before = Some(recorded);
    }
    lines.iter().map(Line::to_string).collect()
}

struct Line {
    text: String,
    changes: String,
    times: u64,
}

impl Line {
    fn of(recorded: &Recorded, before: Option<&Recorded>, symbols: Option<&Symbols>) -> Self {
        let mut text = String::new();
        let mut changes = String::new();
        if let Some(registers) = recorded.registers() {
            let place = symbols.and_then(|symbols| symbols.find(registers.rip));
            let place = place.map_or_else(|| format!("{:#x}", registers.rip), |symbol| symbol.to_string());
            let _ = write!(text, "{place:<18} ");
            if let Some(before) = before.and_then(Recorded::registers) {
                changes = changed(&before, &registers);
            }
        }
        let _ = write!(text, "{recorded}");
        Self { text, changes, times: 1 }
    }
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
    for ((name, old), (_, new)) in general(before).into_iter().zip(general(now)) {
        if old != new {
            let _ = write!(text, " {name}={new:#x}");
        }
    }
    text
}

/// The general-purpose registers by name.
pub(crate) fn general(registers: &Registers) -> [(&'static str, u64); 16] {
    let &Registers {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: _,
        rflags: _,
    } = registers;
    [
        ("rax", rax),
        ("rbx", rbx),
        ("rcx", rcx),
        ("rdx", rdx),
        ("rsi", rsi),
        ("rdi", rdi),
        ("rsp", rsp),
        ("rbp", rbp),
        ("r8", r8),
        ("r9", r9),
        ("r10", r10),
        ("r11", r11),
        ("r12", r12),
        ("r13", r13),
        ("r14", r14),
        ("r15", r15),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_shown() {
        let before = Registers { rax: 1, r15: 2, ..Registers::default() };
        let now = Registers { rax: 1, rcx: 0x10, r15: 0, rip: 7, ..Registers::default() };
        assert_eq!(changed(&before, &now), " rcx=0x10 r15=0x0");
        assert_eq!(changed(&now, &now), "");
    }
}
