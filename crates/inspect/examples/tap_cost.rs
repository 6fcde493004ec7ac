//! What a trace costs the vCPU's thread, in processor time: a guest of `out 0x80,al` and `loop`, with and without one.

use std::error::Error;
use std::time::{Duration, Instant};

use strata_inspect::trace::{Format, Guest, Options, Tap, Trace};
use strata_vmm::memory::GuestMemory;
use strata_vmm::vcpu::{Exit, Sync, Synced, Tracer};
use strata_vmm::{Config, Machine, NoTrace};

const EXITS: u32 = 100_000;

/// Measures a tap from outside.
struct Timed(Tap<GuestMemory>, Vec<Duration>);

impl Tracer for Timed {
    fn wants(&self) -> Sync {
        self.0.wants()
    }

    fn back(&mut self) {
        self.0.back();
    }

    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        let start = Instant::now();
        self.0.exit(exit, synced);
        self.1.push(start.elapsed());
    }
}

/// Wants registers, and does nothing with them.
struct Registers;

impl Tracer for Registers {
    fn wants(&self) -> Sync {
        Sync::All
    }

    fn exit(&mut self, _: &Exit<'_>, _: Synced<'_>) {}
}

fn machine() -> Result<Machine, Box<dyn Error>> {
    // mov ecx, EXITS; again: out 0x80, al; loop again; hlt
    let code = [&[0xb9][..], &EXITS.to_le_bytes(), &[0xe6, 0x80, 0xe2, 0xfc, 0xf4]].concat();
    let config = Config::from_toml("mode = \"long64\"\nmemory.size = \"2M\"")?;
    Ok(Machine::builder(config).image(code).build()?)
}

fn report(what: &str, took: Duration) {
    println!("{what:32} {:>8.3} us an exit", took.as_secs_f64() * 1e6 / f64::from(EXITS));
}

/// How long this thread, which is the vCPU's too, has had a processor (Documentation/scheduler/sched-stats.rst).
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(stat.split_whitespace().next().unwrap_or("0").parse()?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let traced = |format| -> Result<_, Box<dyn Error>> {
        let machine = machine()?;
        let guest = Guest { memory: machine.ram().memory().clone(), places: Vec::new(), symbols: None };
        let trace = Trace::start(&Options { format, ..Options::default() }, std::io::sink(), guest)?;
        let start = processor_time()?;
        let outcome =
            machine.run_traced(|vcpu| Timed(trace.tap(vcpu), Vec::with_capacity(EXITS as usize + 1)))?;
        report(&format!("{format:?}"), processor_time()?.saturating_sub(start));
        let mut times = outcome.vcpus.into_iter().flat_map(|vcpu| vcpu.tracer.1).collect::<Vec<_>>();
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        report("  of these in the tap", times.iter().sum());
        println!("  median {:?}, p99 {:?}; {:?}", at(50), at(99), trace.finish());
        Ok(())
    };
    for _ in 0..2 {
        let plain = machine()?;
        let start = processor_time()?;
        plain.run_traced(|_| NoTrace)?;
        report("no trace", processor_time()?.saturating_sub(start));
        let plain = machine()?;
        let start = processor_time()?;
        plain.run_traced(|_| Registers)?;
        report("registers only", processor_time()?.saturating_sub(start));
        traced(Format::Text { colour: false })?;
        traced(Format::Json)?;
        traced(Format::Perfetto)?;
    }
    Ok(())
}
