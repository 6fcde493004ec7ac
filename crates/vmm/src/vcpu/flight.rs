//! The flight recorder: the last exits of a vCPU with its registers, for when the guest dies.

use std::fmt;

use strata_cpu::{RFlags, Registers};

use super::exit::Exit;
use super::record::ExitRecord;
use super::synced::{Sync, Synced, are_valid};
use super::trace::Tracer;

/// Keeps the last [`LEN`](Self::LEN) exits of a vCPU in a ring. It allocates at its first exit, and seldom again.
#[derive(Debug, Clone, Default)]
pub struct FlightRecorder {
    /// There once there was an exit.
    ring: Option<Box<[Recorded; Self::LEN]>>,
    /// How many there were.
    count: u64,
}

/// One exit in a [`FlightRecorder`].
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    registers: Words,
    kind: Kind,
    width: u8,
    /// How many bytes the access has.
    len: u32,
    at: u64,
    /// The first of them, as many as have room.
    bytes: [u8; BYTES],
    /// What is not an access.
    other: Option<Box<ExitRecord>>,
}

/// How many bytes of an access are kept: all, but of a string instruction.
const BYTES: usize = 8;

/// The four kinds that make up a run are kept without a heap; the others are rare, and mostly the last.
#[derive(Debug, Clone, Copy, Default)]
enum Kind {
    PioRead,
    PioWrite,
    MmioRead,
    MmioWrite,
    #[default]
    Other,
}

impl FlightRecorder {
    /// How many exits are kept.
    pub const LEN: usize = 256;

    /// The exits that are kept, the oldest first.
    pub fn exits(&self) -> impl DoubleEndedIterator<Item = &Recorded> + ExactSizeIterator {
        let ring = self.ring.as_deref().map_or(&[][..], <[_; _]>::as_slice);
        let (newer, older) = ring.split_at_checked(self.next()).unwrap_or_default();
        // Before the ring is full there is nothing older.
        let older = if self.count < Self::LEN as u64 { &[] } else { older };
        Chained { older: older.iter(), newer: newer.iter() }
    }

    /// How many exits there were in all.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where the next one goes.
    #[inline]
    fn next(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "less than `LEN`")]
        let next = (self.count % Self::LEN as u64) as usize;
        next
    }
}

#[cold]
fn new_ring() -> Box<[Recorded; FlightRecorder::LEN]> {
    Box::new(std::array::from_fn(|_| Recorded::default()))
}

impl Tracer for FlightRecorder {
    fn wants(&self) -> Sync {
        Sync::General
    }

    #[allow(clippy::inline_always, reason = "see `Tracer::exit`")]
    #[inline(always)]
    fn exit(&mut self, exit: &Exit<'_>, synced: Synced<'_>) {
        let next = self.next();
        self.count += 1;
        let ring = match &mut self.ring {
            Some(ring) => ring,
            none => none.insert(new_ring()),
        };
        // Written in place: a value that is made and then moved would be copied twice.
        let Some(place) = ring.get_mut(next) else { return };
        // Whether they are valid can be seen later.
        place.registers = synced.found().map(Words::from).unwrap_or_default();
        match exit {
            Exit::PioRead { port, width, data } => place.access(Kind::PioRead, *width, (*port).into(), data),
            Exit::PioWrite { port, width, data } => {
                place.access(Kind::PioWrite, *width, (*port).into(), data);
            }
            Exit::MmioRead { addr, data } => place.access(Kind::MmioRead, 0, *addr, data),
            Exit::MmioWrite { addr, data } => place.access(Kind::MmioWrite, 0, *addr, data),
            // Turned into a record here, not there: an exit that is shown to a function has to be put into memory
            // first, each time.
            other => place.other(other.into()),
        }
    }
}

/// `Registers` as words, in its order.
#[derive(Debug, Clone, Copy, Default)]
struct Words([u64; 18]);

impl From<&Registers> for Words {
    /// Word by word, of which the compiler makes two at a time. As one value they would be copied by `memcpy`, and a call of
    /// musl's takes as long again.
    #[inline]
    fn from(registers: &Registers) -> Self {
        let Registers {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp,
            rbp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            rflags,
        } = *registers;
        let rflags = rflags.bits();
        Self([rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags])
    }
}

impl From<Words> for Registers {
    fn from(words: Words) -> Self {
        let [rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags] =
            words.0;
        let rflags = RFlags::from_bits_retain(rflags);
        Self { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
    }
}

impl Recorded {
    /// The registers with which the vCPU came out, where the kernel can give them (Linux 4.17).
    pub fn registers(&self) -> Option<Registers> {
        Some(self.registers.into()).filter(are_valid)
    }

    #[inline]
    fn access(&mut self, kind: Kind, width: u8, at: u64, data: &[u8]) {
        self.kind = kind;
        self.width = width;
        self.at = at;
        // A string instruction's at most: KVM's page has room for no more.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let len = data.len() as u32;
        self.len = len;
        match *data {
            [byte] => self.bytes[0] = byte,
            _ => self.keep(data),
        }
    }

    #[inline(never)]
    fn keep(&mut self, data: &[u8]) {
        for (kept, byte) in self.bytes.iter_mut().zip(data) {
            *kept = *byte;
        }
    }

    #[cold]
    fn other(&mut self, exit: ExitRecord) {
        self.kind = Kind::Other;
        self.len = 0;
        self.other = Some(Box::new(exit));
    }

    /// How many bytes the exit moved. Of more than eight, a string instruction's, [`exit`](Self::exit) has the first eight.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it moved none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The exit, with the answers that a read got.
    pub fn exit(&self) -> ExitRecord {
        let data = self.bytes.iter().copied().take(self.len()).collect();
        let (addr, width, port) = (self.at, self.width, u16::try_from(self.at).unwrap_or(0));
        match self.kind {
            Kind::PioRead => ExitRecord::PioRead { port, width, data },
            Kind::PioWrite => ExitRecord::PioWrite { port, width, data },
            Kind::MmioRead => ExitRecord::MmioRead { addr, data },
            Kind::MmioWrite => ExitRecord::MmioWrite { addr, data },
            Kind::Other => self.other.as_deref().cloned().unwrap_or(ExitRecord::Halt),
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
