use std::sync::Arc;
use std::thread;

use strata_devices::{AddressSpace, Bus};

use super::super::{Buses, Finished, Limits, NoTrace, Plan, run_here, spawn};
use super::*;
use crate::testing::{Act, ScriptedVcpu};

type Thread = thread::JoinHandle<Finished<ScriptedVcpu, NoTrace>>;

fn start(control: &Control, index: u8, act: Act) -> Thread {
    let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    let limits = Limits::default();
    let plan = Plan { index, buses: Arc::new(buses), control: control.clone(), limits, pin: None };
    spawn(plan, ScriptedVcpu::new([act]).repeat_last(), NoTrace).unwrap()
}

#[test]
fn the_first_reason_wins_and_everybody_ends() {
    let control = Control::new();
    let spinning = start(&control, 0, Act::Spin);
    let halting = start(&control, 1, Act::halt());
    halting.join().unwrap();
    spinning.join().unwrap();
    assert_eq!(control.stopped(), Some(Stop::Halted));
    assert!(!control.stop(Stop::Reset));
    assert_eq!(control.stopped(), Some(Stop::Halted));
}

#[test]
fn a_failing_and_a_panicking_vcpu_stop_the_machine_with_their_number() {
    let control = Control::new();
    let threads = [start(&control, 0, Act::Spin), start(&control, 3, Act::Fail(libc::EIO))];
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(control.stopped(), Some(Stop::VcpuFailed { vcpu: 3, call: "KVM_RUN", errno: libc::EIO }));

    let control = Control::new();
    let spinning = start(&control, 0, Act::Spin);
    assert!(start(&control, 1, Act::Panic).join().is_err());
    spinning.join().unwrap();
    assert_eq!(control.stopped(), Some(Stop::VcpuDied { vcpu: 1 }));
}

#[test]
fn a_vcpu_on_the_calling_thread_obeys_and_dies_as_on_its_own() {
    let here = |control: &Control, act| {
        let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
        let plan = Plan {
            index: 0,
            buses: Arc::new(buses),
            control: control.clone(),
            limits: Limits::default(),
            pin: None,
        };
        run_here(plan, ScriptedVcpu::new([act]).repeat_last(), NoTrace)
    };
    let control = Control::new();
    assert_eq!(here(&control, Act::halt()).map(|finished| finished.index), Some(0));
    assert_eq!(control.stopped(), Some(Stop::Halted));

    let control = Control::new();
    let other = start(&control, 1, Act::Spin);
    assert!(here(&control, Act::Panic).is_none());
    other.join().unwrap();
    assert_eq!(control.stopped(), Some(Stop::VcpuDied { vcpu: 0 }));

    let control = Control::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            control.pause();
            control.stop(Stop::Interrupted)
        });
        assert!(here(&control, Act::Spin).is_some());
    });
    assert_eq!(control.stopped(), Some(Stop::Interrupted));
}

#[test]
fn a_paused_machine_runs_nothing_until_it_is_resumed() {
    let control = Control::new();
    let threads = [start(&control, 0, Act::Spin), start(&control, 1, Act::Spin)];
    for _ in 0..100 {
        assert!(control.pause());
        assert!(control.pause(), "pausing twice is pausing");
        let state = control.state();
        assert_eq!((state.parked, state.running), (2, 2));
        drop(state);
        control.resume();
    }
    control.pause();
    assert!(control.stop(Stop::Interrupted), "a paused machine can be stopped");
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(!control.pause(), "and not paused afterwards");
    control.resume();
}

#[test]
fn a_vcpu_that_comes_late_obeys() {
    let control = Control::new();
    control.stop(Stop::Interrupted);
    start(&control, 0, Act::Spin).join().unwrap();
    assert_eq!(control.stopped(), Some(Stop::Interrupted));
}

/// Steps of an arbitrary, repeatable sequence (xorshift, Marsaglia 2003).
fn numbers(mut seed: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    })
}

#[test]
fn pause_resume_and_stop_in_any_order_from_any_thread_never_deadlock() {
    for round in 1..200 {
        let control = Control::new();
        let vcpus = [start(&control, 0, Act::Spin), start(&control, 1, Act::Spin)];
        thread::scope(|scope| {
            for seed in 1..4 {
                let control = control.clone();
                scope.spawn(move || {
                    for number in numbers(round * 4 + seed).take(20) {
                        match number % 16 {
                            0..7 => drop(control.pause()),
                            7..15 => control.resume(),
                            _ => drop(control.stop(Stop::Interrupted)),
                        }
                    }
                    // The last thing each does: nobody is left paused by it.
                    control.resume();
                });
            }
        });
        control.stop(Stop::Reset);
        control.wait_for_all();
        for vcpu in vcpus {
            vcpu.join().unwrap();
        }
        assert!(matches!(control.stopped(), Some(Stop::Interrupted | Stop::Reset)));
    }
}

#[test]
fn a_control_outlives_its_machine() {
    let control = Control::new();
    start(&control, 0, Act::halt()).join().unwrap();
    assert!(!control.pause());
    control.resume();
    assert!(!control.stop(Stop::Reset));
    control.wait_for_all();
    // One that never had a vCPU.
    let idle = Control::new();
    assert!(idle.pause());
    idle.resume();
    assert!(idle.stop(Stop::Interrupted));
}
