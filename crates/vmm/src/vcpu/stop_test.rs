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

#[test]
fn the_documented_codes_are_the_codes() {
    let event = DebugEvent { rip: 0, exception: 1, dr6: 0, dr7: 0 };
    let failed = Stop::VcpuFailed { vcpu: 0, call: "KVM_RUN", errno: 5 };
    for (stop, kind, code) in [
        (Stop::PowerOff, "power-off", 0),
        (Stop::Halted, "halted", 10),
        (Stop::Reset, "reset", 12),
        (Stop::TripleFault, "triple-fault", 14),
        (Stop::Debug(event), "debug", 16),
        (Stop::Budget(Budget::Exits(1)), "budget", 18),
        (Stop::Budget(Budget::Wall(Duration::ZERO)), "budget", 20),
        (Stop::InternalError { suberror: 1, data: Vec::new() }, "internal-error", 22),
        (Stop::FailEntry { reason: 1, cpu: 0 }, "fail-entry", 22),
        (Stop::UnknownExit { reason: 1 }, "unknown-exit", 24),
        (Stop::MemoryFault { gpa: 0, size: 1 }, "memory-fault", 24),
        (Stop::SystemEvent { kind: 3 }, "system-event", 24),
        (failed, "vcpu-failed", 26),
        (Stop::VcpuDied { vcpu: 0 }, "vcpu-died", 26),
        (Stop::OutputClosed, "output-closed", 28),
        (Stop::OutputFailed { errno: 28 }, "output-failed", 28),
        (Stop::Interrupted, "interrupted", 130),
    ] {
        assert_eq!((stop.kind(), stop.exit_code()), (kind, code));
    }
}
