use std::sync::Mutex;

use strata_devices::{AddressSpace, DeviceMut};

use super::super::record::ExitRecord;
use super::super::trace::{ExitLog, NoTrace};
use super::*;
use crate::testing::{Act, ScriptedVcpu};

const INTERRUPTED: Act = Act::Exit(ExitRecord::Interrupted);

/// Notes each access, answers with a count, and powers off when it is told `0xee`.
#[derive(Debug, Default)]
struct Notes {
    seen: Vec<String>,
    count: u8,
}

impl DeviceMut for Notes {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.seen.push(format!("read {offset}/{}", data.len()));
        self.count += 1;
        data.fill(self.count);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        self.seen.push(format!("write {offset} {data:02x?}"));
        if data.contains(&0xee) { Effect::PowerOff } else { Effect::None }
    }
}

fn buses() -> (Buses, Arc<Mutex<Notes>>) {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let mut buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    buses.pio.insert(0x10, 8, "notes", notes.clone()).unwrap();
    buses.mmio.insert(0x8000, 8, "notes", notes.clone()).unwrap();
    (buses, notes)
}

fn go(vcpu: &mut ScriptedVcpu, limits: &mut Limits) -> (Result<Pause, CallError>, Vec<String>) {
    let (buses, notes) = buses();
    let result = run(vcpu, &buses, limits, &mut NoTrace);
    let seen = std::mem::take(&mut notes.lock().unwrap().seen);
    (result, seen)
}

#[test]
fn a_string_access_reaches_the_device_width_by_width() {
    let mut vcpu =
        ScriptedVcpu::new([Act::pio_write(0x12, 2, [1, 2, 3, 4]), Act::pio_read(0x10, 1, 3), Act::halt()]);
    let (result, seen) = go(&mut vcpu, &mut Limits::default());
    assert_eq!(result.unwrap(), Pause::Stop(Stop::Halted));
    assert_eq!(seen, ["write 2 [01, 02]", "write 2 [03, 04]", "read 0/1", "read 0/1", "read 0/1"]);
    assert_eq!(vcpu.played()[1].to_string(), "in 0x10/1 x3 -> 01 02 03");
}

#[test]
fn an_effect_in_the_middle_of_a_string_stops_there() {
    let mut vcpu = ScriptedVcpu::new([Act::pio_write(0x10, 1, [1, 0xee, 2])]);
    let (result, seen) = go(&mut vcpu, &mut Limits::default());
    assert_eq!(result.unwrap(), Pause::Stop(Stop::PowerOff));
    assert_eq!(seen, ["write 0 [01]", "write 0 [ee]"]);
}

#[test]
fn nobody_home_reads_as_ones() {
    let mut vcpu = ScriptedVcpu::new([Act::mmio_read(0x9000, 4), Act::halt()]);
    let (_, seen) = go(&mut vcpu, &mut Limits::default());
    assert_eq!(
        (vcpu.played()[0].to_string(), seen.len()),
        ("mmio read 0x9000/4 -> ff ff ff ff".to_owned(), 0)
    );
}

#[test]
fn the_budget_counts_exits_and_only_those() {
    let mut limits = Limits { exits: Some(ExitBudget::new(3)), ..Limits::default() };
    let mut vcpu = ScriptedVcpu::new([INTERRUPTED, INTERRUPTED, Act::pio_write(0x10, 1, [0])]).repeat_last();
    let (result, seen) = go(&mut vcpu, &mut limits);
    assert_eq!(result.unwrap(), Pause::Stop(Stop::Budget(Budget::Exits(3))));
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_guest_that_ends_on_its_last_exit_has_ended_by_itself() {
    let mut limits = Limits { exits: Some(ExitBudget::new(1)), ..Limits::default() };
    let (result, _) = go(&mut ScriptedVcpu::new([Act::halt()]), &mut limits);
    assert_eq!(result.unwrap(), Pause::Stop(Stop::Halted));
}

#[test]
fn a_kick_ends_the_loop_and_a_failed_call_is_named() {
    let mut vcpu = ScriptedVcpu::new([Act::Spin]).repeat_last();
    vcpu.kicker().kick();
    assert_eq!(go(&mut vcpu, &mut Limits::default()).0.unwrap(), Pause::Kicked);
    let error = go(&mut ScriptedVcpu::new([Act::Fail(5)]), &mut Limits::default()).0.unwrap_err();
    assert_eq!((error.call, error.source.raw_os_error()), ("KVM_RUN", Some(5)));
}

#[test]
fn the_tracer_sees_answers_and_no_interruptions() {
    let (buses, _) = buses();
    let mut log = ExitLog::default();
    let mut vcpu = ScriptedVcpu::new([INTERRUPTED, Act::pio_read(0x10, 1, 1), Act::halt()]);
    run(&mut vcpu, &buses, &mut Limits::default(), &mut log).unwrap();
    let lines: Vec<_> = log.lines().iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines, ["in 0x10/1 -> 01", "hlt"]);
}

#[test]
fn a_breakpoint_stops_in_the_middle_of_single_steps() {
    let debug = |rip, dr6| Act::Exit(ExitRecord::Debug { rip, exception: 1, dr6, dr7: 0 });
    let (step, hit) = (1 << 14, 1 << 14 | 1);
    let mut limits = Limits { steps: 2, ..Limits::default() };
    let stopped_at = |vcpu: &mut ScriptedVcpu, limits: &mut Limits| match go(vcpu, limits).0.unwrap() {
        Pause::Stop(Stop::Debug(event)) => event.rip,
        other => panic!("{other:?}"),
    };
    let steps = [debug(1, step), debug(2, step), debug(3, step), debug(4, step)];
    assert_eq!(stopped_at(&mut ScriptedVcpu::new(steps), &mut limits.clone()), 3);
    let steps = [debug(1, step), debug(2, hit), debug(3, step)];
    assert_eq!(stopped_at(&mut ScriptedVcpu::new(steps), &mut limits), 2);
}
