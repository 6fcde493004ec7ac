use super::*;
use crate::testing::{Act, Replay, ScriptedVcpu, conformance};
use crate::vcpu::Vcpu;

/// Runs the conformance program on a scripted vCPU with the suite's answers, and records it.
fn recorded() -> Vec<u8> {
    let mut file = Vec::new();
    let recorder = Recorder::new(&mut file).unwrap();
    recorder.entry(0, &X86State::real(conformance::ENTRY));
    let mut tracer = recorder.tracer(0);
    for mut exit in conformance::exits() {
        tracer.exit(&exit.lend(), Synced::NONE);
    }
    recorder.last(0, &X86State::real(0x2000));
    recorder.finish().unwrap();
    file
}

fn tape() -> Tape {
    Cassette::read(&recorded()[..]).unwrap().tapes.remove(&0).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let tape = tape();
    assert_eq!(tape.exits, conformance::exits());
    assert_eq!(X86State::from(&tape.entry), X86State::real(conformance::ENTRY));
    assert_eq!(X86State::from(&tape.last.unwrap()), X86State::real(0x2000));
}

#[test]
fn every_kind_of_exit_survives_the_file() {
    let all = [
        ExitRecord::Shutdown,
        ExitRecord::Debug { rip: u64::MAX, exception: 1, dr6: 2, dr7: 3 },
        ExitRecord::SystemEvent { kind: 1, data: vec![u64::MAX] },
        ExitRecord::FailEntry { reason: 0x8000_0021, cpu: 3 },
        ExitRecord::InternalError { suberror: 1, data: vec![1, 2] },
        ExitRecord::MemoryFault { flags: 8, gpa: 0x5000, size: 0x1000 },
        ExitRecord::Unknown { reason: 99 },
    ];
    let mut file = Vec::new();
    let recorder = Recorder::new(&mut file).unwrap();
    recorder.entry(3, &X86State::real(0));
    for exit in &all {
        recorder.tracer(3).exit(&exit.clone().lend(), Synced::NONE);
    }
    recorder.finish().unwrap();
    assert_eq!(Cassette::read(&file[..]).unwrap().tapes[&3].exits, all);
}

#[test]
fn damaged_files_are_refused_with_the_line() {
    let good = String::from_utf8(recorded()).unwrap();
    let said = |text: &str| Cassette::read(text.as_bytes()).unwrap_err().to_string();
    assert!(said("").contains("no recording"));
    assert!(said("#!/bin/sh\n").contains("no recording"));
    assert!(said("{\"strata-cassette\":2}\n").contains("version 2"));
    assert!(said(&good.replace("halt", "hult")).contains("line 7 of the recording is damaged"));
    let entry = good.lines().nth(1).unwrap();
    assert!(said(&format!("{good}{entry}\n")).contains("line 9 of the recording: vCPU 0 is entered twice"));
    let exit = good.lines().nth(2).unwrap();
    assert!(said(&format!("{good}{exit}\n")).contains("has come to its end before this"));
    assert!(
        said("{\"strata-cassette\":1}\n{\"vcpu\":1,\"event\":{\"exit\":\"halt\"}}\n")
            .contains("vCPU 1 has no entry")
    );
}

#[test]
fn a_replay_notices_a_device_that_answers_otherwise() {
    let mut replay = Replay::new(tape());
    replay.run().unwrap();
    let Exit::PioRead { data, .. } = replay.run().unwrap() else { panic!("the second exit reads") };
    data.copy_from_slice(&[0xa1, 0, 0xa3]);
    let error = replay.run().unwrap_err();
    assert_eq!(error.call, "replay");
    let said = error.source.to_string();
    assert!(said.contains("exit 1 was answered `in 0x60/1 x3 -> a1 00 a3`, the recording has"), "{said}");
}

#[test]
fn a_replay_ends_with_its_tape() {
    let mut replay = Replay::new(Tape { exits: vec![ExitRecord::Halt], ..tape() });
    assert!(replay.state().is_ok(), "before the first exit");
    replay.run().unwrap();
    assert!(replay.is_at_end());
    assert_eq!(replay.state().unwrap(), X86State::real(0x2000));
    assert!(replay.run().unwrap_err().source.to_string().contains("ends after 1 exits"));
    let mut without_last = Replay::new(Tape { last: None, ..tape() });
    without_last.run().unwrap();
    assert!(without_last.state().unwrap_err().source.to_string().contains("first and the last"));
}

#[test]
fn a_write_that_fails_is_told_at_the_end() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let recorder = Recorder::new(Full(2)).unwrap();
    recorder.entry(0, &X86State::real(0));
    recorder.last(0, &X86State::real(0));
    recorder.last(0, &X86State::real(0));
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(Recorder::new(Full(0)).is_err());
}

#[test]
fn the_suite_passes_on_a_script_and_on_a_recording() {
    conformance::check(|| ScriptedVcpu::new(conformance::exits().map(Act::Exit))).unwrap();
    conformance::check(|| Replay::new(tape())).unwrap();
}

#[test]
fn the_suite_notices_a_vcpu_that_does_otherwise() {
    let [first, second, ..] = conformance::exits();
    let script = |exits: &[&ExitRecord]| {
        let acts: Vec<_> = exits.iter().map(|exit| Act::Exit((*exit).clone())).collect();
        conformance::check(move || ScriptedVcpu::new(acts.clone()))
    };
    assert!(script(&[&second, &first]).unwrap_err().contains("expected `out 0x3f8/1 <- 35`"));
    assert!(script(&[&first]).unwrap_err().contains("KVM_RUN failed"));
    let exits = || ScriptedVcpu::new(conformance::exits().map(Act::Exit));
    // Runs: 5, then the state; a second vCPU is made for the kicks.
    assert!(
        conformance::check(|| exits().fail_call(5, libc::EIO)).unwrap_err().contains("state after the end")
    );
}
