//! Which functions of the guest its exits come from.

use std::collections::{BTreeMap, HashMap};
#[cfg(feature = "flamegraph")]
use std::io;
use std::sync::Arc;
use std::time::Instant;

use strata_cpu::X86State;
use strata_vmm::vcpu::{Exit, Sync, Synced, Tracer};
use vm_memory::{Bytes, GuestAddress};

use crate::clock::Clock;
use crate::trace::{Kind, Place, address, find};
use crate::{Symbols, View};

/// How many callers are looked for.
const MAX_FRAMES: usize = 64;
/// How many different stacks are kept; the exits of others are counted together.
const MAX_STACKS: usize = 1 << 14;

/// Counts one vCPU's exits by where in the guest they come from: the function, and its callers where the guest keeps
/// frame pointers (RBP). Those of other vCPUs are [`merge`](Self::merge)d in.
///
/// A frame is believed if it lies above the one before, is aligned, and can be read; so a stack that leads in circles ends.
#[derive(Debug, Clone)]
pub struct Profile<M> {
    memory: M,
    places: Arc<[Place]>,
    clock: Clock,
    stacks: HashMap<Box<[u64]>, Cost>,
    others: Cost,
    /// The stack that is being looked for: [`Cause`], and addresses from the innermost on.
    key: Vec<u64>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weight {
    /// Exits.
    #[default]
    Exits,
    /// Nanoseconds that the VMM spent on them.
    HostTime,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    exits: u64,
    host_ns: u64,
}

impl Cost {
    fn add(&mut self, more: Self) {
        self.exits += more.exits;
        self.host_ns = self.host_ns.saturating_add(more.host_ns);
    }

    fn weight(self, weight: Weight) -> u64 {
        match weight {
            Weight::Exits => self.exits,
            Weight::HostTime => self.host_ns,
        }
    }
}

/// Why a flame graph could not be drawn.
#[cfg(feature = "flamegraph")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlamegraphError {
    /// There is nothing to draw.
    #[error("the guest made no exit: there is no flame graph of nothing")]
    Empty,
    /// Writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<M> Profile<M> {
    /// Nothing counted yet, of a guest with this memory, and devices at these places.
    pub fn new(memory: M, places: Arc<[Place]>) -> Self {
        Self {
            memory,
            places,
            clock: Clock::new(Instant::now()),
            stacks: HashMap::new(),
            others: Cost::default(),
            key: Vec::with_capacity(2 + MAX_FRAMES),
        }
    }

    /// Adds what another vCPU of the same machine has counted.
    pub fn merge(&mut self, other: &Self) {
        let mut stacks: Vec<_> = other.stacks.iter().collect();
        stacks.sort_unstable_by_key(|(key, _)| *key);
        for (key, cost) in stacks {
            self.count(key, *cost);
        }
        self.others.add(other.others);
    }

    fn count(&mut self, key: &[u64], cost: Cost) {
        if let Some(known) = self.stacks.get_mut(key) {
            known.add(cost);
        } else if self.stacks.len() < MAX_STACKS {
            self.stacks.insert(key.into(), cost);
        } else {
            self.others.add(cost);
        }
    }

    /// The stacks as lines that flame graph tools take, sorted: functions from the outermost to the innermost, then what it
    /// did, e.g. `kmain;print;[out com1] 12`. Where the guest has symbols, callers are named up to the first that has none:
    /// what lies behind is no stack.
    pub fn folded(&self, weight: Weight, symbols: Option<&Symbols>) -> Vec<String> {
        let symbols = symbols.filter(|symbols| !symbols.is_empty());
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        for (key, cost) in &self.stacks {
            *lines.entry(self.fold(key, symbols)).or_default() += cost.weight(weight);
        }
        if self.others.exits > 0 {
            *lines.entry("[other stacks]".to_owned()).or_default() += self.others.weight(weight);
        }
        lines.into_iter().map(|(stack, weight)| format!("{stack} {weight}")).collect()
    }

    fn fold(&self, key: &[u64], symbols: Option<&Symbols>) -> String {
        let (cause, addresses) = key.split_at_checked(2).unwrap_or((key, &[]));
        let mut names = vec![self.cause(cause)];
        for (depth, at) in addresses.iter().enumerate() {
            // A return address is behind its call, which may be its function's last instruction.
            let at = if depth == 0 { *at } else { at.wrapping_sub(1) };
            match symbols.map(|symbols| symbols.find(at)) {
                // A semicolon would end the name: of `[u8; 4]`, for one.
                Some(Some(symbol)) => names.push(symbol.name.replace(';', ":")),
                Some(None) if depth > 0 => break,
                _ => names.push(format!("{at:#x}")),
            }
        }
        names.reverse();
        names.join(";")
    }

    fn cause(&self, cause: &[u64]) -> String {
        let &[kind, target] = cause else { return String::new() };
        let has = |flag: u64| kind & flag != 0;
        let number = usize::try_from(kind & KIND).unwrap_or(usize::MAX);
        let kind = Kind::ALL.get(number).map_or("unknown", |kind| kind.name());
        let place =
            usize::try_from(target).ok().filter(|_| has(PLACE)).and_then(|index| self.places.get(index));
        match place {
            Some(place) => format!("[{kind} {}]", place.name),
            None if has(ADDRESS) => format!("[{kind} {target:#x}]"),
            None => format!("[{kind}]"),
        }
    }

    /// Draws the flame graph: an SVG with the guest's functions, as wide as their exits are many or long.
    ///
    /// # Errors
    ///
    /// [`FlamegraphError`]
    #[cfg(feature = "flamegraph")]
    pub fn flamegraph(
        &self,
        weight: Weight,
        symbols: Option<&Symbols>,
        mut out: impl io::Write,
    ) -> Result<(), FlamegraphError> {
        use inferno::flamegraph::{Options, from_lines};
        let mut options = Options::default();
        (options.title, options.count_name) = match weight {
            Weight::Exits => ("exits by guest function".to_owned(), "exits".to_owned()),
            Weight::HostTime => ("host time by guest function".to_owned(), "ns".to_owned()),
        };
        "function:".clone_into(&mut options.name_type);
        // The same function has the same colour in every picture.
        options.hash = true;
        let lines = self.folded(weight, symbols);
        if lines.is_empty() {
            return Err(FlamegraphError::Empty);
        }
        let mut picture = Vec::new();
        from_lines(&mut options, lines.iter().map(String::as_str), &mut picture)?;
        // The drawer knows one form of the unit.
        let picture = String::from_utf8_lossy(&picture).replace("(1 exits, ", "(1 exit, ");
        Ok(out.write_all(picture.as_bytes())?)
    }
}

/// The first word of a key is the kind's number, and what the second is: an index of a place, an address, or nothing.
const KIND: u64 = 0xff;
const PLACE: u64 = 1 << 8;
const ADDRESS: u64 = 1 << 9;

impl<M: Bytes<GuestAddress> + Send> Tracer for Profile<M> {
    fn wants(&self) -> Sync {
        self.clock.enter();
        Sync::All
    }

    #[inline]
    fn back(&mut self) {
        self.clock.back();
    }

    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        let cost = Cost { exits: 1, host_ns: self.clock.handled().host };
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        let kind = Kind::of(exit);
        key.extend(match address(exit) {
            None => [kind as u64, 0],
            Some((space, at)) => match find(&self.places, space, at) {
                Some(index) => [kind as u64 | PLACE, index as u64],
                None => [kind as u64 | ADDRESS, at],
            },
        });
        if let Some(state) = synced.state() {
            let view = View::new(&self.memory, &state);
            // After these RIP is behind the instruction, which may be its function's last.
            let behind = u64::from(matches!(kind, Kind::Hlt | Kind::MmioWrite));
            key.push(view.rip().wrapping_sub(behind));
            callers(&view, &state, &mut key);
        }
        self.count(&key, cost);
        self.key = key;
        self.clock.enter();
    }
}

/// Follows the chain of saved frame pointers (System V psABI, "The Stack Frame"): at RBP lies the caller's RBP, above it the
/// return address.
fn callers<M: Bytes<GuestAddress>>(view: &View<'_, M>, state: &X86State, into: &mut Vec<u64>) {
    let word = match view.bitness() {
        64 => 8_usize,
        32 => 4,
        // Programs of 16 bits have no such habit.
        _ => return,
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let mut frame = state.regs.rbp;
    for _ in 0..MAX_FRAMES {
        let mut bytes = [0; 16];
        let Some(bytes) = bytes.get_mut(..2 * word) else { return };
        if frame == 0 || !frame.is_multiple_of(word as u64) || view.read(frame, bytes) < 2 * word {
            return;
        }
        let (saved, back) = bytes.split_at(word);
        let (saved, back) = (number(saved), number(back));
        if back == 0 {
            return;
        }
        into.push(back);
        // The stack grows down: a caller's frame is above. So there are no circles.
        if saved <= frame {
            return;
        }
        frame = saved;
    }
}

#[cfg(test)]
#[path = "profile_test.rs"]
mod tests;
