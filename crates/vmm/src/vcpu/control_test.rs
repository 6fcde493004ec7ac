use std::sync::Arc;
use std::thread;

use strata_devices::{AddressSpace, Bus};

use super::super::fake::{Act, Fake};
use super::super::{Buses, Finished, Limits, NoTrace, spawn};
use super::*;

type Thread = thread::JoinHandle<Finished<Fake, NoTrace>>;

fn start(control: &Control, index: u8, acts: impl Into<Vec<Act>>) -> Thread {
    let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    let plan = (control.clone(), Limits::default());
    spawn(index, Fake::new(acts), NoTrace, Arc::new(buses), plan).unwrap()
}

#[test]
fn the_first_reason_wins_and_everybody_ends() {
    let control = Control::new().unwrap();
    let spinning = start(&control, 0, [Act::Spin]);
    let halting = start(&control, 1, [Act::Halt]);
    halting.join().unwrap();
    spinning.join().unwrap();
    assert_eq!(control.stopped(), Some(Stop::Halted));
    assert!(!control.stop(Stop::Reset));
    assert_eq!(control.stopped(), Some(Stop::Halted));
}

#[test]
fn a_failing_and_a_panicking_vcpu_stop_the_machine_with_their_number() {
    let control = Control::new().unwrap();
    let threads = [start(&control, 0, [Act::Spin]), start(&control, 3, [Act::Fail(libc::EIO)])];
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(control.stopped(), Some(Stop::VcpuFailed { vcpu: 3, call: "KVM_RUN", errno: libc::EIO }));

    let control = Control::new().unwrap();
    let spinning = start(&control, 0, [Act::Spin]);
    assert!(start(&control, 1, [Act::Panic]).join().is_err());
    spinning.join().unwrap();
    assert_eq!(control.stopped(), Some(Stop::VcpuDied { vcpu: 1 }));
}

#[test]
fn a_paused_machine_runs_nothing_until_it_is_resumed() {
    let control = Control::new().unwrap();
    let threads = [start(&control, 0, [Act::Spin]), start(&control, 1, [Act::Spin])];
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
    let control = Control::new().unwrap();
    control.stop(Stop::Interrupted);
    start(&control, 0, [Act::Spin]).join().unwrap();
    assert_eq!(control.stopped(), Some(Stop::Interrupted));
}
