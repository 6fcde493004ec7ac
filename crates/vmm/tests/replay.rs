//! A guest that died is run again, to the instruction that killed it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_vmm::devices::{DeviceMut, Effect};
use strata_vmm::machine::{Fatal, InputLog, ReplayBudget, ReplayError, replay};
use strata_vmm::vcpu::{Exit, Synced, Tracer as _};
use strata_vmm::{BuildError, Config, Machine, Outcome, Stop};

/// Answers 1, 2, 3 ...
#[derive(Default)]
struct Counter(u8);

impl DeviceMut for Counter {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        self.0 += 1;
        data.fill(self.0);
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        Effect::None
    }
}

fn build(code: &[u8], more: &str) -> Result<Machine, BuildError> {
    let config = format!("mode = \"long64\"\nload_at = 0x100000\n{more}");
    let counter = Arc::new(Mutex::new(Counter::default()));
    Machine::builder(Config::from_toml(&config).unwrap())
        .image(code)
        .pio_device(0x10, 1, "counter", counter)
        .build()
}

/// Reads port 0x10 until it says `answer`, spins `spins` times, and dies by `ud2` with an IDT that has no entries.
fn guest(answer: u8, spins: u32) -> Vec<u8> {
    let mut code = vec![
        0xe4, 0x10, // again: in al, 0x10
        0x3c, answer, // cmp al, answer
        0x75, 0xfa, // jne again
        0xb9, // mov ecx, spins
    ];
    code.extend(spins.to_le_bytes());
    code.extend([0xe2, 0xfe]); // loop $
    code.extend([0x0f, 0x01, 0x1d, 2, 0, 0, 0]); // lidt [rel idtr]
    code.extend([0x0f, 0x0b]); // ud2
    code.extend([0; 10]); // idtr: no entry, at 0
    code
}

/// Where `ud2` is.
const DEATH: u64 = 0x10_0000 + 20;

fn first_run(code: &[u8]) -> Outcome<InputLog> {
    build(code, "").unwrap().run_traced(|_| InputLog::default()).unwrap()
}

fn again(code: &[u8], steps: u64) -> Result<Fatal, ReplayError> {
    let outcome = first_run(code);
    assert_eq!(outcome.stop, Stop::TripleFault);
    assert_eq!(outcome.stopped_by, Some(0));
    let wall = Duration::from_secs(60);
    replay(|| build(code, ""), &outcome.vcpus[0].tracer, ReplayBudget { steps, wall })
}

#[test]
fn the_instruction_that_kills_is_found_behind_the_last_exit() {
    let fatal = again(&guest(7, 3), 1000).unwrap();
    assert_eq!(fatal.state.regs.rip, DEATH);
    // What it had read before.
    assert_eq!(fatal.state.regs.rax & 0xff, 7);
    assert_eq!((fatal.trail.last(), fatal.state.idt.limit), (Some(&DEATH), 0));
    assert!(fatal.trail.len() > 4, "{:x?}", fatal.trail);
}

#[test]
fn a_death_far_behind_the_last_exit_is_approached() {
    let fatal = again(&guest(1, 60_000), 40_000).unwrap();
    assert_eq!(fatal.state.regs.rip, DEATH);
}

#[test]
fn one_that_goes_another_way_is_told() {
    let outcome = first_run(&guest(7, 3));
    let other = guest(3, 3);
    let error = replay(|| build(&other, ""), &outcome.vcpus[0].tracer, ReplayBudget::default()).unwrap_err();
    assert!(matches!(error, ReplayError::Diverged { exit: 4, expected: 8, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "the guest went another way at exit 4: shutdown, where it had 8 exits in all"
    );
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let code = guest(1, 1);
    let log = first_run(&code).vcpus.remove(0).tracer;
    let two = "cpus = 2\nirqchip = \"kernel\"\n";
    let error = replay(|| build(&code, two), &log, ReplayBudget::default()).unwrap_err();
    assert!(matches!(error, ReplayError::ManyVcpus), "{error}");
    let balloon = "irqchip = \"kernel\"\n[balloon]\n";
    match replay(|| build(&code, balloon), &log, ReplayBudget::default()) {
        Err(ReplayError::Virtio) => {}
        other => panic!("{other:?}"),
    }
}

/// With KVM's interrupt controller, `hlt` is no exit: only a kick brings such a guest back.
#[test]
fn a_guest_that_waits_for_what_is_not_replayed_does_not_wait_for_ever() {
    let wall = Duration::from_millis(300);
    // The second log says that one more exit came: the first wait is met in stepping, the other in playing.
    for exits in [1, 2] {
        let mut log = InputLog::default();
        (0..exits).for_each(|_| log.exit(&Exit::Shutdown, Synced::NONE));
        let again = || build(b"\xfa\xf4\xeb\xfd", "irqchip = \"kernel\"\n"); // cli; again: hlt; jmp again
        let error = replay(again, &log, ReplayBudget { steps: 1000, wall }).unwrap_err();
        assert!(matches!(error, ReplayError::TooLong { .. }), "{error}");
    }
}
