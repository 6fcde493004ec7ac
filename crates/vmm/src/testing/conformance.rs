//! What every [`Vcpu`] has to do, whoever implements it.

use strata_cpu::X86State;

use crate::vcpu::{Exit, ExitRecord, Vcpu};

/// A guest that makes one exit of each kind that carries data: 16-bit code for address 0x1000, in 0x8000 bytes of RAM
/// at address 0.
pub const PROGRAM: &[u8] = &[
    0xb0, b'5', // mov al, '5'
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xee, // out dx, al
    0xbf, 0x00, 0x05, // mov di, 0x500
    0xb9, 0x03, 0x00, // mov cx, 3
    0xba, 0x60, 0x00, // mov dx, 0x60
    0xf3, 0x6c, // rep insb
    0x66, 0xc7, 0x06, 0x00, 0x80, 0x78, 0x56, 0x34, 0x12, // mov dword [0x8000], 0x12345678
    0xa0, 0x00, 0x80, // mov al, [0x8000]
    0xf4, // hlt
];

/// Where [`PROGRAM`] starts.
pub const ENTRY: u16 = 0x1000;

/// The exits of [`PROGRAM`], with the answers that [`check`] gives.
pub fn exits() -> [ExitRecord; 5] {
    [
        ExitRecord::PioWrite { port: 0x3f8, width: 1, data: b"5".to_vec() },
        ExitRecord::PioRead { port: 0x60, width: 1, data: vec![0xa1, 0xa2, 0xa3] },
        ExitRecord::MmioWrite { addr: 0x8000, data: vec![0x78, 0x56, 0x34, 0x12] },
        ExitRecord::MmioRead { addr: 0x8000, data: vec![0xa1] },
        ExitRecord::Halt,
    ]
}

/// Puts `make`'s vCPUs, each about to run [`PROGRAM`] from [`ENTRY`], through the suite.
///
/// # Errors
///
/// What a vCPU did otherwise, in words.
pub fn check<V: Vcpu>(mut make: impl FnMut() -> V) -> Result<(), String> {
    exits_and_answers(&mut make())?;
    kicks(&mut make())?;
    states(&mut make())
}

/// Answers a read with 0xa1, 0xa2 ..
fn answer(exit: &mut Exit<'_>) {
    if let Exit::PioRead { data, .. } | Exit::MmioRead { data, .. } = exit {
        for (byte, value) in data.iter_mut().zip(0xa1..) {
            *byte = value;
        }
    }
}

fn next(vcpu: &mut impl Vcpu) -> Result<ExitRecord, String> {
    loop {
        let mut exit = vcpu.run().map_err(|error| format!("{error}: {}", error.source))?;
        answer(&mut exit);
        match ExitRecord::from(&exit) {
            // A signal may come at any time.
            ExitRecord::Interrupted => {}
            record => return Ok(record),
        }
    }
}

fn expect(seen: &ExitRecord, expected: &ExitRecord) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("expected `{expected}`, seen `{seen}`")) }
}

fn exits_and_answers(vcpu: &mut impl Vcpu) -> Result<(), String> {
    exits().iter().try_for_each(|expected| expect(&next(vcpu)?, expected))?;
    // All is answered and done: the state can be read, with RIP behind the last instruction.
    vcpu.state().map(drop).map_err(|error| format!("the state after the end: {error}"))
}

fn kicks(vcpu: &mut impl Vcpu) -> Result<(), String> {
    let kicker = vcpu.kicker();
    let mut expected = exits().into_iter();
    let mut step = |vcpu: &mut _| expect(&next(vcpu)?, &expected.next().unwrap_or(ExitRecord::Halt));
    // Before the first run, twice: one return, and nothing of the guest is lost.
    kicker.kick();
    kicker.clone().kick();
    expect(&next(vcpu)?, &ExitRecord::Kicked)?;
    step(vcpu)?;
    // Between an exit and the next run, from another thread.
    std::thread::scope(|scope| scope.spawn(|| kicker.kick()).join()).map_err(|_| "the kick panicked")?;
    expect(&next(vcpu)?, &ExitRecord::Kicked)?;
    step(vcpu)?;
    step(vcpu)
}

fn states(vcpu: &mut impl Vcpu) -> Result<(), String> {
    let failed = |error: crate::kvm::CallError| format!("{error}: {}", error.source);
    let mut state = X86State::real(ENTRY);
    state.regs.rbx = 0x1234_5678_9abc_def0;
    vcpu.set_state(&state).map_err(failed)?;
    let seen = vcpu.state().map_err(failed)?;
    if (seen.regs, seen.cs.base) != (state.regs, state.cs.base) {
        return Err(format!("the registers set were {:?}, those read are {:?}", state.regs, seen.regs));
    }
    expect(&next(vcpu)?, &exits()[0])
}
