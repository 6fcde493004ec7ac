//! Whole machines, watched.

#![allow(missing_docs, reason = "a test")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strata_inspect::postmortem::{Postmortem, Watched};
use strata_inspect::profile::{Profile, Weight};
use strata_inspect::stats::Stats;
use strata_inspect::symbols::Symbols;
use strata_inspect::trace::{Format, Guest, Options, Place, Trace};
use strata_vmm::devices::AddressSpace;
use strata_vmm::kvm::{CallRecord, Probe};
use strata_vmm::testing::conformance;
use strata_vmm::{Config, Machine, Stop};

/// The machine, or a word that it cannot be had here.
fn machine(what: &str, config: &str, image: &[u8]) -> Option<Machine> {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        eprintln!("not run: {what}: no usable /dev/kvm");
        return None;
    }
    Some(Machine::builder(Config::from_toml(config).unwrap()).image(image).build().unwrap())
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_trace_names_instructions_and_registers() {
    let config = "mode = \"real16\"\nload_at = 0x1000\nentry = 0x1000\nmemory.size = \"32K\"";
    let Some(machine) = machine("a trace", config, conformance::PROGRAM) else { return };
    let com1 = Place { space: AddressSpace::Pio, first: 0x3f8, last: 0x3ff, name: "com1".to_owned() };
    let guest = Guest {
        memory: machine.ram().memory().clone(),
        cpus: machine.cpus(),
        places: vec![com1],
        symbols: None,
    };
    let out = Kept::default();
    let options = Options { format: Format::Json, ..Options::default() };
    let trace = Trace::start(&options, out.clone(), guest).unwrap();
    let outcome = machine.run_traced(|vcpu| trace.tap(vcpu)).unwrap();
    assert_eq!(outcome.stop, Stop::Halted);
    let summary = trace.finish();
    assert_eq!((summary.dropped, summary.error.is_none()), (0, true));
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen = |line: &Value| {
        json!([line["kind"], line["address"], line["instruction"], line["at"], line["device"]])
    };
    let seen: Vec<_> = lines.iter().map(seen).collect();
    assert_eq!(seen.first(), Some(&json!(["out", "0x3f8", "out dx,al", "0x1005", "com1"])));
    let rest = [
        json!(["mmio-write", "0x8000", "mov dword [0x8000],0x12345678", "0x1011", null]),
        json!(["mmio-read", "0x8000", "mov al,[0x8000]", "0x101a", null]),
        json!(["hlt", null, "hlt", "0x101d", null]),
    ];
    // Between them is a string instruction, of one exit or three.
    assert!(seen.ends_with(&rest), "{seen:#?}");
    assert_eq!(seen.get(1), Some(&json!(["in", "0x60", "rep insb", "0x100f", null])));
    assert_eq!(lines[0]["registers"]["rdx"], "0x3f8");
    assert_eq!(lines.last().unwrap()["registers"]["rax"], "0xff", "what was read is there at the next exit");
}

/// `main` calls `print` three times, then `write`, which calls it too and writes to MMIO. All keep frame pointers.
const FRAMES: &[u8] = &[
    0x55, 0x48, 0x89, 0xe5, // main: push rbp; mov rbp, rsp
    0xbb, 3, 0, 0, 0, // mov ebx, 3
    0xe8, 0x0a, 0, 0, 0, // again: call print
    0xff, 0xcb, // dec ebx
    0x75, 0xf7, // jnz again
    0xe8, 0x0b, 0, 0, 0,    // call write
    0xf4, // hlt
    0x55, 0x48, 0x89, 0xe5, // print: push rbp; mov rbp, rsp
    0xb0, b'x', 0xe6, 0xe9, // mov al, 'x'; out 0xe9, al
    0x5d, 0xc3, // pop rbp; ret
    0x55, 0x48, 0x89, 0xe5, // write: push rbp; mov rbp, rsp
    0xe8, 0xed, 0xff, 0xff, 0xff, // call print
    0xb8, 0, 0, 0, 0xd0, // mov eax, 0xd0000000
    0x89, 0x18, // mov [rax], ebx
    0x5d, 0xc3, // pop rbp; ret
];

const NAMES: &[u8] = b"0000000000100000 T main\n0000000000100018 T print\n0000000000100022 T write\n";

#[test]
fn a_profile_finds_the_callers() {
    let config = "mode = \"long64\"\nmemory.size = \"2M\"";
    let Some(machine) = machine("a profile", config, FRAMES) else { return };
    let places: Arc<[Place]> = Arc::new([]);
    let memory = machine.ram().memory().clone();
    let tracer = |_| (Stats::new(places.clone()), Profile::new(memory.clone(), places.clone()));
    let outcome = machine.run_traced(tracer).unwrap();
    assert_eq!(outcome.stop, Stop::Halted);
    let (stats, profile) = &outcome.vcpus[0].tracer;
    let symbols = Symbols::read(NAMES).unwrap();
    let expected = [
        "main;[hlt] 1",
        "main;print;[out 0xe9] 3",
        "main;write;[mmio-write 0xd0000000] 1",
        "main;write;print;[out 0xe9] 1",
    ];
    assert_eq!(profile.folded(Weight::Exits, Some(&symbols)), expected);
    let report = stats.report();
    assert_eq!((report.exits, report.kinds[0].name.as_str(), report.kinds[0].exits), (6, "out", 4));
    assert!(report.guest_ns > 0 && report.host.min_ns <= report.host.median_ns);
}

/// A host without `KVM_SET_GUEST_DEBUG`.
struct NoDebugging;

impl Probe for NoDebugging {
    fn before(&self, name: &'static str) -> Result<(), i32> {
        if name == "KVM_SET_GUEST_DEBUG" { Err(25) } else { Ok(()) }
    }

    fn after(&self, _: &CallRecord) {}
}

#[test]
fn a_guest_that_spins_is_explained_also_where_nothing_can_be_stepped() {
    let config = "mode = \"real16\"\nmemory.size = \"64K\"\nbudget.wall = \"50ms\"";
    if machine("a budget", config, b"\xeb\xfe").is_none() {
        return;
    }
    let builder = Machine::builder(Config::from_toml(config).unwrap()).probe(Arc::new(NoDebugging));
    let machine = builder.image(*b"\xfa\xeb\xfe").build().unwrap(); // cli; jmp $
    let postmortem = Postmortem::of(&machine);
    let mut outcome = machine.run().unwrap();
    let found = postmortem.look(&mut outcome, None, |_| Watched::default(), None).unwrap().unwrap();
    assert!(found.explanation.summary().starts_with("it spins in one instruction"), "{}", found.explanation);
}
