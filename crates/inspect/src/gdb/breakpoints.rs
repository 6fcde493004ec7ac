//! Where the guest is to stop, and by which means.

use std::collections::BTreeSet;

use strata_vmm::host::DebugAbilities;
use strata_vmm::kvm::Watchpoint;

/// How many debug registers there are for breakpoints and watchpoints.
const REGISTERS: usize = 4;
/// How many breakpoints and watched bytes there may be: more is no person's doing.
const LIMIT: usize = 4096;

/// What gdb has asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Breakpoints {
    /// `break`.
    pub(super) soft: BTreeSet<u64>,
    /// `hbreak`.
    pub(super) hard: BTreeSet<u64>,
    /// `watch` and `awatch`.
    pub(super) watches: Vec<Watch>,
}

/// A watched range, as gdb named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) address: u64,
    pub(super) len: u64,
    /// `rwatch` or `awatch`.
    pub(super) reads: bool,
    /// Whether gdb wants to hear of reads alone.
    pub(super) only_reads: bool,
}

/// How to bring that about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Linear addresses for debug registers.
    pub(super) registers: Vec<u64>,
    /// The debug registers behind those.
    pub(super) watchpoints: Vec<Watchpoint>,
    /// Linear and physical addresses for an `int3`.
    pub(super) planted: Vec<(u64, u64)>,
    /// Something is left that only single-stepping finds.
    pub(super) search: bool,
}

impl Watch {
    /// The pieces that a debug register can watch: 1, 2, 4 or 8 bytes each, aligned (SDM 3B 18.2.5).
    fn pieces(&self) -> Vec<Watchpoint> {
        let (mut at, mut left) = (self.address, self.len);
        let mut pieces = Vec::new();
        while left > 0 && pieces.len() <= REGISTERS {
            let fits = |len: &u8| at.is_multiple_of(u64::from(*len)) && u64::from(*len) <= left;
            let len = [8, 4, 2].into_iter().find(fits).unwrap_or(1);
            pieces.push(Watchpoint { address: at, len, reads: self.reads });
            at = at.wrapping_add(len.into());
            left -= u64::from(len);
        }
        pieces
    }
}

impl Breakpoints {
    /// Whether a breakpoint is at this linear address.
    pub(super) fn has(&self, address: u64) -> bool {
        self.soft.contains(&address) || self.hard.contains(&address)
    }

    /// How many debug registers are taken by what nothing else can do.
    fn taken(&self, abilities: DebugAbilities) -> usize {
        let hard = if abilities.breakpoints { self.hard.len() } else { 0 };
        let watched = self.watches.iter().map(|watch| watch.pieces().len()).sum();
        hard + if abilities.watchpoints { watched } else { 0 }
    }

    /// Adds a breakpoint that `break` asks for.
    pub(super) fn add_soft(&mut self, address: u64) -> bool {
        self.soft.len() < LIMIT && {
            self.soft.insert(address);
            true
        }
    }

    /// Adds one that `hbreak` asks for; `false` if there is no debug register left for it.
    pub(super) fn add_hard(&mut self, address: u64, abilities: DebugAbilities) -> bool {
        let is_new = self.hard.len() < LIMIT && self.hard.insert(address);
        let fits = self.taken(abilities) <= REGISTERS;
        if is_new && !fits {
            self.hard.remove(&address);
        }
        fits && self.hard.contains(&address)
    }

    /// Adds a watchpoint; `false` if there is no debug register left, or only reads would be seen where the host has no
    /// watchpoints: stepping sees what has changed, not what was looked at.
    pub(super) fn add_watch(&mut self, watch: Watch, abilities: DebugAbilities) -> bool {
        let possible = abilities.watchpoints || !watch.reads && abilities.single_step;
        // Each of these bytes is looked at after every step.
        let all = self.watches.iter().fold(watch.len, |sum, watch| sum.saturating_add(watch.len));
        if !possible || watch.len == 0 || all > LIMIT as u64 {
            return false;
        }
        self.watches.push(watch);
        let fits = self.taken(abilities) <= REGISTERS;
        if !fits {
            self.watches.pop();
        }
        fits
    }

    /// Decides: `hbreak` and `watch` take debug registers, `break` an `int3` if the host stops at it and the address is mapped
    /// (`physical` says where), a debug register if one is free, and else it is searched for step by step.
    pub(super) fn plan(&self, abilities: DebugAbilities, physical: impl Fn(u64) -> Option<u64>) -> Plan {
        let mut plan = Plan::default();
        if abilities.watchpoints {
            plan.watchpoints = self.watches.iter().flat_map(Watch::pieces).collect();
        } else {
            plan.search |= !self.watches.is_empty();
        }
        if abilities.breakpoints {
            plan.registers = self.hard.iter().copied().collect();
        } else {
            plan.search |= !self.hard.is_empty();
        }
        for &address in self.soft.difference(&self.hard) {
            let int3 = physical(address).filter(|_| abilities.software_breakpoints);
            let used = plan.registers.len() + plan.watchpoints.len();
            match int3 {
                Some(phys) => plan.planted.push((address, phys)),
                None if abilities.breakpoints && used < REGISTERS => plan.registers.push(address),
                None => plan.search = true,
            }
        }
        plan
    }
}

#[cfg(test)]
#[path = "breakpoints_test.rs"]
mod tests;
