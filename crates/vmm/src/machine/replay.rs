//! Running a guest again, up to the instruction that killed it.
//!
//! Some hosts leave nothing of a vCPU that shut down: KVM on AMD's processors puts it back to the state after reset before
//! it tells anybody (Linux, `shutdown_interception`). What the guest got from outside is its entry state, its image and the
//! answers to its reads. So the machine is built again and given the same answers; behind its last exit it is stepped,
//! instruction by instruction, until it dies once more. The state before that last step is what was sought.
//!
//! Where more than [`ReplayBudget::steps`] lie behind the last exit, the end is approached: the guest is run freely once, to
//! see how long it takes to die, and the next time is stopped a little before.
//!
//! What interrupts or devices that write to memory do is not replayed. A guest that depends on them goes another way: that is
//! noticed, and said.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use strata_cpu::X86State;
use strata_memory::Ram;

use super::{BuildError, Machine, Outcome};
use crate::kvm::{CallError, GuestDebug, KvmVcpu, VcpuKicker};
use crate::vcpu::{Exit, Sync, Synced, Tracer, Vcpu as _};

/// What a vCPU got from its devices: the answers to all reads, one after the other.
#[derive(Debug, Clone, Default)]
pub struct InputLog {
    answers: Vec<u8>,
    exits: u64,
    is_full: bool,
}

impl InputLog {
    /// How many bytes of answers are kept. A guest that read more cannot be replayed.
    pub const LIMIT: usize = 256 << 10;

    /// One that keeps no answers.
    pub fn closed() -> Self {
        Self { is_full: true, ..Self::default() }
    }

    /// How many exits there were.
    pub fn exits(&self) -> u64 {
        self.exits
    }

    #[inline(never)]
    fn keep(&mut self, answer: &[u8]) {
        if !self.is_full && self.answers.len() + answer.len() <= Self::LIMIT {
            self.answers.extend_from_slice(answer);
        } else {
            self.is_full = true;
            // Of no use without what follows.
            self.answers = Vec::new();
        }
    }
}

impl Tracer for InputLog {
    #[allow(clippy::match_same_arms, clippy::inline_always, reason = "see below, and `Tracer::exit`")]
    #[inline(always)]
    fn exit(&mut self, exit: &Exit<'_>, _: Synced<'_>) {
        self.exits += 1;
        // Not as one pattern: where the bytes are would then be an address within `exit`, for which that had to be in memory.
        match exit {
            Exit::PioRead { data, .. } => self.keep(data),
            Exit::MmioRead { data, .. } => self.keep(data),
            _ => {}
        }
    }
}

/// What a replay may use up.
#[derive(Debug, Clone, Copy)]
pub struct ReplayBudget {
    /// How many instructions are stepped over in one attempt.
    pub steps: u64,
    /// How long all attempts may take together.
    pub wall: Duration,
}

impl Default for ReplayBudget {
    /// 200,000 steps, ten seconds.
    fn default() -> Self {
        Self { steps: 200_000, wall: Duration::from_secs(10) }
    }
}

/// A guest before the instruction that kills it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fatal {
    /// The state before it.
    pub state: X86State,
    /// Where the guest's last instructions were (RIP, the oldest first), that one among them; at most 64.
    pub trail: Vec<u64>,
    machine: Machine,
}

impl Fatal {
    /// RAM after that instruction.
    pub fn ram(&self) -> &Ram {
        &self.machine.ram
    }
}

/// Why a guest could not be replayed to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The log is not complete.
    #[error("the guest read more than {} KiB from its devices, and no more is kept", InputLog::LIMIT >> 10)]
    TooMuchInput,
    /// Other vCPUs decide what it sees.
    #[error("the guest has more than one processor, whose order is not recorded")]
    ManyVcpus,
    /// So do devices that write to its memory.
    #[error("the guest has virtio devices, whose writes to its memory are not recorded")]
    Virtio,
    /// The machine could not be built again.
    #[error("the machine cannot be built again")]
    Build(#[from] BuildError),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It went another way.
    #[error("the guest went another way at exit {exit}: {found}, where it had {expected} exits in all")]
    Diverged {
        /// Which exit, from 1.
        exit: u64,
        /// How many there were at first.
        expected: u64,
        /// What it was.
        found: String,
    },
    /// It was not to be had in time.
    #[error("its last instruction lies too far behind its last exit")]
    TooFar,
    /// The time was up.
    #[error("it takes more than {wall:?}: perhaps it waits for an interrupt, and those are not replayed")]
    TooLong {
        /// What there was.
        wall: Duration,
    },
}

impl Machine {
    /// Whether [`replay`] knows everything that this machine depends on, as far as its devices tell: it has one processor, and
    /// no virtio devices. Any other is better not even built again: its disks and sockets would be opened twice.
    pub fn can_be_replayed(&self) -> bool {
        self.vcpus.len() == 1 && self.workers.0.is_empty() && !self.has_virtio
    }
}

/// How an attempt ended.
enum Attempt {
    Found(Box<Fatal>),
    /// The steps were used up before the guest died.
    Steps,
    /// It died before the steps began, this long after its last exit.
    Died(Duration),
}

/// Runs the machine that `build` makes once more, with the answers of `log`, to the instruction that ends it by a triple
/// fault. The machine must be built as it was for the run; what its devices would do is not done.
///
/// # Errors
///
/// [`ReplayError`]; among them, for a machine that depends on what is not recorded, that it went another way.
pub fn replay(
    mut build: impl FnMut() -> Result<Machine, BuildError>,
    log: &InputLog,
    budget: ReplayBudget,
) -> Result<Fatal, ReplayError> {
    /// How long before its end the guest is stopped, one attempt after the other.
    const BEFORE: [Duration; 4] = [
        Duration::from_micros(300),
        Duration::from_millis(2),
        Duration::from_millis(10),
        Duration::from_millis(50),
    ];
    if log.is_full {
        return Err(ReplayError::TooMuchInput);
    }
    let end = End { at: Instant::now() + budget.wall, wall: budget.wall };
    let mut once = |free: Option<Duration>| {
        let mut player = Player::new(build()?, log, end)?;
        player.play()?;
        player.approach(free, budget.steps)
    };
    if let Attempt::Found(fatal) = once(Some(Duration::ZERO))? {
        return Ok(*fatal);
    }
    let Attempt::Died(life) = once(None)? else { return Err(ReplayError::TooFar) };
    for before in BEFORE {
        if let Attempt::Found(fatal) = once(Some(life.saturating_sub(before)))? {
            return Ok(*fatal);
        }
    }
    Err(ReplayError::TooFar)
}

/// When the time is up.
#[derive(Clone, Copy)]
struct End {
    at: Instant,
    wall: Duration,
}

impl End {
    fn check(self) -> Result<(), ReplayError> {
        if Instant::now() < self.at { Ok(()) } else { Err(ReplayError::TooLong { wall: self.wall }) }
    }

    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// A machine that is being replayed.
struct Player<'a> {
    machine: Machine,
    vcpu: KvmVcpu,
    answers: &'a [u8],
    /// How many exits come before the last one.
    before_last: u64,
    end: End,
    /// Where `hlt` waits inside KVM, only a kick ends it.
    _alarm: Alarm,
}

impl<'a> Player<'a> {
    fn new(mut machine: Machine, log: &'a InputLog, end: End) -> Result<Self, ReplayError> {
        if !machine.workers.0.is_empty() || machine.has_virtio {
            return Err(ReplayError::Virtio);
        }
        let vcpu = machine.vcpus.pop().filter(|_| machine.vcpus.is_empty()).ok_or(ReplayError::ManyVcpus)?;
        let before_last = log.exits.saturating_sub(1);
        let alarm = Alarm::set(vcpu.kicker(), end.left())?;
        Ok(Self { machine, vcpu, answers: &log.answers, before_last, end, _alarm: alarm })
    }

    /// Plays all exits but the last one.
    fn play(&mut self) -> Result<(), ReplayError> {
        let expected = self.before_last + 1;
        let mut played = 0;
        while played < self.before_last {
            self.end.check()?;
            let mut exit = self.vcpu.run()?;
            let diverged = |exit: &Exit<'_>| ReplayError::Diverged {
                exit: played + 1,
                expected,
                found: exit.to_string(),
            };
            match &mut exit {
                Exit::PioRead { data, .. } | Exit::MmioRead { data, .. } => {
                    let Some((answer, rest)) = self.answers.split_at_checked(data.len()) else {
                        return Err(diverged(&exit));
                    };
                    data.copy_from_slice(answer);
                    self.answers = rest;
                }
                Exit::PioWrite { .. } | Exit::MmioWrite { .. } | Exit::Debug(_) => {}
                Exit::Kicked | Exit::Interrupted => continue,
                _ => return Err(diverged(&exit)),
            }
            played += 1;
        }
        Ok(())
    }

    /// Runs the guest freely for a while after its last exit but one, for ever if `free` says nothing; then steps.
    fn approach(mut self, free: Option<Duration>, steps: u64) -> Result<Attempt, ReplayError> {
        // Completes what the last exit began, so that this is a state between two instructions.
        let mut last = self.vcpu.state()?;
        if free != Some(Duration::ZERO) {
            let began = Instant::now();
            if self.run_for(free.unwrap_or_else(|| self.end.left()))? {
                return Ok(Attempt::Died(began.elapsed()));
            }
            self.end.check()?;
            last = self.vcpu.state()?;
        }
        self.vcpu.sync(Sync::All);
        let mut trail = Trail::default();
        trail.push(last.regs.rip);
        for _ in 0..steps {
            self.end.check()?;
            self.vcpu.set_guest_debug(&GuestDebug::STEP)?;
            let (exit, synced) = self.vcpu.run_synced()?;
            match exit {
                Exit::Debug(_) => match synced.state() {
                    Some(state) => last = state,
                    None => last = self.vcpu.state()?,
                },
                Exit::Kicked | Exit::Interrupted => continue,
                Exit::Shutdown => {
                    let fatal = Fatal { state: last, trail: trail.0, machine: self.machine };
                    return Ok(Attempt::Found(Box::new(fatal)));
                }
                other => {
                    let other = other.to_string();
                    return Err(self.diverged(&other));
                }
            }
            trail.push(last.regs.rip);
        }
        Ok(Attempt::Steps)
    }

    fn diverged(&self, found: &str) -> ReplayError {
        let exit = self.before_last + 1;
        ReplayError::Diverged { exit, expected: exit, found: found.to_owned() }
    }

    /// Whether the guest died within that time.
    fn run_for(&mut self, limit: Duration) -> Result<bool, ReplayError> {
        let _alarm = Alarm::set(self.vcpu.kicker(), limit)?;
        loop {
            match self.vcpu.run()? {
                Exit::Shutdown => return Ok(true),
                Exit::Kicked => return Ok(false),
                Exit::Interrupted => {}
                other => {
                    let other = other.to_string();
                    return Err(self.diverged(&other));
                }
            }
        }
    }
}

/// Kicks a vCPU after a while, unless it is dropped before.
struct Alarm {
    cancel: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Alarm {
    fn set(kicker: VcpuKicker, after: Duration) -> Result<Self, CallError> {
        let (cancel, cancelled) = channel();
        let wait = move || {
            if cancelled.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                kicker.kick();
            }
        };
        let thread = Builder::new().name("alarm".to_owned()).spawn(wait);
        let thread = thread.map_err(|source| CallError { call: "pthread_create", source })?;
        Ok(Self { cancel: Some(cancel), thread: Some(thread) })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        drop(self.cancel.take());
        // It does nothing that could panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The last places of a guest, the oldest first.
#[derive(Default)]
struct Trail(Vec<u64>);

impl Trail {
    const LEN: usize = 64;

    fn push(&mut self, rip: u64) {
        if self.0.len() == Self::LEN {
            self.0.remove(0);
        }
        self.0.push(rip);
    }
}

impl<T> Outcome<T> {
    /// Steps a vCPU on from where it was stopped, and says where it went: for a guest that was stopped because it did not
    /// end. It ends early at whatever the guest would need a device for, and where the host cannot step.
    ///
    /// # Errors
    ///
    /// The call that failed.
    pub fn trail(&mut self, vcpu: u8, steps: usize) -> Result<Vec<u64>, CallError> {
        let mut trail = Vec::new();
        let Some(finished) = self.vcpus.iter_mut().find(|finished| finished.index == vcpu) else {
            return Ok(trail);
        };
        let vcpu = &mut finished.vcpu;
        trail.push(vcpu.state()?.regs.rip);
        // In `hlt` it would wait for an interrupt.
        let (began, limit) = (Instant::now(), Duration::from_millis(500));
        let _alarm = Alarm::set(vcpu.kicker(), limit)?;
        while trail.len() < steps {
            vcpu.set_guest_debug(&GuestDebug::STEP)?;
            match vcpu.run()? {
                Exit::Debug(event) => trail.push(event.rip),
                Exit::Interrupted => {}
                // One that ended the run may have come late.
                Exit::Kicked if began.elapsed() < limit => {}
                _ => break,
            }
        }
        vcpu.set_guest_debug(&GuestDebug::default())?;
        Ok(trail)
    }
}
