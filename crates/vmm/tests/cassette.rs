//! A real run, recorded, is the same run when it is replayed.

#![allow(missing_docs, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};

use strata_vmm::Stop;
use strata_vmm::cassette::{Cassette, Recorder};
use strata_vmm::devices::{AddressSpace, Bus, NoIrq, Serial, Stub};
use strata_vmm::testing::{Replay, conformance};
use strata_vmm::vcpu::{Buses, ExitLog, Limits, Pause, Vcpu, run};

/// Devices that answer always the same.
fn buses() -> Buses {
    let mut buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    let serial = Serial::new(Arc::new(NoIrq), Box::new(std::io::sink()));
    buses.pio.insert(0x3f8, Serial::LEN, "com1", Arc::new(Mutex::new(serial))).unwrap();
    buses.pio.insert(0x60, 1, "stub", Arc::new(Mutex::new(Stub::new([1, 2, 3])))).unwrap();
    buses.mmio.insert(0x8000, 8, "stub", Arc::new(Mutex::new(Stub::new([9])))).unwrap();
    buses
}

#[test]
fn a_recorded_run_replays_byte_for_byte() {
    let Some(kvm) = common::kvm("recording a real run") else { return };
    let mut vcpu = common::real_mode(&kvm, conformance::PROGRAM, conformance::ENTRY);
    let mut file = Vec::new();
    let recorder = Recorder::new(&mut file).unwrap();
    recorder.entry(0, &vcpu.state().unwrap());
    let mut tracers = (ExitLog::default(), recorder.tracer(0));
    let pause = run(&mut vcpu, &buses(), &mut Limits::default(), &mut tracers).unwrap();
    assert_eq!(pause, Pause::Stop(Stop::Halted));
    let (real, _) = tracers;
    let last = vcpu.state().unwrap();
    recorder.last(0, &last);
    recorder.finish().unwrap();

    let tape = Cassette::read(&file[..]).unwrap().tapes.remove(&0).unwrap();
    let mut replay = Replay::new(tape);
    let mut replayed = ExitLog::default();
    let pause = run(&mut replay, &buses(), &mut Limits::default(), &mut replayed).unwrap();
    assert_eq!(pause, Pause::Stop(Stop::Halted));
    assert_eq!(replayed.lines(), real.lines());
    assert_eq!(replay.state().unwrap(), last);
    assert_eq!(real.lines()[1].1, "in 0x60/1 x3 -> 01 02 03");
}
