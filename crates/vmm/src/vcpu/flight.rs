//! The flight recorder: the last exits of a vCPU with its registers, for when the guest dies.

use std::fmt;

use strata_cpu::Registers;

use super::exit::Exit;
use super::record::ExitRecord;
use super::synced::{Sync, Synced};
use super::trace::Tracer;

/// Keeps the last [`LEN`](Self::LEN) exits of a vCPU in a ring. It allocates as it fills, and never again.
#[derive(Debug, Clone, Default)]
pub struct FlightRecorder {
    ring: Vec<Recorded>,
    /// How many there were.
    count: u64,
}

/// One exit in a [`FlightRecorder`].
#[derive(Debug, Clone)]
pub struct Recorded {
    registers: Option<Registers>,
    kept: Kept,
}

/// How many bytes of an access are kept: all, but of a string instruction.
const BYTES: usize = 8;

/// An exit without a heap for the four kinds that make up a run; the others are rare, and mostly the last.
#[derive(Debug, Clone)]
enum Kept {
    Access { kind: Access, width: u8, len: u32, at: u64, bytes: [u8; BYTES] },
    Other(Box<ExitRecord>),
}

#[derive(Debug, Clone, Copy)]
enum Access {
    PioRead,
    PioWrite,
    MmioRead,
    MmioWrite,
}

impl FlightRecorder {
    /// How many exits are kept.
    pub const LEN: usize = 256;

    /// The exits that are kept, the oldest first.
    pub fn exits(&self) -> impl DoubleEndedIterator<Item = &Recorded> + ExactSizeIterator {
        let split = if self.ring.len() < Self::LEN { 0 } else { self.next() };
        let (newer, older) = self.ring.split_at_checked(split).unwrap_or_default();
        Chained { older: older.iter(), newer: newer.iter() }
    }

    /// How many exits there were in all.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where the next one goes.
    fn next(&self) -> usize {
        usize::try_from(self.count % Self::LEN as u64).unwrap_or(0)
    }
}

impl Tracer for FlightRecorder {
    fn wants(&self) -> Sync {
        Sync::General
    }

    #[inline]
    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        let recorded = Recorded { registers: synced.registers(), kept: Kept::of(exit) };
        let next = self.next();
        match self.ring.get_mut(next) {
            Some(oldest) => *oldest = recorded,
            None => {
                self.ring.reserve_exact(Self::LEN - self.ring.len());
                self.ring.push(recorded);
            }
        }
        self.count += 1;
    }
}

impl Kept {
    #[inline]
    fn of(exit: &Exit<'_>) -> Self {
        match exit {
            Exit::PioRead { port, width, data } => {
                Self::access(Access::PioRead, *width, (*port).into(), data)
            }
            Exit::PioWrite { port, width, data } => {
                Self::access(Access::PioWrite, *width, (*port).into(), data)
            }
            Exit::MmioRead { addr, data } => Self::access(Access::MmioRead, 0, *addr, data),
            Exit::MmioWrite { addr, data } => Self::access(Access::MmioWrite, 0, *addr, data),
            other => Self::other(other),
        }
    }

    #[inline]
    fn access(kind: Access, width: u8, at: u64, data: &[u8]) -> Self {
        let mut bytes = [0; BYTES];
        for (kept, byte) in bytes.iter_mut().zip(data) {
            *kept = *byte;
        }
        Self::Access { kind, width, len: u32::try_from(data.len()).unwrap_or(u32::MAX), at, bytes }
    }

    #[cold]
    fn other(exit: &Exit<'_>) -> Self {
        Self::Other(Box::new(exit.into()))
    }
}

impl Recorded {
    /// The registers with which the vCPU came out, where the kernel can give them (Linux 4.17).
    pub fn registers(&self) -> Option<&Registers> {
        self.registers.as_ref()
    }

    /// How many bytes the exit moved. Of more than eight, a string instruction's, [`exit`](Self::exit) has the first eight.
    pub fn len(&self) -> usize {
        match &self.kept {
            Kept::Access { len, .. } => *len as usize,
            Kept::Other(_) => 0,
        }
    }

    /// Whether it moved none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The exit, with the answers that a read got.
    pub fn exit(&self) -> ExitRecord {
        let (kind, width, at, data) = match &self.kept {
            Kept::Access { kind, width, len, at, bytes } => {
                (*kind, *width, *at, bytes.iter().copied().take(*len as usize).collect())
            }
            Kept::Other(record) => return (**record).clone(),
        };
        let port = u16::try_from(at).unwrap_or(0);
        match kind {
            Access::PioRead => ExitRecord::PioRead { port, width, data },
            Access::PioWrite => ExitRecord::PioWrite { port, width, data },
            Access::MmioRead => ExitRecord::MmioRead { addr: at, data },
            Access::MmioWrite => ExitRecord::MmioWrite { addr: at, data },
        }
    }
}

/// The exit's line, with `..` where bytes are left out.
impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exit().fmt(f)?;
        if self.len() > BYTES { write!(f, " .. ({} bytes)", self.len()) } else { Ok(()) }
    }
}

/// The two parts of a ring. `Iterator::chain` does not know its length.
struct Chained<'a> {
    older: std::slice::Iter<'a, Recorded>,
    newer: std::slice::Iter<'a, Recorded>,
}

impl<'a> Iterator for Chained<'a> {
    type Item = &'a Recorded;

    fn next(&mut self) -> Option<Self::Item> {
        self.older.next().or_else(|| self.newer.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.older.len() + self.newer.len();
        (len, Some(len))
    }
}

impl DoubleEndedIterator for Chained<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.newer.next_back().or_else(|| self.older.next_back())
    }
}

impl ExactSizeIterator for Chained<'_> {}

#[cfg(test)]
#[path = "flight_test.rs"]
mod tests;
