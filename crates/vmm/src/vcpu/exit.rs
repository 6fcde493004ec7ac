//! Why a guest came back to the VMM: KVM's exit reasons as borrowed values that carry all their data.

use std::fmt;

/// One return from `KVM_RUN` (api.rst 5, "The `kvm_run` structure").
///
/// Slices borrow the page that the kernel shares with the VMM: an answer to a read is written straight into it.
/// [`Display`](fmt::Display) prints one exit in one line, e.g. `out 0x3f8/1 <- 48` or `mmio read 0x8000/4 -> 00 00 00 00`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exit<'a> {
    /// `in`, or a run of `rep ins`: `data` is `width` bytes for each access and wants the answers.
    PioRead {
        /// The port.
        port: u16,
        /// Bytes an access: 1, 2 or 4.
        width: u8,
        /// All accesses of this exit, one after the other.
        data: &'a mut [u8],
    },
    /// `out`, or a run of `rep outs`.
    PioWrite {
        /// The port.
        port: u16,
        /// Bytes an access: 1, 2 or 4.
        width: u8,
        /// All accesses of this exit, one after the other.
        data: &'a [u8],
    },
    /// A read from a guest-physical address without RAM: `data` (1 to 8 bytes) wants the answer.
    MmioRead {
        /// Guest-physical address of the first byte.
        addr: u64,
        /// To be filled, in memory order.
        data: &'a mut [u8],
    },
    /// A write to a guest-physical address without RAM, or to a read-only slot.
    MmioWrite {
        /// Guest-physical address of the first byte.
        addr: u64,
        /// What was written, in memory order.
        data: &'a [u8],
    },
    /// `hlt` without an in-kernel interrupt controller that could wake the guest.
    Halt,
    /// The processor shut down: a triple fault (SDM vol. 3, 6.15 "Interrupt 8").
    Shutdown,
    /// A debug event asked for with [`GuestDebug`](crate::kvm::GuestDebug).
    Debug(DebugEvent),
    /// `KVM_EXIT_SYSTEM_EVENT`: the guest asked the kernel for a reset, power-off and the like.
    SystemEvent {
        /// `KVM_SYSTEM_EVENT_*`.
        kind: u32,
        /// Its payload.
        data: &'a [u64],
    },
    /// The processor refused the guest's state.
    FailEntry {
        /// The hardware's reason, specific to its maker.
        reason: u64,
        /// The host processor it happened on.
        cpu: u32,
    },
    /// KVM gave up on this guest, most often because it cannot emulate an instruction.
    InternalError {
        /// `KVM_INTERNAL_ERROR_*`; 1 is emulation.
        suberror: u32,
        /// KVM's payload, undecoded.
        data: &'a [u64],
    },
    /// KVM could not resolve an access to guest memory.
    MemoryFault {
        /// `KVM_MEMORY_EXIT_FLAG_*`.
        flags: u64,
        /// Where.
        gpa: u64,
        /// How many bytes.
        size: u64,
    },
    /// A [`VcpuKicker`](crate::kvm::VcpuKicker) asked for this return.
    Kicked,
    /// A signal that was not a kick, or KVM asking to be called again (`EAGAIN`, an application processor's first run).
    Interrupted,
    /// An exit reason that this version of Strata does not know.
    Unknown {
        /// `kvm_run.exit_reason`.
        reason: u32,
    },
}

/// What stopped a guest that is being debugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DebugEvent {
    /// Linear address of the next instruction (RIP plus the base of CS).
    pub rip: u64,
    /// 1 (#DB) or 3 (#BP).
    pub exception: u32,
    /// DR6: which condition (SDM vol. 3, 18.2.3).
    pub dr6: u64,
    /// DR7: which breakpoints were armed.
    pub dr7: u64,
}

impl fmt::Display for Exit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PioRead { port, width, data } => {
                write!(f, "in {port:#x}/{width}{} ->{}", Times(data, *width), Bytes(data))
            }
            Self::PioWrite { port, width, data } => {
                write!(f, "out {port:#x}/{width}{} <-{}", Times(data, *width), Bytes(data))
            }
            Self::MmioRead { addr, data } => {
                write!(f, "mmio read {addr:#x}/{} ->{}", data.len(), Bytes(data))
            }
            Self::MmioWrite { addr, data } => {
                write!(f, "mmio write {addr:#x}/{} <-{}", data.len(), Bytes(data))
            }
            Self::Halt => f.write_str("hlt"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Debug(event) => write!(f, "debug {:#x}", event.rip),
            Self::SystemEvent { kind, data } => write!(f, "system event {kind} {data:x?}"),
            Self::FailEntry { reason, .. } => write!(f, "failed entry {reason:#x}"),
            Self::InternalError { suberror, .. } => write!(f, "internal error {suberror}"),
            Self::MemoryFault { gpa, size, .. } => write!(f, "memory fault {gpa:#x}/{size}"),
            Self::Kicked => f.write_str("kicked"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Unknown { reason } => write!(f, "unknown exit {reason}"),
        }
    }
}

/// ` x12` where an exit has more than one access.
struct Times<'a>(&'a [u8], u8);

impl fmt::Display for Times<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() / usize::from(self.1.max(1)) {
            0 | 1 => Ok(()),
            times => write!(f, " x{times}"),
        }
    }
}

/// Each byte after a space.
struct Bytes<'a>(&'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

#[cfg(test)]
#[path = "exit_test.rs"]
mod tests;
