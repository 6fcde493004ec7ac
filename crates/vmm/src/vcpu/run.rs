//! The inner loop: exit in, device, answer out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kvm_bindings::{KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use strata_devices::{Bus, Effect};

use super::Vcpu;
use super::exit::{DebugEvent, Exit};
use super::stop::{Budget, Stop};
use super::trace::Tracer;
use crate::kvm::{CallError, GuestDebug};

/// The two address spaces that devices sit in.
#[derive(Debug)]
pub struct Buses {
    /// Ports, 0 to 0xffff.
    pub pio: Bus,
    /// Guest-physical addresses without RAM.
    pub mmio: Bus,
}

/// How many exits all vCPUs of a machine may make together.
#[derive(Debug)]
pub struct ExitBudget {
    limit: u64,
    left: AtomicU64,
}

impl ExitBudget {
    /// A budget of `limit` exits.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, left: AtomicU64::new(limit) })
    }

    /// Takes one; `false` when that was the last.
    fn take(&self) -> bool {
        let before = self.left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(1)));
        before.unwrap_or_else(|left| left) > 1
    }
}

/// What ends the loop beside the guest itself.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The machine's exit budget, shared by its vCPUs.
    pub exits: Option<Arc<ExitBudget>>,
    /// How many single steps to pass over before one is a stop: those that were asked for, less one. Other debug events
    /// stop at once.
    pub steps: u64,
    /// What the vCPU is watched for while it is stepped: see [`GuestDebug::STEP`].
    pub debug: GuestDebug,
}

/// Why the inner loop returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pause {
    /// The guest is done, or may not go on.
    Stop(Stop),
    /// Somebody kicked the vCPU: look at [`Control`](super::Control).
    Kicked,
}

/// Runs `vcpu`, sending its exits to `buses`, until it stops or is kicked.
///
/// # Errors
///
/// The call of the vCPU that failed.
#[inline]
pub fn run<V: Vcpu, T: Tracer>(
    vcpu: &mut V,
    buses: &Buses,
    limits: &mut Limits,
    tracer: &mut T,
) -> Result<Pause, CallError> {
    loop {
        let (mut exit, synced) = vcpu.run_synced()?;
        tracer.back();
        let step = handle(&mut exit, buses);
        match step {
            Step::Kicked => return Ok(Pause::Kicked),
            Step::Again => continue,
            Step::Go | Step::Stop(_) => tracer.exit(&exit, synced),
        }
        match step {
            Step::Stop(Stop::Debug(event)) if limits.steps > 0 && is_step(&event) => {
                limits.steps -= 1;
                vcpu.set_guest_debug(&limits.debug)?;
            }
            Step::Stop(stop) => return Ok(Pause::Stop(stop)),
            _ => {}
        }
        if let Some(budget) = &limits.exits
            && !budget.take()
        {
            return Ok(Pause::Stop(Stop::Budget(Budget::Exits(budget.limit))));
        }
    }
}

/// DR6 says which conditions were met: BS (bit 14) for a single step, B0 to B3 for breakpoints (SDM vol. 3B, "Debug
/// Status Register (DR6)").
fn is_step(event: &DebugEvent) -> bool {
    const BS: u64 = 1 << 14;
    const BREAKPOINTS: u64 = 0xf;
    event.dr6 & (BS | BREAKPOINTS) == BS
}

/// What an exit asks of the loop.
enum Step {
    /// Handled: enter the guest again.
    Go,
    /// Nothing happened that the guest would notice: enter it again.
    Again,
    Kicked,
    Stop(Stop),
}

impl From<Effect> for Step {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::PowerOff => Self::Stop(Stop::PowerOff),
            Effect::Reset => Self::Stop(Stop::Reset),
            Effect::DebugExit(value) => Self::Stop(Stop::DebugExit { value }),
            Effect::Panicked => Self::Stop(Stop::Panicked),
            // `Effect::None`, and `CrashLoaded`: a crash kernel takes over, which is the guest's affair; and should `Effect` grow, what this loop does not know it does not do.
            _ => Self::Go,
        }
    }
}

#[allow(
    clippy::inline_always,
    reason = "two loops use it, with and without a watch for halts: a call would cost each exit 3 %"
)]
#[inline(always)]
fn handle(exit: &mut Exit<'_>, buses: &Buses) -> Step {
    match exit {
        Exit::PioRead { port, width, data } => {
            if data.len() == usize::from(*width) {
                buses.pio.read(u64::from(*port), data);
            } else {
                read_string(&buses.pio, *port, *width, data);
            }
            Step::Go
        }
        Exit::PioWrite { port, width, data } => {
            if data.len() == usize::from(*width) {
                buses.pio.write(u64::from(*port), data).into()
            } else {
                write_string(&buses.pio, *port, *width, data).into()
            }
        }
        Exit::MmioRead { addr, data } => {
            buses.mmio.read(*addr, data);
            Step::Go
        }
        Exit::MmioWrite { addr, data } => buses.mmio.write(*addr, data).into(),
        Exit::Kicked => Step::Kicked,
        Exit::Interrupted => Step::Again,
        Exit::Halt => Step::Stop(Stop::Halted),
        Exit::Shutdown => Step::Stop(Stop::TripleFault),
        Exit::Debug(event) => Step::Stop(Stop::Debug(*event)),
        Exit::SystemEvent { kind, .. } => Step::Stop(match *kind {
            KVM_SYSTEM_EVENT_SHUTDOWN => Stop::PowerOff,
            KVM_SYSTEM_EVENT_RESET => Stop::Reset,
            kind => Stop::SystemEvent { kind },
        }),
        Exit::FailEntry { reason, cpu } => Step::Stop(Stop::FailEntry { reason: *reason, cpu: *cpu }),
        Exit::InternalError { suberror, data } => {
            Step::Stop(Stop::InternalError { suberror: *suberror, data: data.to_vec() })
        }
        Exit::MemoryFault { gpa, size, .. } => Step::Stop(Stop::MemoryFault { gpa: *gpa, size: *size }),
        Exit::Unknown { reason } => Step::Stop(Stop::UnknownExit { reason: *reason }),
    }
}

/// A string instruction is one exit with many accesses: each goes to the device on its own, in its width.
#[cold]
fn read_string(pio: &Bus, port: u16, width: u8, data: &mut [u8]) {
    for access in data.chunks_mut(usize::from(width.max(1))) {
        pio.read(u64::from(port), access);
    }
}

/// Likewise; the first effect ends it.
#[cold]
fn write_string(pio: &Bus, port: u16, width: u8, data: &[u8]) -> Effect {
    let mut accesses = data.chunks(usize::from(width.max(1)));
    let effect = accesses.find_map(|access| match pio.write(u64::from(port), access) {
        Effect::None => None,
        effect => Some(effect),
    });
    effect.unwrap_or(Effect::None)
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
