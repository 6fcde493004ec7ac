use super::*;

#[test]
fn debug_exit_codes_are_odd_and_all_others_even() {
    assert_eq!(Stop::DebugExit { value: 0 }.exit_code(), 1);
    assert_eq!(Stop::DebugExit { value: 0x10 }.exit_code(), 33);
    assert_eq!(Stop::DebugExit { value: u32::MAX }.exit_code(), 255);
    let event = DebugEvent { rip: 0, exception: 1, dr6: 0, dr7: 0 };
    for stop in [
        Stop::Halted,
        Stop::PowerOff,
        Stop::Reset,
        Stop::TripleFault,
        Stop::Debug(event),
        Stop::Budget(Budget::Exits(1)),
        Stop::Budget(Budget::Wall(Duration::ZERO)),
        Stop::InternalError { suberror: 1, data: Vec::new() },
        Stop::UnknownExit { reason: 1 },
        Stop::VcpuDied { vcpu: 0 },
        Stop::OutputClosed,
        Stop::Interrupted,
    ] {
        assert_eq!(stop.exit_code() % 2, 0, "{stop}");
    }
}

#[test]
fn a_failed_emulation_shows_the_instruction() {
    // popcnt eax, eax as a PVM host reports it: one byte of size, then the instruction's bytes.
    let bytes = u64::from_le_bytes([4, 0xf3, 0x0f, 0xb8, 0xc0, 0x90, 0x90, 0x90]);
    let stop = Stop::InternalError { suberror: 1, data: vec![1, bytes, 0] };
    assert_eq!(
        stop.to_string(),
        "KVM internal error, suberror 1: it cannot emulate the instruction f3 0f b8 c0"
    );
    let without = Stop::InternalError { suberror: 1, data: vec![0, bytes, 0] };
    assert_eq!(without.to_string(), "KVM internal error, suberror 1");
}
