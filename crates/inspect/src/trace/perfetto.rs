//! A trace for the eye: the JSON trace event format, of which <https://ui.perfetto.dev> makes pictures
//! ("Trace Event Format", JSON Object Format).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;

use super::event::What;
use super::line::Line;
use super::writer::Render;

/// The two groups of tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Vcpus = 1,
    Devices = 2,
}

/// The track of accesses that no device took.
const NOBODY: usize = 0;

/// A JSON object with a slice for each time in the guest, each in the VMM, and each access of a device.
#[derive(Debug, Default)]
pub(super) struct Perfetto {
    /// The tracks that have a name already.
    named: BTreeSet<(Group, usize)>,
    /// Until when each device's track is taken, in nanoseconds. Slices of one track may not overlap.
    taken: BTreeMap<usize, u64>,
}

/// A complete event: one with a beginning and a duration, in microseconds.
#[derive(Serialize)]
struct Slice<'a> {
    ph: &'static str,
    pid: u8,
    tid: usize,
    ts: f64,
    dur: f64,
    name: &'a str,
    cat: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<&'static str, String>,
}

/// A metadata event: the name of a process or a thread, which here are groups and tracks.
#[derive(Serialize)]
struct Metadata<'a> {
    ph: &'static str,
    pid: u8,
    tid: usize,
    name: &'static str,
    args: BTreeMap<&'static str, &'a str>,
}

#[allow(clippy::cast_precision_loss, reason = "exact for 104 days")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// One more event: the first is `begin`'s.
fn put(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b",\n")?;
    Ok(serde_json::to_writer(out, value)?)
}

impl<'a> Slice<'a> {
    fn new((group, track): (Group, usize), (from, to): (u64, u64), (name, cat): (&'a str, &'a str)) -> Self {
        let (ts, dur) = (micros(from), micros(to.saturating_sub(from)));
        Self { ph: "X", pid: group as u8, tid: track, ts, dur, name, cat, args: BTreeMap::new() }
    }
}

impl Perfetto {
    fn name(&mut self, track: (Group, usize), name: &str, out: &mut dyn Write) -> io::Result<()> {
        if !self.named.insert(track) {
            return Ok(());
        }
        let args = BTreeMap::from([("name", name)]);
        put(&Metadata { ph: "M", pid: track.0 as u8, tid: track.1, name: "thread_name", args }, out)
    }
}

fn arguments(seen: &Line<'_>) -> BTreeMap<&'static str, String> {
    let mut args = BTreeMap::new();
    args.insert("exit", seen.event.what.record().to_string());
    if let Some(at) = seen.at {
        args.insert("at", seen.symbol.map_or_else(|| format!("{at:#x}"), |symbol| symbol.to_string()));
    }
    if let Some(source) = &seen.source {
        args.insert("source", source.to_string());
    }
    if let Some(instruction) = &seen.instruction {
        args.insert("instruction", instruction.text.clone());
    }
    args
}

impl Render for Perfetto {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
        let name = |pid: Group, name| {
            let args = BTreeMap::from([("name", name)]);
            Metadata { ph: "M", pid: pid as u8, tid: 0, name: "process_name", args }
        };
        serde_json::to_writer(&mut *out, &name(Group::Vcpus, "vCPUs"))?;
        put(&name(Group::Devices, "devices"), out)
    }

    fn event(&mut self, seen: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
        let event = seen.event;
        let kind = event.what.kind().name();
        let (entered, back, done) = (
            event.times.back.saturating_sub(event.times.guest),
            event.times.back,
            event.times.back.saturating_add(event.times.host),
        );
        let vcpu = (Group::Vcpus, usize::from(event.vcpu));
        self.name(vcpu, &format!("vCPU {}", event.vcpu), out)?;
        put(&Slice::new(vcpu, (entered, back), ("guest", "guest")), out)?;
        let target = seen.target();
        let name = target.as_ref().map_or_else(|| kind.to_owned(), |target| format!("{kind} {target}"));
        let handled = Slice { args: arguments(seen), ..Slice::new(vcpu, (back, done), (&name, kind)) };
        put(&handled, out)?;
        if let What::Access(_) = event.what {
            let (track, device) = seen.device.map_or((NOBODY, "nobody"), |(index, name)| (index + 1, name));
            self.name((Group::Devices, track), device, out)?;
            let taken = self.taken.entry(track).or_default();
            // A vCPU that waited for another to be done with the device: it had it from then on.
            let from = back.max(*taken).min(done.max(*taken));
            let to = done.max(from);
            *taken = to;
            put(&Slice::new((Group::Devices, track), (from, to), (&name, kind)), out)?;
        }
        Ok(())
    }

    fn end(&mut self, dropped: u64, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n],\"otherData\":{{\"dropped_exits\":\"{dropped}\"}}}}")
    }
}

#[cfg(test)]
#[path = "perfetto_test.rs"]
mod tests;
