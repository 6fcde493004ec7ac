use std::collections::VecDeque;
use std::sync::mpsc;
use std::thread;

use strata_cpu::X86State;
use strata_devices::{AddressSpace, Bus};

use super::super::{Activity, Buses, Exit, Limits, NoTrace, Plan, Vcpu, spawn};
use super::*;
use crate::testing::{Act, ScriptedVcpu};
use Activity::{Off, Running, Waiting};

/// Spins, and answers as it is told; the last answer for ever.
struct Asked {
    inner: ScriptedVcpu,
    answers: VecDeque<Result<Activity, i32>>,
    /// Told of each answer.
    told: mpsc::Sender<()>,
}

/// Is only asked, and says this.
struct Says<F>(F);

impl<F: FnMut() -> Result<Activity, CallError> + Send> Vcpu for Says<F> {
    fn run(&mut self) -> Result<Exit<'_>, CallError> {
        unreachable!("it is only asked")
    }

    fn state(&mut self) -> Result<X86State, CallError> {
        unreachable!("it is only asked")
    }

    fn set_state(&mut self, _: &X86State) -> Result<(), CallError> {
        unreachable!("it is only asked")
    }

    fn activity(&mut self) -> Result<Activity, CallError> {
        (self.0)()
    }

    fn kicker(&self) -> VcpuKicker {
        ScriptedVcpu::new([]).kicker()
    }
}

impl Vcpu for Asked {
    fn run(&mut self) -> Result<Exit<'_>, CallError> {
        self.inner.run()
    }

    fn state(&mut self) -> Result<X86State, CallError> {
        self.inner.state()
    }

    fn set_state(&mut self, state: &X86State) -> Result<(), CallError> {
        self.inner.set_state(state)
    }

    fn activity(&mut self) -> Result<Activity, CallError> {
        let answer =
            if self.answers.len() > 1 { self.answers.pop_front() } else { self.answers.front().copied() };
        // A test may have seen enough.
        let _ = self.told.send(());
        answer.unwrap().map_err(|errno| CallError {
            call: "KVM_GET_MP_STATE",
            source: std::io::Error::from_raw_os_error(errno),
        })
    }

    fn kicker(&self) -> VcpuKicker {
        self.inner.kicker()
    }
}

struct Machine {
    control: Control,
    threads: Vec<thread::JoinHandle<super::super::Finished<Asked, NoTrace>>>,
    asked: mpsc::Receiver<()>,
}

/// A machine of spinning vCPUs with these answers.
fn machine(answers: &[&[Result<Activity, i32>]]) -> Machine {
    let control = Control::new();
    let (sender, asked) = mpsc::channel();
    let start = |(index, answers): (u8, &&[Result<Activity, i32>])| {
        let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
        let limits = Limits::default();
        let plan = Plan { index, buses: Arc::new(buses), control: control.clone(), limits, pin: None };
        let inner = ScriptedVcpu::new([Act::Spin]).repeat_last();
        let answers = answers.iter().copied().collect();
        spawn(plan, Asked { inner, answers, told: sender.clone() }, NoTrace).unwrap()
    };
    let threads = (0..).zip(answers).map(start).collect();
    Machine { control, threads, asked }
}

impl Machine {
    /// Waits for so many answers.
    fn answers(&self, count: usize) {
        assert_eq!(self.asked.iter().take(count).count(), count);
    }

    fn end(self) -> Stop {
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.control.stopped().unwrap()
    }
}

#[test]
fn a_machine_whose_vcpus_are_all_off_halts_when_asked() {
    let machine = machine(&[&[Ok(Off)], &[Ok(Off)], &[Ok(Off)]]);
    assert_eq!(machine.control.stopped(), None);
    machine.control.take_census();
    machine.threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    assert_eq!(machine.control.stopped(), Some(Stop::Halted));
    assert_eq!(machine.asked.iter().count(), 6, "everybody was asked twice");
}

#[test]
fn one_that_waits_for_an_interrupt_keeps_the_machine_calm_and_going() {
    let machine = machine(&[&[Ok(Off)], &[Ok(Waiting)]]);
    for _ in 0..100 {
        machine.control.take_census();
        machine.answers(1);
    }
    assert!(machine.control.is_calm());
    assert!(machine.control.pause(), "both run, or can be paused");
    machine.control.resume();
    machine.control.stop(Stop::Interrupted);
    assert_eq!(machine.end(), Stop::Interrupted);
}

#[test]
fn one_that_runs_is_asked_though_another_that_waits_was_first() {
    let control = Control::new();
    let [mut idle, mut busy] = [(); 2].map(|()| {
        control.join(ScriptedVcpu::new([Act::Spin]).kicker());
        Answered::default()
    });
    control.take_census();
    assert!(control.go_on(&mut idle, &mut Says(|| Ok(Waiting))).unwrap());
    assert!(control.is_calm());
    assert!(control.go_on(&mut busy, &mut Says(|| Ok(Running))).unwrap());
    assert!(!control.is_calm(), "the next census is due");
}

#[test]
fn one_that_is_kicked_again_has_answered_for_nobody_else() {
    let control = Control::new();
    let [mut idle, mut off, mut busy] = [(); 3].map(|()| {
        control.join(ScriptedVcpu::new([Act::Spin]).kicker());
        Answered::default()
    });
    control.take_census();
    assert!(control.go_on(&mut idle, &mut Says(|| Ok(Waiting))).unwrap());
    assert!(
        control.go_on(&mut off, &mut Says(|| Ok(Off))).unwrap(),
        "it waits for nobody: the machine does not halt"
    );
    for _ in 0..3 {
        for answered in [&mut idle, &mut off] {
            assert!(control.go_on(answered, &mut Says(|| unreachable!("asked twice"))).unwrap());
        }
    }
    assert!(control.go_on(&mut busy, &mut Says(|| Ok(Running))).unwrap());
    assert!(!control.is_calm());
    assert!(control.go_on(&mut idle, &mut Says(|| unreachable!("the census has ended"))).unwrap());
    control.take_census();
    assert!(control.go_on(&mut busy, &mut Says(|| Ok(Waiting))).unwrap(), "another census, another answer");
    assert!(control.is_calm());
}

#[test]
fn one_that_was_off_is_let_go_by_one_that_waits() {
    let control = Control::new();
    let [mut off, mut idle] = [(); 2].map(|()| {
        control.join(ScriptedVcpu::new([Act::Spin]).kicker());
        Answered::default()
    });
    // A third, which is blocked and never answers.
    control.join(ScriptedVcpu::new([Act::Spin]).kicker());
    control.take_census();
    thread::scope(|scope| {
        let (said, hears) = mpsc::channel();
        let control = &control;
        let waits = scope.spawn(move || {
            let mut says = Says(|| {
                said.send(()).unwrap();
                Ok(Off)
            });
            control.go_on(&mut off, &mut says)
        });
        hears.recv().unwrap();
        assert!(control.go_on(&mut idle, &mut Says(|| Ok(Waiting))).unwrap());
        assert!(waits.join().unwrap().unwrap());
    });
}

#[test]
fn one_that_runs_is_noticed_and_so_is_an_exit() {
    let machine = machine(&[&[Ok(Running)]]);
    let wake = machine.control.waker().unwrap();
    machine.control.take_census();
    // Blocks until it is written, however long that takes.
    while wake.read().is_err() {
        thread::yield_now();
    }
    assert!(!machine.control.is_calm());
    machine.control.notice();
    assert!(wake.read().is_err(), "nobody waited to be told");
    machine.control.stop(Stop::Interrupted);
    wake.read().unwrap();
    assert_eq!(machine.end(), Stop::Interrupted);
}

#[test]
fn one_that_was_woken_while_the_others_were_asked_runs() {
    // The first has answered before the second, which was still running, sent it an NMI.
    let machine = machine(&[&[Ok(Off), Ok(Running)], &[Ok(Off), Ok(Off), Ok(Waiting)]]);
    machine.control.take_census();
    machine.answers(3);
    while machine.control.is_calm() {
        thread::yield_now();
    }
    assert_eq!(machine.control.stopped(), None);
    machine.control.stop(Stop::Reset);
    assert_eq!(machine.end(), Stop::Reset);
}

#[test]
fn a_vcpu_that_cannot_answer_stops_the_machine_with_its_number() {
    let machine = machine(&[&[Ok(Off)], &[Err(libc::EIO)]]);
    machine.control.take_census();
    assert_eq!(machine.end(), Stop::VcpuFailed { vcpu: 1, call: "KVM_GET_MP_STATE", errno: libc::EIO });
}

#[test]
fn a_census_and_pauses_from_any_thread_never_deadlock() {
    for round in 0..100 {
        let machine = machine(&[
            &[Ok(Off), Ok(Off), Ok(Waiting), Ok(Off), Ok(Running)],
            &[Ok(Off), Ok(Running), Ok(Off)],
        ]);
        thread::scope(|scope| {
            for thread in 0..3 {
                let control = machine.control.clone();
                scope.spawn(move || {
                    for step in 0..20 {
                        match (round + thread * 7 + step * 5) % 3 {
                            0 => control.take_census(),
                            1 => drop(control.pause()),
                            _ => control.resume(),
                        }
                    }
                    control.resume();
                });
            }
        });
        machine.control.stop(Stop::Interrupted);
        machine.control.wait_for_all();
        assert!(matches!(machine.end(), Stop::Halted | Stop::Interrupted));
    }
}

#[test]
fn an_ended_machine_may_be_asked() {
    let machine = machine(&[&[Ok(Off)]]);
    machine.control.stop(Stop::PowerOff);
    machine.control.take_census();
    assert_eq!(machine.end(), Stop::PowerOff);
}
