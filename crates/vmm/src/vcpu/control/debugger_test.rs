use std::thread::{self, JoinHandle};

use strata_devices::{AddressSpace, Bus};

use super::*;
use crate::testing::{Act, ScriptedVcpu};
use crate::vcpu::{Buses, ExitRecord, Finished, Limits, NoTrace, Plan, spawn};

/// vCPUs that play these acts, and a debugger.
struct Machine {
    control: Control,
    threads: Vec<JoinHandle<Finished<ScriptedVcpu, NoTrace>>>,
}

fn machine(control: &Control, scripts: Vec<ScriptedVcpu>) -> Machine {
    let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    let buses = Arc::new(buses);
    let threads = (0..).zip(scripts).map(|(index, vcpu)| {
        let plan = Plan {
            index,
            buses: Arc::clone(&buses),
            control: control.clone(),
            limits: Limits::default(),
            pin: None,
        };
        spawn(plan, vcpu, NoTrace).unwrap()
    });
    Machine { control: control.clone(), threads: threads.collect() }
}

impl Machine {
    fn end(self) -> Stop {
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.control.stopped().unwrap()
    }
}

fn spinning() -> ScriptedVcpu {
    ScriptedVcpu::new([Act::Spin]).repeat_last()
}

fn debug() -> Act {
    Act::Exit(ExitRecord::Debug { rip: 0x1000, exception: 1, dr6: 0, dr7: 0 })
}

/// Waits until a vCPU is held; every test here has one that will be.
fn next(debugger: &Debugger) -> Held {
    loop {
        if let Some(held) = debugger.next() {
            assert!(debugger.pause());
            return held;
        }
        thread::yield_now();
    }
}

#[test]
fn a_breakpoint_holds_the_machine_and_it_goes_on() {
    let control = Control::new();
    let debugger = control.attach().unwrap().unwrap();
    let machine = machine(&control, vec![ScriptedVcpu::new([debug(), debug(), Act::halt()]), spinning()]);
    for _ in 0..2 {
        let held = next(&debugger);
        assert_eq!((held.vcpu, held.stop.kind()), (0, "debug"));
        assert_eq!(debugger.vcpus(), 2);
        debugger.resume(|_| true);
    }
    // The end is held back too, and comes when it goes on.
    assert_eq!(next(&debugger).stop, Stop::Halted);
    assert_eq!(debugger.ended(), None);
    debugger.resume(|_| true);
    assert_eq!(machine.end(), Stop::Halted);
    assert_eq!(control.stopped_by(), Some(0));
    assert!(!debugger.pause(), "there is nothing to pause any more");
}

#[test]
fn a_vcpu_is_read_and_changed_on_its_own_thread() {
    let control = Control::new();
    let debugger = control.attach().unwrap().unwrap();
    assert!(debugger.with_vcpu(0, |_| ()).is_none(), "there is no vCPU yet");
    let machine = machine(&control, vec![spinning(), spinning()]);
    assert!(debugger.with_vcpu(0, |_| ()).is_none(), "the machine runs");
    assert!(debugger.pause());
    let name = debugger.with_vcpu(1, |vcpu| {
        let mut state = vcpu.state().unwrap();
        state.regs.rip = 0x1234;
        vcpu.set_state(&state).unwrap();
        thread::current().name().map(str::to_owned)
    });
    assert_eq!(name.flatten().as_deref(), Some("vcpu1"));
    let rips: Vec<_> =
        (0..2).map(|n| debugger.with_vcpu(n, |vcpu| vcpu.state().unwrap().regs.rip).unwrap()).collect();
    assert_eq!(rips, [0, 0x1234]);
    assert!(debugger.with_vcpu(2, |_| ()).is_none(), "there are two");
    debugger.kill();
    assert!(debugger.with_vcpu(0, |_| ()).is_none(), "the machine has ended");
    assert_eq!(machine.end(), Stop::Interrupted);
}

#[test]
fn frozen_vcpus_stay_where_they_are() {
    let control = Control::new();
    let debugger = control.attach().unwrap().unwrap();
    assert!(control.pause());
    // Both would stop at once; only the second may.
    let machine = machine(
        &control,
        vec![
            ScriptedVcpu::new([debug(), Act::halt()]),
            ScriptedVcpu::new([debug(), Act::Spin]).repeat_last(),
        ],
    );
    assert!(debugger.pause());
    debugger.resume(|vcpu| vcpu == 1);
    assert_eq!(next(&debugger).vcpu, 1);
    assert!(!debugger.has_next());
    debugger.resume(|vcpu| vcpu == 0);
    assert_eq!(next(&debugger).vcpu, 0);
    drop(debugger);
    // Without a debugger, what comes next ends the machine.
    assert_eq!(machine.end(), Stop::Halted);
}

#[test]
fn detaching_lets_everybody_go_on() {
    let control = Control::new();
    let debugger = control.attach().unwrap().unwrap();
    assert!(control.attach().unwrap().is_none(), "one is enough");
    let machine = machine(&control, vec![ScriptedVcpu::new([debug(), Act::halt()]), spinning()]);
    assert_eq!(next(&debugger).vcpu, 0);
    drop(debugger);
    assert_eq!(machine.end(), Stop::Halted);
    assert!(control.attach().unwrap().is_some());
}

#[test]
fn what_the_guest_means_to_do_is_not_held() {
    let control = Control::new();
    let debugger = control.attach().unwrap().unwrap();
    let machine = machine(
        &control,
        vec![ScriptedVcpu::new([Act::Exit(ExitRecord::SystemEvent {
            kind: kvm_bindings::KVM_SYSTEM_EVENT_SHUTDOWN,
            data: Vec::new(),
        })])],
    );
    assert_eq!(machine.end(), Stop::PowerOff);
    assert_eq!(debugger.next(), None);
    // The end is to be seen at the descriptor.
    debugger.seen();
    assert_eq!(debugger.ended(), Some(Stop::PowerOff));
}

#[test]
fn who_is_unfrozen_without_a_pause_goes_on() {
    let control = Control::new();
    let debugger = control.attach().unwrap().unwrap();
    assert!(control.pause());
    let machine = machine(&control, vec![ScriptedVcpu::new([debug(), Act::halt()]), spinning()]);
    assert!(debugger.pause());
    debugger.resume(|vcpu| vcpu == 1);
    debugger.resume(|_| true);
    assert_eq!(next(&debugger).vcpu, 0);
    drop(debugger);
    assert_eq!(machine.end(), Stop::Halted);
}

#[test]
fn a_job_that_a_resume_overtakes_gets_no_answer() {
    let control = Control::new();
    let debugger = Arc::new(control.attach().unwrap().unwrap());
    let machine = machine(&control, vec![spinning()]);
    while debugger.vcpus() < 1 {
        thread::yield_now();
    }
    assert!(debugger.pause());
    let (go, gone) = sync_channel::<()>(0);
    let (started, starts) = sync_channel::<()>(0);
    let busy = thread::spawn({
        let debugger = Arc::clone(&debugger);
        move || {
            debugger.with_vcpu(0, move |_| {
                started.send(()).unwrap();
                gone.recv().is_ok()
            })
        }
    });
    starts.recv().unwrap();
    let waiting = thread::spawn({
        let debugger = Arc::clone(&debugger);
        move || debugger.with_vcpu(0, |_| ())
    });
    while control.state().hold.jobs.is_empty() {
        thread::yield_now();
    }
    control.resume();
    assert_eq!(waiting.join().unwrap(), None, "the machine runs");
    go.send(()).unwrap();
    assert_eq!(busy.join().unwrap(), Some(true), "what had begun is finished");
    debugger.kill();
    assert_eq!(machine.end(), Stop::Interrupted);
}
