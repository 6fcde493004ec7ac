//! What a tap takes along from one exit.

use strata_cpu::X86State;
use strata_vmm::devices::AddressSpace;
use strata_vmm::vcpu::{Exit, ExitRecord};
use vm_memory::{Bytes, GuestAddress};

use super::kind::Kind;
use crate::View;
use crate::clock::Times;
use crate::disasm::MAX_LEN as LONGEST;

/// How many bytes of an access are taken along: all, but of a long string instruction.
pub(super) const BYTES: usize = 32;

/// One exit.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) vcpu: u8,
    /// Since the trace began.
    pub(super) times: Times,
    pub(super) what: What,
    /// What the processor was at; `None` where the kernel gives no registers (before Linux 4.17).
    pub(super) cpu: Option<Cpu>,
}

/// What the guest wanted. The four kinds that make up a run need no heap; the others are rare, and mostly the last.
#[derive(Debug, Clone)]
pub(super) enum What {
    Access(Access),
    Other(Box<ExitRecord>),
}

/// A read or a write of a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub(super) kind: Kind,
    /// Bytes of one access.
    pub(super) width: u8,
    /// Bytes of all accesses of this exit.
    pub(super) len: u32,
    pub(super) at: u64,
    bytes: [u8; BYTES],
}

/// The processor at an exit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    pub(super) state: X86State,
    pub(super) code: Code,
}

/// The bytes around RIP, at the moment of the exit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    before: u8,
    after: u8,
    /// RIP is at `LONGEST`.
    bytes: [u8; 2 * LONGEST],
}

impl What {
    #[inline]
    pub(super) fn of(exit: &Exit<'_>) -> Self {
        let access = |width, at, data: &[u8]| Self::Access(Access::new(Kind::of(exit), width, at, data));
        match exit {
            Exit::PioRead { port, width, data } => access(*width, u64::from(*port), data),
            Exit::PioWrite { port, width, data } => access(*width, u64::from(*port), data),
            Exit::MmioRead { addr, data } => access(narrow(data.len()), *addr, data),
            Exit::MmioWrite { addr, data } => access(narrow(data.len()), *addr, data),
            other => Self::Other(Box::new(other.into())),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Access(access) => access.kind,
            Self::Other(record) => Kind::of(&record.clone().lend()),
        }
    }

    /// The exit again; of a long string, its first bytes.
    pub(super) fn record(&self) -> ExitRecord {
        match self {
            Self::Access(access) => access.record(),
            Self::Other(record) => (**record).clone(),
        }
    }
}

fn narrow(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

impl Access {
    #[inline]
    fn new(kind: Kind, width: u8, at: u64, data: &[u8]) -> Self {
        let mut bytes = [0; BYTES];
        for (kept, byte) in bytes.iter_mut().zip(data) {
            *kept = *byte;
        }
        Self { kind, width, len: u32::try_from(data.len()).unwrap_or(u32::MAX), at, bytes }
    }

    /// The bytes, or the first [`BYTES`] of them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len as usize).unwrap_or(&self.bytes)
    }

    /// How often the device was accessed.
    pub(super) fn times(&self) -> u32 {
        self.len / u32::from(self.width.max(1))
    }

    pub(super) fn space(&self) -> AddressSpace {
        match self.kind {
            Kind::In | Kind::Out => AddressSpace::Pio,
            _ => AddressSpace::Mmio,
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.kind, Kind::Out | Kind::MmioWrite)
    }

    /// The number that one access moved; of several, none.
    pub(super) fn value(&self) -> Option<u64> {
        let mut number = [0; 8];
        number.get_mut(..self.len as usize)?.copy_from_slice(self.bytes());
        (self.times() == 1).then(|| u64::from_le_bytes(number))
    }

    fn record(&self) -> ExitRecord {
        let port = u16::try_from(self.at).unwrap_or(u16::MAX);
        let (width, addr, data) = (self.width, self.at, self.bytes().to_vec());
        match self.kind {
            Kind::In => ExitRecord::PioRead { port, width, data },
            Kind::Out => ExitRecord::PioWrite { port, width, data },
            Kind::MmioRead => ExitRecord::MmioRead { addr, data },
            _ => ExitRecord::MmioWrite { addr, data },
        }
    }
}

impl Cpu {
    /// Reads the code through the guest's page tables, which may be anything.
    pub(super) fn of<M: Bytes<GuestAddress>>(memory: &M, state: &X86State) -> Self {
        Self { state: *state, code: Code::around(&View::new(memory, state)) }
    }
}

impl Code {
    fn around<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Self {
        const PAGE: u64 = 4096;
        let rip = view.rip();
        let mut code = Self { before: 0, after: 0, bytes: [0; 2 * LONGEST] };
        let start = rip.wrapping_sub(LONGEST as u64);
        // Nearly always one page has it all, which costs one walk.
        let first = view.read(start, &mut code.bytes);
        if let Some(after) = first.checked_sub(LONGEST) {
            (code.before, code.after) = (narrow(LONGEST), narrow(after));
            return code;
        }
        // What lies before may be missing up to the beginning of RIP's page.
        let in_page = (rip % PAGE).min(LONGEST as u64);
        let from = LONGEST - usize::try_from(in_page).unwrap_or(0);
        if let Some(rest) = code.bytes.get_mut(from..) {
            let read = view.read(rip.wrapping_sub(in_page), rest);
            if let Some(after) = (from + read).checked_sub(LONGEST) {
                (code.before, code.after) = (narrow(LONGEST - from), narrow(after));
            }
        }
        code
    }

    /// The bytes from RIP on, as far as they could be read.
    pub(super) fn after(&self) -> &[u8] {
        self.bytes.get(LONGEST..LONGEST + usize::from(self.after)).unwrap_or_default()
    }

    /// The bytes that end at RIP.
    pub(super) fn before(&self) -> &[u8] {
        self.bytes.get(LONGEST - usize::from(self.before)..LONGEST).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "event_test.rs"]
mod tests;
