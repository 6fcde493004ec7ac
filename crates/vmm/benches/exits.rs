//! What an exit costs, in ns: the raw loop of `KVM_RUN`, and Strata's loop through a bus of 16 devices to one that
//! discards, without and with the flight recorder.
//!
//! `exits one` measures one port and one memory access, `exits two` what two vCPUs reach together. Without either
//! nothing is done. A guest makes a fixed number of exits, and what the same guest without exits takes is subtracted.

mod raw;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strata_vmm::devices::{Device, Effect};
use strata_vmm::machine::InputLog;
use strata_vmm::vcpu::FlightRecorder;
use strata_vmm::{Config, Machine, MachineBuilder, NoTrace, Stop, Tracer};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Exits of one measurement with one vCPU.
const EXITS: u32 = 20_000;
/// Exits of each vCPU where two are compared with one.
const MANY: u32 = 100_000;
/// The same for the raw loops, which only say what the host makes of two at once.
const FEWER: u32 = 50_000;
/// Ports of the devices: 16 from here, two apart.
const PORTS: u8 = 0xc0;
/// The memory of the devices: 16 from here, behind the guest's RAM.
const MMIO: u64 = 0x2_0000;
const MMIO_STRIDE: u16 = 0x100;
/// Where the device in question stands among the 16.
const PLACE: u8 = 11;
/// A vCPU says here that it is done.
const DONE: u8 = 0x80;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("one") => one(),
        Some("two") => two(),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
enum Access {
    Port,
    Memory,
}

impl Access {
    /// The instruction: out PORT, al; mov [es:OFFSET], al
    fn instruction(self, place: u8) -> Vec<u8> {
        match self {
            Self::Port => vec![0xe6, PORTS + 2 * place],
            Self::Memory => {
                let [low, high] = (u16::from(place) * MMIO_STRIDE).to_le_bytes();
                vec![0x26, 0xa2, low, high]
            }
        }
    }
}

/// Real-mode code that makes `exits` of these exits.
fn accesses(access: Access, place: u8, exits: u32) -> Vec<u8> {
    let body = access.instruction(place);
    // mov ax, 0x2000; mov es, ax
    let mut code = vec![0xb8, 0x00, 0x20, 0x8e, 0xc0];
    // mov ecx, exits
    code.extend([0x66, 0xb9]);
    code.extend(exits.to_le_bytes());
    // jecxz behind the loop; again: the access; loop again (counting in ECX)
    let len = i8::try_from(body.len()).unwrap_or(0) + 3;
    code.extend([0x67, 0xe3, len.cast_unsigned()]);
    code.extend(body);
    code.extend([0x67, 0xe2, (-len).cast_unsigned()]);
    code
}

fn halting(access: Access, exits: u32) -> Vec<u8> {
    let mut code = accesses(access, PLACE, exits);
    code.push(0xf4); // hlt
    code
}

/// What the program `strata` watches every run with, unless told otherwise: the flight recorder, and the answers that a
/// replay needs.
type Flight = (FlightRecorder, InputLog);

struct Discard;

impl Device for Discard {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&self, _: u64, _: &[u8]) -> Effect {
        Effect::None
    }
}

/// A machine with 16 devices on each bus.
fn builder(more: &str, image: Vec<u8>) -> Result<MachineBuilder> {
    let config = Config::from_toml(&format!(
        "mode = \"real16\"\n{more}\n[memory]\nsize = \"64K\"\n[devices]\nserial = \"none\"\ni8042 = false\nrtc = false"
    ))?;
    let mut builder = Machine::builder(config).image(image);
    for place in 0..16_u8 {
        let name = format!("discard{place}");
        let base = MMIO + u64::from(place) * u64::from(MMIO_STRIDE);
        builder = builder.pio_device((PORTS + 2 * place).into(), 1, &name, Arc::new(Discard)).mmio_device(
            base,
            4,
            &name,
            Arc::new(Discard),
        );
    }
    Ok(builder)
}

fn raw_time(code: &[u8], exits: u32) -> Duration {
    let machine = raw::Machine::new();
    machine.load(raw::CODE_AT, code);
    let vcpu = machine.vcpu(0, raw::CODE_AT);
    let begin = Instant::now();
    assert_eq!(vcpu.run(), u64::from(exits));
    begin.elapsed()
}

fn strata_time<T: Tracer + Default + 'static>(code: Vec<u8>) -> Result<Duration> {
    let machine = builder("", code)?.build()?;
    let begin = Instant::now();
    let outcome = machine.run_traced(|_| T::default())?;
    let time = begin.elapsed();
    assert_eq!(outcome.stop, Stop::Halted);
    Ok(time)
}

fn one() -> Result<()> {
    for (name, access) in [("pio", Access::Port), ("mmio", Access::Memory)] {
        let (none, some) = (halting(access, 0), halting(access, EXITS));
        // Once for the caches.
        raw_time(&some, EXITS);
        let raw = raw_time(&some, EXITS).saturating_sub(raw_time(&none, 0));
        strata_time::<NoTrace>(some.clone())?;
        let strata =
            strata_time::<NoTrace>(some.clone())?.saturating_sub(strata_time::<NoTrace>(none.clone())?);
        let recorder = strata_time::<Flight>(some)?.saturating_sub(strata_time::<Flight>(none)?);
        for (who, time) in [("floor", raw), ("strata", strata), ("recorder", recorder)] {
            println!("exit.{name}.{who} {:.1}", time.as_secs_f64() * 1e9 / f64::from(EXITS));
        }
    }
    Ok(())
}

/// Powers off when as many vCPUs as it counts down from are done.
struct Done(AtomicU32);

impl Device for Done {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&self, _: u64, _: &[u8]) -> Effect {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 { Effect::PowerOff } else { Effect::None }
    }
}

/// Enables the x2APIC and sends INIT and a start-up message for address 0x1000 to APIC 1 (SDM 3A, "Local APIC": the
/// MSRs 0x1b and 0x830).
const WAKE: &[u8] =
    b"\x66\xb9\x1b\0\0\0\x0f\x32\x66\x0d\0\x0c\0\0\x0f\x30\x66\xb9\x30\x08\0\0\x66\xba\x01\0\0\0\
    \x66\xb8\0\x45\0\0\x0f\x30\x66\xb8\x01\x46\0\0\x0f\x30";

/// Two or one vCPUs of Strata's, each with `MANY` exits on its own device.
fn strata_many(cpus: u32) -> Result<Duration> {
    // out DONE, al; again: hlt; jmp again
    let done = [0xe6, DONE, 0xf4, 0xeb, 0xfd];
    let mut image = accesses(Access::Port, 2, MANY);
    image.extend(done);
    image.resize(0x1000, 0);
    if cpus > 1 {
        image.extend_from_slice(WAKE);
    }
    image.extend(accesses(Access::Port, PLACE, MANY));
    image.extend(done);
    let more = format!("cpus = {cpus}\nirqchip = \"kernel\"\nload_at = 0x1000\nentry = 0x2000");
    let done = Arc::new(Done(AtomicU32::new(cpus)));
    let machine = builder(&more, image)?.pio_device(DONE.into(), 1, "done", done).build()?;
    let begin = Instant::now();
    let outcome = machine.run()?;
    let time = begin.elapsed();
    assert_eq!(outcome.stop, Stop::PowerOff);
    Ok(time)
}

/// The same in raw loops. Without an interrupt controller every vCPU may be entered at once.
fn raw_many(cpus: usize) -> Duration {
    let machine = raw::Machine::new();
    let vcpus: Vec<_> = (0..cpus)
        .map(|id| {
            let at = 0x1000 * (id + 1);
            let mut code = accesses(Access::Port, if id == 0 { PLACE } else { 2 }, FEWER);
            code.push(0xf4); // hlt
            machine.load(at, &code);
            machine.vcpu(id, at)
        })
        .collect();
    let begin = Instant::now();
    thread::scope(|scope| {
        for vcpu in vcpus {
            scope.spawn(move || assert_eq!(vcpu.run(), u64::from(FEWER)));
        }
    });
    begin.elapsed()
}

fn two() -> Result<()> {
    let rate = |one: Duration, both: Duration| 2.0 * one.as_secs_f64() / both.as_secs_f64();
    println!("two.floor {:.3}", rate(raw_many(1), raw_many(2)));
    println!("two.strata {:.3}", rate(strata_many(1)?, strata_many(2)?));
    Ok(())
}
