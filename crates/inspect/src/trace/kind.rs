//! What sorts of exits there are, for filters, statistics and colours.

use std::fmt;

use strata_vmm::Exit;

/// A sort of exit, as traces name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A read from a port.
    In,
    /// A write to a port.
    Out,
    /// A read from a device's guest-physical address.
    MmioRead,
    /// A write to one.
    MmioWrite,
    /// `hlt`.
    Hlt,
    /// A triple fault.
    Shutdown,
    /// A debug event.
    Debug,
    /// The guest asked the kernel for a reset and the like.
    SystemEvent,
    /// The processor refused the guest's state.
    FailEntry,
    /// KVM gave up.
    InternalError,
    /// KVM could not resolve an access to guest memory.
    MemoryFault,
    /// Any other.
    Unknown,
}

impl Kind {
    /// All of them, in the order in which tables have them.
    pub const ALL: [Self; 12] = [
        Self::In,
        Self::Out,
        Self::MmioRead,
        Self::MmioWrite,
        Self::Hlt,
        Self::Shutdown,
        Self::Debug,
        Self::SystemEvent,
        Self::FailEntry,
        Self::InternalError,
        Self::MemoryFault,
        Self::Unknown,
    ];

    /// The kind of an exit.
    #[inline]
    pub fn of(exit: &Exit<'_>) -> Self {
        match exit {
            Exit::PioRead { .. } => Self::In,
            Exit::PioWrite { .. } => Self::Out,
            Exit::MmioRead { .. } => Self::MmioRead,
            Exit::MmioWrite { .. } => Self::MmioWrite,
            Exit::Halt => Self::Hlt,
            Exit::Shutdown => Self::Shutdown,
            Exit::Debug(_) => Self::Debug,
            Exit::SystemEvent { .. } => Self::SystemEvent,
            Exit::FailEntry { .. } => Self::FailEntry,
            Exit::InternalError { .. } => Self::InternalError,
            Exit::MemoryFault { .. } => Self::MemoryFault,
            _ => Self::Unknown,
        }
    }

    /// Its name in filters, tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::MmioRead => "mmio-read",
            Self::MmioWrite => "mmio-write",
            Self::Hlt => "hlt",
            Self::Shutdown => "shutdown",
            Self::Debug => "debug",
            Self::SystemEvent => "system-event",
            Self::FailEntry => "fail-entry",
            Self::InternalError => "internal-error",
            Self::MemoryFault => "memory-fault",
            Self::Unknown => "unknown",
        }
    }

    /// Its bit in a set of kinds.
    #[inline]
    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether it carries bytes for or from a device.
    pub fn is_access(self) -> bool {
        matches!(self, Self::In | Self::Out | Self::MmioRead | Self::MmioWrite)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
