//! The figures that are promised, and whether they are met.

use std::collections::BTreeMap;
use std::fmt;

/// What was measured, by name.
pub(super) type Values = BTreeMap<String, f64>;

/// How a figure is computed from what was measured.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// `NAME.strata` divided by `NAME.floor`.
    Ratio(&'static str),
    /// The first value divided by the second.
    Of(&'static str, &'static str),
    /// The first value less the second, in ns.
    Over(&'static str, &'static str),
    /// The value itself.
    Count(&'static str),
    /// The value, in MiB.
    Bytes(&'static str),
    /// The value, in kB of 1024 bytes.
    Kilobytes(&'static str),
    /// The value, from ns in ms.
    Millis(&'static str),
}

/// How the names of the values begin that a boot of Linux gives.
pub(super) const OF_LINUX: &str = "linux.";

/// How those begin that virtio devices give.
pub(super) const OF_VIRTIO: [&str; 2] = ["virtio.", "local.virtio."];

/// The promises for a boot of Linux, each with what the best of its peers takes (in the same emulated host, for the same
/// work: `document.rs` says which).
pub(super) const LINUX: &[(Figure, &str)] = &[
    (
        Figure {
            what: "exec to the first line from userspace, from `vmlinux`",
            measure: Measure::Millis("linux.start.vmlinux"),
            limit: Limit::AtMost(1350.0),
        },
        "1541 (Firecracker), 1560 (cloud-hypervisor), 1732 (kvmtool), 2112 (vmm-reference), 2734 (alioth)",
    ),
    (
        Figure {
            what: "exec to the first line from userspace, from `vmlinuz`, cached",
            measure: Measure::Millis("linux.start.vmlinuz"),
            limit: Limit::AtMost(1350.0),
        },
        "the same",
    ),
    (
        Figure {
            what: "exec to the first KVM_RUN, of a `vmlinux` of 53 MB",
            measure: Measure::Millis("linux.run.vmlinux"),
            limit: Limit::AtMost(16.0),
        },
        "171 (Firecracker), 178 (cloud-hypervisor); 63 with a bzImage (kvmtool); floor 12.2",
    ),
    (
        Figure {
            what: "exits to userspace until the first line",
            measure: Measure::Count("linux.exits.userspace"),
            limit: Limit::AtMost(300.0),
        },
        "356",
    ),
    (
        Figure {
            what: "KVM exits without page faults",
            measure: Measure::Count("linux.exits.others"),
            limit: Limit::AtMost(2000.0),
        },
        "2384 (Firecracker)",
    ),
    (
        Figure {
            what: "page faults beside",
            measure: Measure::Count("linux.exits.faults"),
            limit: Limit::None,
        },
        "-",
    ),
    (
        Figure {
            what: "resident beyond guest RAM",
            measure: Measure::Kilobytes("linux.memory.beyond"),
            limit: Limit::AtMost(1200.0),
        },
        "1200 kB (kvmtool), 3280 kB (Firecracker)",
    ),
    (
        Figure {
            what: "guest RAM made private by the boot",
            measure: Measure::Bytes("linux.memory.private"),
            limit: Limit::AtMost(32.0),
        },
        "80 to 100 MB",
    ),
    (Figure { what: "threads", measure: Measure::Count("linux.threads"), limit: Limit::AtMost(2.0) }, "2"),
];

/// The promises for virtio devices.
pub(super) const VIRTIO: &[Figure] = &[
    ratio("a block of 4 KiB read: doorbell to interrupt", "virtio.block", 1.2),
    ratio("a packet of 1,500 bytes sent: doorbell to interrupt", "virtio.send", 1.2),
    ratio("one received: from the host's socket to interrupt", "virtio.receive", 1.2),
    count("of each of these, a floor that only signals: ns", "virtio.signal", Limit::None),
    count("system calls of a block read", "virtio.calls.block.strata", Limit::AtMost(3.0)),
    count("system calls of a packet sent", "virtio.calls.send.strata", Limit::AtMost(3.0)),
    count("system calls of a packet received", "virtio.calls.receive.strata", Limit::AtMost(3.0)),
    count("exits a block, 32 at a time", "virtio.exits.exits", Limit::AtMost(1.0)),
    count("of these to userspace", "virtio.exits.userspace", Limit::None),
    count("of these for a halt", "virtio.exits.halts", Limit::None),
    device("resident for a disk", "virtio.memory.disk"),
    own("of this not the program's file", "virtio.memory.disk.anonymous"),
    device("resident for a network card", "virtio.memory.net"),
    own("of this not the program's file", "virtio.memory.net.anonymous"),
    device("resident for sockets", "virtio.memory.vsock"),
    own("of this not the program's file", "virtio.memory.vsock.anonymous"),
    device("resident for a balloon", "virtio.memory.balloon"),
    own("of this not the program's file", "virtio.memory.balloon.anonymous"),
    device("resident for entropy", "virtio.memory.rng"),
    own("of this not the program's file", "virtio.memory.rng.anonymous"),
    device("resident for a console", "virtio.memory.console"),
    own("of this not the program's file", "virtio.memory.console.anonymous"),
    count("wake-ups in 10 s of an idle guest with all of them", "virtio.idle.wakeups", Limit::AtMost(0.0)),
    ratio("this host: a block of 4 KiB read", "local.virtio.block", 1.2),
    ratio("this host: a packet of 1,500 bytes sent", "local.virtio.send", 1.2),
    ratio("this host: one received", "local.virtio.receive", 1.2),
];

const fn count(what: &'static str, name: &'static str, limit: Limit) -> Figure {
    Figure { what, measure: Measure::Count(name), limit }
}

const fn device(what: &'static str, name: &'static str) -> Figure {
    Figure { what, measure: Measure::Kilobytes(name), limit: Limit::AtMost(200.0) }
}

const fn own(what: &'static str, name: &'static str) -> Figure {
    Figure { what, measure: Measure::Kilobytes(name), limit: Limit::None }
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    /// Nothing is promised.
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// One promise.
#[derive(Debug)]
pub(super) struct Figure {
    what: &'static str,
    measure: Measure,
    limit: Limit,
}

/// All promises, in the order of the table.
pub(super) const FIGURES: &[Figure] = &[
    ratio("process start to the first byte a guest writes", "start.run", 1.05),
    ratio("process start to the end of a hlt guest", "start.hlt", 1.05),
    Figure {
        what: "system calls to the first KVM_RUN",
        measure: Measure::Count("calls.strata"),
        limit: Limit::AtMost(45.0),
    },
    ratio("one port exit, 16 devices, no tracing", "exit.pio", 1.04),
    ratio("one memory exit, 16 devices, no tracing", "exit.mmio", 1.04),
    recorder("the same port exit, with the flight recorder", "exit.pio.recorder", "exit.pio.strata"),
    recorder("the same memory exit, with the flight recorder", "exit.mmio.recorder", "exit.mmio.strata"),
    Figure {
        what: "a text trace: CPU time more for an exit, on the vCPU's thread",
        measure: Measure::Over("trace.text", "trace.strata"),
        limit: Limit::AtMost(3000.0),
    },
    Figure {
        what: "resident beyond guest RAM",
        measure: Measure::Bytes("memory.resident"),
        limit: Limit::AtMost(1.0),
    },
    Figure {
        what: "static stripped release binary",
        measure: Measure::Bytes("binary.strata"),
        limit: Limit::AtMost(3.0),
    },
    ratio("page tables: 512 GiB by 1 GiB pages", "paging.1g", 1.1),
    ratio("page tables: 1 GiB by 4 KiB pages", "paging.4k", 1.1),
    Figure {
        what: "two vCPUs, exits in the time of one vCPU's",
        measure: Measure::Count("two.strata"),
        limit: Limit::AtLeast(1.9),
    },
    ratio("this host: process start to the first byte a guest writes", "local.start.run", 1.2),
    ratio("this host: process start to the end of a hlt guest", "local.start.hlt", 1.2),
];

/// The recorder may cost 5 % of an exit.
const fn recorder(what: &'static str, with: &'static str, without: &'static str) -> Figure {
    Figure { what, measure: Measure::Of(with, without), limit: Limit::AtMost(1.05) }
}

const fn ratio(what: &'static str, name: &'static str, limit: f64) -> Figure {
    Figure { what, measure: Measure::Ratio(name), limit: Limit::AtMost(limit) }
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) limit: String,
    pub(super) measured: String,
    /// None where nothing was measured.
    pub(super) is_met: Option<bool>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = match self.is_met {
            Some(true) => "ok",
            Some(false) => "NOT MET",
            None => "not measured",
        };
        write!(f, "| {:<57} | {:<15} | {:<35} | {met:<12} |", self.what, self.limit, self.measured)
    }
}

impl Figure {
    /// Judges this figure by what was measured.
    pub(super) fn row(&self, values: &Values) -> Row {
        let get = |name: &str| values.get(name).copied();
        let measured = match self.measure {
            Measure::Ratio(name) => {
                get(&format!("{name}.strata")).zip(get(&format!("{name}.floor"))).map(|(strata, floor)| {
                    (strata / floor, format!("{:.4} ({strata} / {floor} ns)", strata / floor))
                })
            }
            Measure::Of(name, other) => get(name).zip(get(other)).map(|(value, other)| {
                (value / other, format!("{:.4} ({value} / {other} ns)", value / other))
            }),
            Measure::Over(name, other) => get(name).zip(get(other)).map(|(value, other)| {
                (value - other, format!("{:.1} ns ({value} - {other})", value - other))
            }),
            Measure::Count(name) => get(name).map(|value| {
                let floor = name.strip_suffix(".strata").and_then(|name| get(&format!("{name}.floor")));
                let floor = floor.map_or(String::new(), |floor| format!(" (floor {floor})"));
                (value, format!("{value}{floor}"))
            }),
            Measure::Bytes(name) => get(name).map(|value| {
                let mib = value / f64::from(1 << 20);
                (mib, format!("{mib:.2} MiB"))
            }),
            Measure::Kilobytes(name) => {
                get(name).map(|value| (value / 1024.0, format!("{} kB", value / 1024.0)))
            }
            Measure::Millis(name) => get(name).map(|value| (value / 1e6, format!("{:.1} ms", value / 1e6))),
        };
        let unit = match self.measure {
            Measure::Ratio(_) => " x floor",
            Measure::Of(..) => " x without",
            Measure::Over(..) => " ns",
            Measure::Bytes(_) => " MiB",
            Measure::Kilobytes(_) => " kB",
            Measure::Millis(_) => " ms",
            Measure::Count(_) => "",
        };
        let (limit, is_met) = match self.limit {
            Limit::None => ("-".to_owned(), measured.as_ref().map(|_| true)),
            Limit::AtMost(limit) => {
                (format!("{limit}{unit}"), measured.as_ref().map(|(value, _)| *value <= limit))
            }
            Limit::AtLeast(limit) => {
                (format!("at least {limit}{unit}"), measured.as_ref().map(|(value, _)| *value >= limit))
            }
        };
        let measured = measured.map_or("-".to_owned(), |(_, text)| text);
        Row { what: self.what, limit, measured, is_met }
    }
}

/// Whether a value comes out the same each time: what counts instructions, calls or bytes. The number of pages that
/// happen to be resident does not, and what two CPUs race for does not.
fn is_repeatable(name: &str) -> bool {
    !name.starts_with("local.") && !name.starts_with("two.") && !name.contains("memory.")
}

/// What of `recorded` has moved by over 1 %, in words.
pub(super) fn moved(recorded: &Values, measured: &Values) -> Vec<String> {
    let mut moved = Vec::new();
    for (name, &old) in recorded.iter().filter(|(name, _)| is_repeatable(name)) {
        match measured.get(name) {
            None => moved.push(format!("{name} is recorded as {old} and was not measured")),
            Some(&new) if (new - old).abs() > old.abs() * 0.01 => {
                let percent = (new - old) / old * 100.0;
                moved.push(format!("{name} was {old} and is {new}: {percent:+.1} %"));
            }
            Some(_) => {}
        }
    }
    let unknown = measured.keys().filter(|name| is_repeatable(name) && !recorded.contains_key(*name));
    moved.extend(unknown.map(|name| format!("{name} is not recorded")));
    moved
}

#[cfg(test)]
#[path = "figures_test.rs"]
mod tests;
