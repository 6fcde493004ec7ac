//! What a trace costs the thread of a vCPU, in ns an exit: a guest in long mode, whose instruction's page is found by
//! walking page tables, makes a fixed number of port exits.
//!
//! `trace run` measures; without it nothing is done. Counted is the CPU time of the vCPU's thread, in the kernel too: what
//! the kernel copies of the registers, and what waking the writer takes, is part of it; the writer's own work is not.
//! `trace.strata` is the loop without a tracer, `trace.registers` one for which the kernel copies all registers and nobody
//! reads them, the others are whole traces.

use std::error::Error;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use strata_inspect::trace::{Format, Guest, Options, Trace};
use strata_vmm::vcpu::{Exit, Sync, Synced, Tracer};
use strata_vmm::{Config, Machine, NoTrace, Stop};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Exits of one measurement. The trace has room for as many: none is lost.
const EXITS: u32 = 20_000;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() != Some("run") {
        return Ok(());
    }
    let print = |name: &str, took: Duration| {
        println!("trace.{name} {:.1}", took.as_secs_f64() * 1e9 / f64::from(EXITS));
    };
    // Once for the caches.
    time(EXITS, |_| NoTrace)?;
    print("strata", net(|exits| time(exits, |_| NoTrace))?);
    print("registers", net(|exits| time(exits, |_| Registers))?);
    for (name, format) in
        [("text", Format::Text { colour: false }), ("json", Format::Json), ("perfetto", Format::Perfetto)]
    {
        print(name, net(|exits| traced(exits, format))?);
    }
    Ok(())
}

/// What the exits themselves take: without what the same guest takes that makes none.
fn net(mut time: impl FnMut(u32) -> Result<Duration>) -> Result<Duration> {
    Ok(time(EXITS)?.saturating_sub(time(0)?))
}

/// Has the kernel copy registers, and does nothing with them.
struct Registers;

impl Tracer for Registers {
    fn wants(&self) -> Sync {
        Sync::All
    }

    fn exit(&mut self, _: &Exit<'_>, _: Synced<'_>) {}
}

fn machine(exits: u32) -> Result<Machine> {
    // 16 times nop, for the bytes before RIP to be on the same page, as they nearly always are; mov ecx, exits; jecxz behind
    // the loop; again: out 0x80, al; loop again; hlt
    let code =
        [&[0x90; 16][..], &[0xb9], &exits.to_le_bytes(), &[0x67, 0xe3, 4, 0xe6, 0x80, 0xe2, 0xfc, 0xf4]]
            .concat();
    let config = Config::from_toml(
        "mode = \"long64\"\nmemory.size = \"2M\"\n[devices]\nserial = \"none\"\ni8042 = false\nrtc = false",
    )?;
    Ok(Machine::builder(config).image(code).build()?)
}

/// The CPU time of this thread, which is the vCPU's: the machine has nothing else to do.
fn clock() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn run<T: Tracer + 'static>(machine: Machine, tracer: impl FnMut(u8) -> T) -> Result<Duration> {
    let begin = clock();
    let outcome = machine.run_traced(tracer)?;
    let time = clock().saturating_sub(begin);
    assert_eq!(outcome.stop, Stop::Halted);
    Ok(time)
}

fn time<T: Tracer + 'static>(exits: u32, tracer: impl FnMut(u8) -> T) -> Result<Duration> {
    run(machine(exits)?, tracer)
}

fn traced(exits: u32, format: Format) -> Result<Duration> {
    let machine = machine(exits)?;
    let guest = Guest { memory: machine.ram().memory().clone(), places: Vec::new(), symbols: None };
    let options = Options { format, queue: EXITS as usize + 1, ..Options::default() };
    let trace = Trace::start(&options, std::io::sink(), guest)?;
    let time = run(machine, |vcpu| trace.tap(vcpu))?;
    let summary = trace.finish();
    assert_eq!((summary.events, summary.dropped), (u64::from(exits) + 1, 0));
    Ok(time)
}
