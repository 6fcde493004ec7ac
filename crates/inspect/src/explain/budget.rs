//! A guest that used up what it was given.

use std::collections::{BTreeMap, BTreeSet};

use strata_cpu::RFlags;
use strata_vmm::Budget;
use strata_vmm::vcpu::ExitRecord;
use vm_memory::{Bytes, GuestAddress};

use super::{Death, Explanation, Kind, place};
use crate::{disasm, flight};

pub(super) fn explain<M: Bytes<GuestAddress>>(death: &Death<'_, M>, budget: Budget) -> Explanation {
    match budget {
        Budget::Wall(_) => time(death),
        _ => exits(death).unwrap_or_else(|| time(death)),
    }
}

/// A loop of few instructions, as its steps showed.
struct Loop {
    first: u64,
    last: u64,
    /// Where its instructions are, in the order of addresses.
    instructions: Vec<u64>,
}

fn time<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Explanation {
    let rip = death.view.rip();
    let off = !death.view.state().regs.rflags.contains(RFlags::IF);
    let interrupts = if off { "interrupts are off (IF=0)" } else { "interrupts are on (IF=1)" };
    let headline = death.stop.to_string();
    let mut explanation = match (find_loop(death), off) {
        (Some(found), true) => {
            let mut explanation = Explanation::new(Kind::Spin, headline);
            let text = format!("it spins{} {}, and {interrupts}", death.on_vcpu(), found.words(death));
            explanation.tell(text, found.shown(death));
            explanation.hint(
                "what the loop waits for: with interrupts off no handler can bring it, only a device or another processor",
            );
            explanation
        }
        (Some(found), false) => {
            let mut explanation = Explanation::neutral(Kind::Budget, headline);
            let text = format!("it loops{} {}; {interrupts}", death.on_vcpu(), found.words(death));
            explanation.tell(text, found.shown(death));
            explanation
        }
        (None, _) => {
            let mut explanation = Explanation::neutral(Kind::Budget, headline);
            let text = format!("it was{} at {}; {interrupts}", death.on_vcpu(), death.name(rip));
            explanation.tell(text, death.shown(rip));
            if let Some(text) = counted(death) {
                explanation.say(text);
            }
            explanation
        }
    };
    explanation.rip = Some(format!("{rip:#x}"));
    explanation
}

impl Loop {
    fn words<M: Bytes<GuestAddress>>(&self, death: &Death<'_, M>) -> String {
        match self.instructions.len() {
            1 => format!("in one instruction at {}", death.name(self.first)),
            count => format!(
                "in {count} instructions between {} and {}",
                death.name(self.first),
                death.name(self.last)
            ),
        }
    }

    /// Its first few instructions.
    fn shown<M: Bytes<GuestAddress>>(&self, death: &Death<'_, M>) -> Vec<String> {
        /// More are not read by anybody.
        const SHOWN: usize = 4;
        let few = self.instructions.iter().take(SHOWN);
        few.flat_map(|address| death.shown(*address)).collect()
    }
}

fn find_loop<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Option<Loop> {
    /// A trail that came by each of its instructions this often is a loop.
    const ROUNDS: usize = 3;
    let rip = death.view.rip();
    // `jmp $` needs no steps to be seen.
    let alone = Loop { first: rip, last: rip, instructions: vec![rip] };
    let instruction = disasm::at(&death.view, rip, None);
    if instruction.is_some_and(|instruction| instruction.bytes == [0xeb, 0xfe]) {
        return Some(alone);
    }
    let different: BTreeSet<_> = death.trail.iter().copied().collect();
    if different.is_empty() || death.trail.len() < different.len() * ROUNDS {
        return None;
    }
    Some(Loop {
        first: *different.first()?,
        last: *different.last()?,
        instructions: different.into_iter().collect(),
    })
}

/// An access that the last exits repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Access {
    ports: bool,
    read: bool,
    at: u64,
}

impl Access {
    fn of(exit: &ExitRecord) -> Option<Self> {
        Some(match exit {
            ExitRecord::PioRead { port, .. } => Self { ports: true, read: true, at: (*port).into() },
            ExitRecord::PioWrite { port, .. } => Self { ports: true, read: false, at: (*port).into() },
            ExitRecord::MmioRead { addr, .. } => Self { ports: false, read: true, at: *addr },
            ExitRecord::MmioWrite { addr, .. } => Self { ports: false, read: false, at: *addr },
            _ => return None,
        })
    }

    /// `out to port 0x3f8 (com1)`
    fn words<M: Bytes<GuestAddress>>(self, death: &Death<'_, M>) -> String {
        let what = match (self.ports, self.read) {
            (true, true) => "in from port",
            (true, false) => "out to port",
            (false, true) => "reads of address",
            (false, false) => "writes of address",
        };
        let device = death.machine.device_at(self.ports, self.at).unwrap_or("nobody");
        format!("{what} {:#x} ({device})", self.at)
    }
}

/// Asking one place, and nothing else, again and again.
fn exits<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Option<Explanation> {
    /// Fewer may be chance.
    const ENOUGH: usize = 16;
    let last = death.exits.last()?;
    let access = Access::of(&last.exit)?;
    let same = |exit: &&super::LastExit| Access::of(&exit.exit) == Some(access);
    let times = death.exits.iter().rev().take_while(same).count();
    if times < ENOUGH || times < death.exits.len() / 2 {
        return None;
    }
    let place = if access.ports { "port" } else { "address" };
    let at = access.at;
    let doing = if access.read { "reads" } else { "writes" };
    let device = death.machine.device_at(access.ports, at);
    // KVM leaves RIP behind what it has done.
    let rip = last.registers.as_ref().map(|registers| {
        let found = flight::cause(&death.view, registers, &mut last.exit.clone());
        found.map_or(registers.rip, |instruction| instruction.address)
    });
    let from = rip.map(|rip| format!(" at {}", death.name(rip))).unwrap_or_default();
    let shown = rip.map(|rip| place::instruction(&death.view, death.symbols, rip).into_iter().collect());
    let headline = death.stop.to_string();
    let mut explanation = match (device, access.read) {
        (None, true) => {
            let mut explanation = Explanation::new(Kind::Poll, headline);
            explanation.tell(
                format!(
                    "it polls{} {place} {at:#x}{from}, where no device is: {times} of its last {} exits read there, and got {}",
                    death.on_vcpu(),
                    death.exits.len(),
                    answer(&last.exit)
                ),
                shown.unwrap_or_default(),
            );
            explanation.hint("what it waits for: a read where no device is gives all ones, for ever");
            explanation
        }
        (device, _) => {
            let mut explanation = Explanation::neutral(Kind::Budget, headline);
            let who = device.map_or("where no device is".to_owned(), |name| format!("of {name}"));
            let by =
                rip.map(|rip| format!(", by the instruction at {}", death.name(rip))).unwrap_or_default();
            explanation.tell(
                format!(
                    "{times} of its last {} exits{} are {doing} of {place} {at:#x}, {who}{by}",
                    death.exits.len(),
                    death.on_vcpu(),
                ),
                shown.unwrap_or_default(),
            );
            explanation
        }
    };
    explanation.rip = rip.map(|rip| format!("{rip:#x}"));
    Some(explanation)
}

/// What the last exits were, the most frequent first.
fn counted<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Option<String> {
    /// More are not read by anybody.
    const SHOWN: usize = 4;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for last in death.exits {
        let what = match Access::of(&last.exit) {
            Some(access) => access.words(death),
            None => last.exit.to_string(),
        };
        *counts.entry(what).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let rest: usize = counts.iter().skip(SHOWN).map(|(_, times)| times).sum();
    let mut parts: Vec<_> =
        counts.iter().take(SHOWN).map(|(what, times)| format!("{times} {what}")).collect();
    if rest > 0 {
        parts.push(format!("{rest} others"));
    }
    let exits = death.exits.len();
    let s = if exits == 1 { "" } else { "s" };
    (exits > 0).then(|| format!("its last {exits} exit{s}: {}", parts.join(", ")))
}

fn answer(exit: &ExitRecord) -> String {
    match exit {
        ExitRecord::PioRead { data, .. } | ExitRecord::MmioRead { data, .. } => place::hex(data),
        _ => String::new(),
    }
}
