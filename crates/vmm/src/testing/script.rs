//! A vCPU that plays a script.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use strata_cpu::X86State;

use crate::kvm::{CallError, GuestDebug, SoftKick, VcpuKicker, soft_kick};
use crate::vcpu::{Exit, ExitRecord, Vcpu};

/// What a scripted vCPU does on one run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Comes back with this exit. The data of a read is what the buffer holds before the device answers.
    Exit(ExitRecord),
    /// Fails with this `errno`, as `KVM_RUN` would.
    Fail(i32),
    /// Runs until it is kicked.
    Spin,
    /// Panics: what becomes of a machine whose vCPU thread dies?
    Panic,
}

impl Act {
    /// `out`: `data` is all accesses of `width` bytes.
    pub fn pio_write(port: u16, width: u8, data: impl Into<Vec<u8>>) -> Self {
        Self::Exit(ExitRecord::PioWrite { port, width, data: data.into() })
    }

    /// `count` times `in`.
    pub fn pio_read(port: u16, width: u8, count: usize) -> Self {
        Self::Exit(ExitRecord::PioRead { port, width, data: vec![0; count * usize::from(width)] })
    }

    /// A write to guest-physical address space.
    pub fn mmio_write(addr: u64, data: impl Into<Vec<u8>>) -> Self {
        Self::Exit(ExitRecord::MmioWrite { addr, data: data.into() })
    }

    /// A read of `len` bytes.
    pub fn mmio_read(addr: u64, len: usize) -> Self {
        Self::Exit(ExitRecord::MmioRead { addr, data: vec![0; len] })
    }

    /// `hlt`.
    pub fn halt() -> Self {
        Self::Exit(ExitRecord::Halt)
    }
}

/// A vCPU that plays a script: exits, register states and failures as data, no `/dev/kvm`.
///
/// After the last act, [`run`](Vcpu::run) fails with `ENODATA`: a loop that runs on is noticed. Every call of the trait
/// is counted, and any of them can be made to fail.
///
/// # Examples
///
/// ```
/// use strata_vmm::testing::{Act, ScriptedVcpu};
/// use strata_vmm::vcpu::{Exit, Vcpu};
///
/// let mut vcpu = ScriptedVcpu::new([Act::pio_read(0x60, 1, 2), Act::halt()]);
/// let Exit::PioRead { data, .. } = vcpu.run()? else { panic!("the script says `in`") };
/// data.copy_from_slice(&[0x1c, 0x9c]); // what your exit handling would answer
/// assert!(matches!(vcpu.run()?, Exit::Halt));
/// assert_eq!(vcpu.played()[0].to_string(), "in 0x60/1 x2 -> 1c 9c");
/// # Ok::<(), strata_vmm::kvm::CallError>(())
/// ```
#[derive(Debug)]
pub struct ScriptedVcpu {
    acts: VecDeque<Act>,
    /// The last act is played for ever.
    repeat: bool,
    played: Vec<ExitRecord>,
    state: X86State,
    debug: GuestDebug,
    injected: u64,
    calls: u64,
    failures: BTreeMap<u64, i32>,
    kick: SoftKick,
}

impl ScriptedVcpu {
    /// A vCPU in the real-mode entry state at address 0 that plays `acts`.
    pub fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self {
            acts: acts.into_iter().collect(),
            repeat: false,
            played: Vec::new(),
            state: X86State::real(0),
            debug: GuestDebug::default(),
            injected: 0,
            calls: 0,
            failures: BTreeMap::new(),
            kick: SoftKick::new(),
        }
    }

    /// Plays the last act for ever.
    #[must_use]
    pub fn repeat_last(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// Has call number `call` fail with `errno`. All calls of [`Vcpu`] but [`kicker`](Vcpu::kicker) count, from 0.
    #[must_use]
    pub fn fail_call(mut self, call: u64, errno: i32) -> Self {
        self.failures.insert(call, errno);
        self
    }

    /// The exits so far, with what was answered to reads.
    pub fn played(&self) -> &[ExitRecord] {
        &self.played
    }

    /// Changes the state as the guest would; for what a later act is to be seen with.
    pub fn state_mut(&mut self) -> &mut X86State {
        &mut self.state
    }

    /// What a debugger has asked for last. It changes nothing: debug events come from the script.
    pub fn debug(&self) -> &GuestDebug {
        &self.debug
    }

    /// How many #BP were injected.
    pub fn injected(&self) -> u64 {
        self.injected
    }

    fn count(&mut self, name: &'static str) -> Result<(), CallError> {
        let call = self.calls;
        self.calls += 1;
        match self.failures.get(&call) {
            Some(&errno) => Err(failed(name, errno)),
            None => Ok(()),
        }
    }
}

fn failed(call: &'static str, errno: i32) -> CallError {
    CallError { call, source: io::Error::from_raw_os_error(errno) }
}

impl Vcpu for ScriptedVcpu {
    fn run(&mut self) -> Result<Exit<'_>, CallError> {
        self.count("KVM_RUN")?;
        match self.kick.enter() {
            soft_kick::Entry::Enter => {}
            soft_kick::Entry::Kicked => return Ok(Exit::Kicked),
            soft_kick::Entry::Interrupted => return Ok(Exit::Interrupted),
        }
        let last = self.repeat && self.acts.len() == 1;
        let act = if last { self.acts.front().cloned() } else { self.acts.pop_front() };
        match act {
            None => Err(failed("KVM_RUN", libc::ENODATA)),
            Some(Act::Fail(errno)) => Err(failed("KVM_RUN", errno)),
            Some(Act::Panic) => panic!("the script says so"),
            Some(Act::Spin) => {
                // Spinning in short turns: each is an interruption, as if signals came.
                if !last {
                    self.acts.push_front(Act::Spin);
                }
                std::thread::yield_now();
                Ok(Exit::Interrupted)
            }
            Some(Act::Exit(record)) => {
                self.played.push(record);
                Ok(self.played.last_mut().map_or(Exit::Interrupted, ExitRecord::lend))
            }
        }
    }

    fn state(&mut self) -> Result<X86State, CallError> {
        self.count("KVM_GET_REGS").map(|()| self.state)
    }

    fn set_state(&mut self, state: &X86State) -> Result<(), CallError> {
        self.count("KVM_SET_REGS")?;
        self.state = *state;
        Ok(())
    }

    fn kicker(&self) -> VcpuKicker {
        self.kick.kicker()
    }

    fn set_guest_debug(&mut self, debug: &GuestDebug) -> Result<(), CallError> {
        self.count("KVM_SET_GUEST_DEBUG")?;
        self.debug.clone_from(debug);
        Ok(())
    }

    fn inject_breakpoint(&mut self, debug: &GuestDebug) -> Result<(), CallError> {
        self.set_guest_debug(debug)?;
        self.injected += 1;
        Ok(())
    }
}
