use strata_cpu::RFlags;

use super::*;

fn write(recorder: &mut FlightRecorder, port: u16) {
    recorder.exit(&Exit::PioWrite { port, width: 1, data: &[7] }, Synced::NONE);
}

fn lines(recorder: &FlightRecorder) -> Vec<String> {
    recorder.exits().map(ToString::to_string).collect()
}

#[test]
fn the_last_exits_are_kept_in_their_order() {
    let mut recorder = FlightRecorder::default();
    assert_eq!(recorder.exits().len(), 0);
    for port in 0..300 {
        write(&mut recorder, port);
        let kept = recorder.exits();
        assert_eq!(kept.len(), usize::from(port + 1).min(FlightRecorder::LEN));
    }
    let lines = lines(&recorder);
    assert_eq!((lines[0].as_str(), lines[255].as_str()), ("out 0x2c/1 <- 07", "out 0x12b/1 <- 07"));
    assert_eq!(recorder.count(), 300);
    assert_eq!(recorder.exits().next_back().unwrap().to_string(), "out 0x12b/1 <- 07");
}

#[test]
fn every_kind_of_exit_comes_back() {
    let mut recorder = FlightRecorder::default();
    let exits = [
        ExitRecord::PioRead { port: 0x60, width: 1, data: vec![0x1c] },
        ExitRecord::MmioRead { addr: 0xd000_0000, data: vec![1, 2, 3, 4] },
        ExitRecord::MmioWrite { addr: 0xd000_0000, data: vec![1, 2, 3, 4, 5, 6, 7, 8] },
        ExitRecord::InternalError { suberror: 1, data: vec![1, 2] },
        ExitRecord::Halt,
    ];
    for exit in &exits {
        recorder.exit(&exit.clone().lend(), Synced::NONE);
    }
    assert_eq!(recorder.exits().map(Recorded::exit).collect::<Vec<_>>(), exits);
}

#[test]
fn a_long_string_is_cut_and_says_so() {
    let mut recorder = FlightRecorder::default();
    recorder.exit(&Exit::PioWrite { port: 0x3f8, width: 1, data: b"a long text" }, Synced::NONE);
    assert_eq!(lines(&recorder), ["out 0x3f8/1 x8 <- 61 20 6c 6f 6e 67 20 74 .. (11 bytes)"]);
}

#[test]
fn registers_are_kept_where_the_kernel_gives_them() {
    let mut recorder = FlightRecorder::default();
    // A kernel that knows of no such request leaves zeroes.
    let (unknown, known) = (
        Registers { rflags: RFlags::empty(), ..Registers::default() },
        Registers { rax: 5, ..Registers::default() },
    );
    recorder.exit(&Exit::Halt, Synced::new(Some(&unknown), None));
    recorder.exit(&Exit::Halt, Synced::new(Some(&known), None));
    let kept: Vec<_> = recorder.exits().map(|exit| exit.registers().map(|regs| regs.rax)).collect();
    assert_eq!(kept, [None, Some(5)]);
}
