//! What the exits of a run were, and what each sort of them cost.

mod histogram;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use strata_vmm::vcpu::{Exit, Sync, Synced, Tracer};

use crate::clock::Clock;
use crate::trace::{Kind, Place, address, find};

pub use histogram::Histogram;

/// How many addresses have a histogram of their own. Those of further ones are counted together.
const MAX_ADDRESSES: usize = 256;

/// Counts the exits of one vCPU and measures what they cost the VMM; those of others are [`merge`](Self::merge)d in.
///
/// It needs 3 MiB at most, however long the guest runs and whatever it does.
#[derive(Debug, Clone)]
pub struct Stats {
    places: Arc<[Place]>,
    clock: Clock,
    guest_ns: u64,
    all: Histogram,
    kinds: HashMap<Kind, Histogram>,
    /// By index in `places`; `None` is nobody.
    devices: HashMap<Option<usize>, Histogram>,
    addresses: HashMap<(Kind, u64), Histogram>,
    others: Histogram,
}

impl Stats {
    /// Nothing counted yet, of a machine with devices at these places.
    pub fn new(places: Arc<[Place]>) -> Self {
        Self {
            places,
            clock: Clock::new(Instant::now()),
            guest_ns: 0,
            all: Histogram::default(),
            kinds: HashMap::new(),
            devices: HashMap::new(),
            addresses: HashMap::new(),
            others: Histogram::default(),
        }
    }

    /// Adds what another vCPU of the same machine has counted.
    pub fn merge(&mut self, other: &Self) {
        self.guest_ns = self.guest_ns.saturating_add(other.guest_ns);
        self.all.merge(&other.all);
        self.others.merge(&other.others);
        for (kind, histogram) in &other.kinds {
            self.kinds.entry(*kind).or_default().merge(histogram);
        }
        for (place, histogram) in &other.devices {
            self.devices.entry(*place).or_default().merge(histogram);
        }
        // In a fixed order, so that the same ones find room in each run.
        let mut addresses: Vec<_> = other.addresses.iter().collect();
        addresses.sort_unstable_by_key(|(key, _)| **key);
        for (key, histogram) in addresses {
            slot(&mut self.addresses, &mut self.others, *key).merge(histogram);
        }
    }

    /// What was counted so far.
    pub fn report(&self) -> Report {
        let mut devices: HashMap<&str, Histogram> = HashMap::new();
        for (place, histogram) in &self.devices {
            let place = place.and_then(|index| self.places.get(index));
            devices.entry(place.map_or("nobody", |place| &place.name)).or_default().merge(histogram);
        }
        let name = |(kind, at): (Kind, u64)| {
            let space = if matches!(kind, Kind::In | Kind::Out) {
                strata_vmm::devices::AddressSpace::Pio
            } else {
                strata_vmm::devices::AddressSpace::Mmio
            };
            let place = find(&self.places, space, at).and_then(|index| self.places.get(index));
            format!("{kind} {at:#x} {}", place.map_or("nobody", |place| &place.name))
        };
        let mut addresses = rows(self.addresses.iter().map(|(key, histogram)| (name(*key), histogram)));
        if self.others.count() > 0 {
            addresses.push(Row::new("other addresses".to_owned(), &self.others));
        }
        Report {
            exits: self.all.count(),
            guest_ns: self.guest_ns,
            host: Row::new("all".to_owned(), &self.all),
            kinds: rows(self.kinds.iter().map(|(kind, histogram)| (kind.to_string(), histogram))),
            devices: rows(devices.iter().map(|(name, histogram)| ((*name).to_owned(), histogram))),
            addresses,
            histogram: self.all.powers().into_iter().map(|(from_ns, exits)| Bar { from_ns, exits }).collect(),
        }
    }
}

/// Where the times of an address go.
fn slot<'a>(
    addresses: &'a mut HashMap<(Kind, u64), Histogram>,
    others: &'a mut Histogram,
    key: (Kind, u64),
) -> &'a mut Histogram {
    if addresses.len() < MAX_ADDRESSES || addresses.contains_key(&key) {
        addresses.entry(key).or_default()
    } else {
        others
    }
}

impl Tracer for Stats {
    fn wants(&self) -> Sync {
        self.clock.enter();
        Sync::Nothing
    }

    #[inline]
    fn back(&mut self) {
        self.clock.back();
    }

    fn exit(&mut self, exit: &Exit<'_>, _: Synced<'_>) {
        let times = self.clock.handled();
        let kind = Kind::of(exit);
        self.guest_ns = self.guest_ns.saturating_add(times.guest);
        self.all.record(times.host);
        self.kinds.entry(kind).or_default().record(times.host);
        if let Some((space, at)) = address(exit) {
            self.devices.entry(find(&self.places, space, at)).or_default().record(times.host);
            slot(&mut self.addresses, &mut self.others, (kind, at)).record(times.host);
        }
        self.clock.enter();
    }
}

/// What a [`Stats`] has counted. [`Display`](fmt::Display) prints tables and a histogram; all times are in nanoseconds and the
/// VMM's: from the guest's coming back until its exit was handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How many exits there were.
    pub exits: u64,
    /// How long the guest ran, with what KVM needed to enter and leave it, the vCPUs' times added up.
    pub guest_ns: u64,
    /// All exits.
    pub host: Row,
    /// By kind, the most frequent first, as all that follow.
    pub kinds: Vec<Row>,
    /// By device; `nobody` is none.
    pub devices: Vec<Row>,
    /// By kind and port or address. A machine with more than 256 of them ends with `other addresses`.
    pub addresses: Vec<Row>,
    /// By time, in powers of two without gaps.
    pub histogram: Vec<Bar>,
}

/// One sort of exits. Median and 99th percentile are at most 1/16 off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named for what they are")]
pub struct Row {
    pub name: String,
    pub exits: u64,
    pub total_ns: u64,
    pub min_ns: u64,
    pub median_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

/// One bar of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bar {
    /// The shortest time that is in it; the next bar's is twice this.
    pub from_ns: u64,
    /// How many exits took so long.
    pub exits: u64,
}

impl Row {
    fn new(name: String, histogram: &Histogram) -> Self {
        Self {
            name,
            exits: histogram.count(),
            total_ns: histogram.sum(),
            min_ns: histogram.min(),
            median_ns: histogram.percentile(50),
            p99_ns: histogram.percentile(99),
            max_ns: histogram.max(),
        }
    }
}

fn rows<'a>(named: impl Iterator<Item = (String, &'a Histogram)>) -> Vec<Row> {
    let mut rows: Vec<_> = named.map(|(name, histogram)| Row::new(name, histogram)).collect();
    rows.sort_unstable_by(|a, b| b.exits.cmp(&a.exits).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// A time with three digits and its unit.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
        let nanos = self.0 as f64;
        let (value, unit) = match self.0 {
            0..1_000 => return f.pad(&format!("{} ns", self.0)),
            1_000..1_000_000 => (nanos / 1e3, "us"),
            1_000_000..1_000_000_000 => (nanos / 1e6, "ms"),
            _ => (nanos / 1e9, "s"),
        };
        let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

/// How many columns the longest bar has.
const BAR: u64 = 50;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = [("kind", &self.kinds), ("device", &self.devices), ("address", &self.addresses)];
        let names = tables.iter().flat_map(|(_, rows)| rows.iter()).map(|row| row.name.chars().count());
        let width = names.max().unwrap_or(0).max(10);
        writeln!(
            f,
            "{} exits; {} in the guest, {} in the VMM",
            self.exits,
            Time(self.guest_ns),
            Time(self.host.total_ns)
        )?;
        for (title, rows) in tables.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            writeln!(
                f,
                "\n{title:width$} {:>10} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9}",
                "exits", "", "total", "min", "median", "p99", "max"
            )?;
            for row in rows {
                row.print(f, width, self.exits)?;
            }
        }
        if self.histogram.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nhost time of an exit")?;
        let most = self.histogram.iter().map(|bar| bar.exits).max().unwrap_or(0).max(1);
        for bar in &self.histogram {
            let len = u128::from(bar.exits) * u128::from(BAR);
            // One that is there is seen.
            let len = usize::try_from(len.div_ceil(u128::from(most))).unwrap_or(0);
            writeln!(f, "{:>9} .. {:>10} |{}", Time(bar.from_ns), bar.exits, "#".repeat(len))?;
        }
        Ok(())
    }
}

impl Row {
    fn print(&self, f: &mut fmt::Formatter<'_>, width: usize, all: u64) -> fmt::Result {
        let all = u128::from(all.max(1));
        let tenths = (u128::from(self.exits) * 1000 + all / 2) / all;
        writeln!(
            f,
            "{:width$} {:>10} {:>3}.{}% {:>9} {:>9} {:>9} {:>9} {:>9}",
            self.name,
            self.exits,
            tenths / 10,
            tenths % 10,
            Time(self.total_ns),
            Time(self.min_ns),
            Time(self.median_ns),
            Time(self.p99_ns),
            Time(self.max_ns),
        )
    }
}

#[cfg(test)]
#[path = "stats_test.rs"]
mod tests;
