//! How a guest ended.

use std::fmt;
use std::time::Duration;

use strata_devices::DebugExit;

use super::exit::DebugEvent;

/// Why a machine stopped. The first reason wins; every vCPU ends with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// `hlt` with nothing that could ever wake the guest: as an exit where there is no interrupt controller; with KVM's, of all
    /// vCPUs with interrupts disabled.
    Halted,
    /// The guest switched the machine off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// The guest's kernel panicked, and said so by pvpanic.
    Panicked,
    /// An exception while delivering a double fault: the processor gave up.
    TripleFault,
    /// A breakpoint, or the last of the single steps that were asked for.
    Debug(DebugEvent),
    /// The guest wrote this value to the debug-exit port.
    DebugExit {
        /// What was written.
        value: u32,
    },
    /// The guest used up what it was given.
    Budget(Budget),
    /// KVM gave up; its payload undecoded (`KVM_EXIT_INTERNAL_ERROR`, api.rst 5).
    InternalError {
        /// `KVM_INTERNAL_ERROR_*`; 1 is emulation.
        suberror: u32,
        /// The payload. After a failed emulation: flags, then the size and the bytes of the instruction.
        data: Vec<u64>,
    },
    /// The processor refused the state it was to start from.
    FailEntry {
        /// The hardware's reason.
        reason: u64,
        /// The host processor it happened on.
        cpu: u32,
    },
    /// KVM could not resolve an access to guest memory.
    MemoryFault {
        /// Where.
        gpa: u64,
        /// How many bytes.
        size: u64,
    },
    /// `KVM_EXIT_SYSTEM_EVENT` of a kind that is neither shutdown nor reset.
    SystemEvent {
        /// `KVM_SYSTEM_EVENT_*`.
        kind: u32,
    },
    /// An exit reason that this version does not know.
    UnknownExit {
        /// `kvm_run.exit_reason`.
        reason: u32,
    },
    /// A call that the vCPU needs failed on the host.
    VcpuFailed {
        /// Which vCPU.
        vcpu: u8,
        /// The call.
        call: &'static str,
        /// What the kernel answered.
        errno: i32,
    },
    /// The thread of a vCPU ended by a panic, in a device or in the VMM.
    VcpuDied {
        /// Which vCPU.
        vcpu: u8,
    },
    /// Nobody reads the guest's output any more.
    OutputClosed,
    /// The guest's output cannot be written: the disk is full, for instance.
    OutputFailed {
        /// What the system answered.
        errno: i32,
    },
    /// The host asked the machine to stop: Ctrl-a x, SIGTERM, [`Control::stop`](super::Control::stop).
    Interrupted,
}

/// What a guest can use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget {
    /// This many exits.
    Exits(u64),
    /// This much time since the start.
    Wall(Duration),
}

impl Stop {
    /// A stable name for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::PowerOff => "power-off",
            Self::Reset => "reset",
            Self::Panicked => "panicked",
            Self::TripleFault => "triple-fault",
            Self::Debug(_) => "debug",
            Self::DebugExit { .. } => "debug-exit",
            Self::Budget(_) => "budget",
            Self::InternalError { .. } => "internal-error",
            Self::FailEntry { .. } => "fail-entry",
            Self::MemoryFault { .. } => "memory-fault",
            Self::SystemEvent { .. } => "system-event",
            Self::UnknownExit { .. } => "unknown-exit",
            Self::VcpuFailed { .. } => "vcpu-failed",
            Self::VcpuDied { .. } => "vcpu-died",
            Self::OutputClosed => "output-closed",
            Self::OutputFailed { .. } => "output-failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// The exit code of a process that ran this guest.
    ///
    /// Odd codes are the guest's own: `value << 1 | 1` of the debug-exit port (QEMU's isa-debug-exit), cut to eight
    /// bits as the system cuts them. All others are even.
    ///
    /// | code | stop | | code | stop |
    /// | --- | --- | --- | --- | --- |
    /// | 0 | power-off | | 22 | internal error, failed entry |
    /// | 10 | halted | | 24 | unknown exit, memory fault, system event |
    /// | 12 | reset | | 26 | a vCPU failed on the host |
    /// | 14 | triple fault | | 28 | output closed or failed |
    /// | 16 | debug event | | 130 | interrupted |
    /// | 18 | exit budget used up | | odd | debug exit |
    /// | 20 | time budget used up | | 30 | kernel panic |
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PowerOff => 0,
            Self::Halted => 10,
            Self::Reset => 12,
            Self::Panicked => 30,
            Self::TripleFault => 14,
            Self::Debug(_) => 16,
            Self::Budget(Budget::Exits(_)) => 18,
            Self::Budget(Budget::Wall(_)) => 20,
            Self::InternalError { .. } | Self::FailEntry { .. } => 22,
            Self::UnknownExit { .. } | Self::MemoryFault { .. } | Self::SystemEvent { .. } => 24,
            Self::VcpuFailed { .. } | Self::VcpuDied { .. } => 26,
            Self::OutputClosed | Self::OutputFailed { .. } => 28,
            Self::Interrupted => 130,
            Self::DebugExit { value } => DebugExit::exit_status(*value).to_le_bytes()[0],
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Halted => f.write_str("halted"),
            Self::PowerOff => f.write_str("powered off"),
            Self::Reset => f.write_str("reset by the guest"),
            Self::Panicked => f.write_str("the guest's kernel panicked"),
            Self::TripleFault => f.write_str("triple fault"),
            Self::Debug(event) => write!(f, "debug event at RIP {:#x} (DR6 {:#x})", event.rip, event.dr6),
            Self::DebugExit { value } => write!(f, "debug exit with value {value:#x}"),
            Self::Budget(Budget::Exits(exits)) => write!(f, "budget of {exits} exits used up"),
            Self::Budget(Budget::Wall(time)) => write!(f, "time budget of {time:?} used up"),
            Self::InternalError { suberror, data } => internal_error(f, *suberror, data),
            Self::FailEntry { reason, cpu } => {
                write!(
                    f,
                    "the processor refused the guest's state: hardware reason {reason:#x} on host CPU {cpu}"
                )
            }
            Self::MemoryFault { gpa, size } => {
                write!(f, "KVM could not resolve {size} bytes of guest memory at {gpa:#x}")
            }
            Self::SystemEvent { kind } => write!(f, "system event {kind}"),
            Self::UnknownExit { reason } => {
                write!(f, "exit reason {reason}, which this version of Strata does not know")
            }
            Self::VcpuFailed { vcpu, call, errno } => {
                write!(f, "{call} of vCPU {vcpu} failed: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::VcpuDied { vcpu } => {
                write!(f, "the thread of vCPU {vcpu} panicked; its message is on standard error")
            }
            Self::OutputFailed { errno } => {
                write!(
                    f,
                    "the guest's output cannot be written: {}",
                    std::io::Error::from_raw_os_error(*errno)
                )
            }
            Self::OutputClosed => f.write_str("nobody reads the guest's output any more"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// `KVM_INTERNAL_ERROR_EMULATION` is 1; bit 0 of its first word says that the next two words hold the size and the
/// bytes of the instruction (`struct kvm_run`'s `emulation_failure`, api.rst 5).
fn internal_error(f: &mut fmt::Formatter<'_>, suberror: u32, data: &[u64]) -> fmt::Result {
    write!(f, "KVM internal error, suberror {suberror}")?;
    let &[flags, first, second, ..] = data else { return Ok(()) };
    if suberror != 1 || flags & 1 == 0 {
        return Ok(());
    }
    let [size, bytes @ ..] = first.to_le_bytes();
    let instruction = bytes.into_iter().chain(second.to_le_bytes());
    f.write_str(": it cannot emulate the instruction")?;
    instruction.take(size.into()).try_for_each(|byte| write!(f, " {byte:02x}"))
}

#[cfg(test)]
#[path = "stop_test.rs"]
mod tests;
