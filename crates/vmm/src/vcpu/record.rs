//! Exits as owned values: what a recording keeps and a script plays.

use std::fmt;

use super::exit::{DebugEvent, Exit};

/// An [`Exit`] that borrows nothing. The bytes of a read are the answers that the guest got.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "cassette"), derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(any(test, feature = "cassette"), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
#[allow(missing_docs, reason = "each field is documented at `Exit`")]
pub enum ExitRecord {
    /// [`Exit::PioRead`]
    PioRead { port: u16, width: u8, data: Vec<u8> },
    /// [`Exit::PioWrite`]
    PioWrite { port: u16, width: u8, data: Vec<u8> },
    /// [`Exit::MmioRead`]
    MmioRead { addr: u64, data: Vec<u8> },
    /// [`Exit::MmioWrite`]
    MmioWrite { addr: u64, data: Vec<u8> },
    /// [`Exit::Halt`]
    Halt,
    /// [`Exit::Shutdown`]
    Shutdown,
    /// [`Exit::Debug`]
    Debug { rip: u64, exception: u32, dr6: u64, dr7: u64 },
    /// [`Exit::SystemEvent`]
    SystemEvent { kind: u32, data: Vec<u64> },
    /// [`Exit::FailEntry`]
    FailEntry { reason: u64, cpu: u32 },
    /// [`Exit::InternalError`]
    InternalError { suberror: u32, data: Vec<u64> },
    /// [`Exit::MemoryFault`]
    MemoryFault { flags: u64, gpa: u64, size: u64 },
    /// [`Exit::Kicked`]
    Kicked,
    /// [`Exit::Interrupted`]
    Interrupted,
    /// [`Exit::Unknown`]
    Unknown { reason: u32 },
}

impl From<&Exit<'_>> for ExitRecord {
    #[allow(clippy::inline_always, reason = "see `Tracer::exit`")]
    #[inline(always)]
    fn from(exit: &Exit<'_>) -> Self {
        match exit {
            Exit::PioRead { port, width, data } => {
                Self::PioRead { port: *port, width: *width, data: data.to_vec() }
            }
            Exit::PioWrite { port, width, data } => {
                Self::PioWrite { port: *port, width: *width, data: data.to_vec() }
            }
            Exit::MmioRead { addr, data } => Self::MmioRead { addr: *addr, data: data.to_vec() },
            Exit::MmioWrite { addr, data } => Self::MmioWrite { addr: *addr, data: data.to_vec() },
            Exit::Halt => Self::Halt,
            Exit::Shutdown => Self::Shutdown,
            Exit::Debug(DebugEvent { rip, exception, dr6, dr7 }) => {
                Self::Debug { rip: *rip, exception: *exception, dr6: *dr6, dr7: *dr7 }
            }
            Exit::SystemEvent { kind, data } => Self::SystemEvent { kind: *kind, data: data.to_vec() },
            Exit::FailEntry { reason, cpu } => Self::FailEntry { reason: *reason, cpu: *cpu },
            Exit::InternalError { suberror, data } => {
                Self::InternalError { suberror: *suberror, data: data.to_vec() }
            }
            Exit::MemoryFault { flags, gpa, size } => {
                Self::MemoryFault { flags: *flags, gpa: *gpa, size: *size }
            }
            Exit::Kicked => Self::Kicked,
            Exit::Interrupted => Self::Interrupted,
            Exit::Unknown { reason } => Self::Unknown { reason: *reason },
        }
    }
}

impl ExitRecord {
    /// The exit, borrowing from this record: what a device answers to a read is written into it.
    pub fn lend(&mut self) -> Exit<'_> {
        match self {
            Self::PioRead { port, width, data } => Exit::PioRead { port: *port, width: *width, data },
            Self::PioWrite { port, width, data } => Exit::PioWrite { port: *port, width: *width, data },
            Self::MmioRead { addr, data } => Exit::MmioRead { addr: *addr, data },
            Self::MmioWrite { addr, data } => Exit::MmioWrite { addr: *addr, data },
            Self::Halt => Exit::Halt,
            Self::Shutdown => Exit::Shutdown,
            Self::Debug { rip, exception, dr6, dr7 } => {
                Exit::Debug(DebugEvent { rip: *rip, exception: *exception, dr6: *dr6, dr7: *dr7 })
            }
            Self::SystemEvent { kind, data } => Exit::SystemEvent { kind: *kind, data },
            Self::FailEntry { reason, cpu } => Exit::FailEntry { reason: *reason, cpu: *cpu },
            Self::InternalError { suberror, data } => Exit::InternalError { suberror: *suberror, data },
            Self::MemoryFault { flags, gpa, size } => {
                Exit::MemoryFault { flags: *flags, gpa: *gpa, size: *size }
            }
            Self::Kicked => Exit::Kicked,
            Self::Interrupted => Exit::Interrupted,
            Self::Unknown { reason } => Exit::Unknown { reason: *reason },
        }
    }
}

/// The line of [`Exit`].
impl fmt::Display for ExitRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clone().lend().fmt(f)
    }
}
