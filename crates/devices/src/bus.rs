//! Finding the device that an address belongs to.

use std::fmt;
use std::sync::Arc;

use crate::device::{Device, Effect};
use crate::ports::Ports;

/// Which addresses a bus has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressSpace {
    /// Ports, 0 to 0xffff.
    Pio,
    /// Guest-physical addresses.
    Mmio,
}

impl AddressSpace {
    fn last(self) -> u64 {
        match self {
            Self::Pio => 0xffff,
            Self::Mmio => u64::MAX,
        }
    }
}

/// Why a device could not be put on a bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The range has no addresses.
    #[error("the range of {name} at {base:#x} is empty: give it at least one byte")]
    Empty {
        /// The device.
        name: String,
        /// Where it was to start.
        base: u64,
    },
    /// The range leaves the address space.
    #[error("{name} at {base:#x} with {len:#x} bytes does not fit: the last address is {last:#x}")]
    OutOfRange {
        /// The device.
        name: String,
        /// Where it was to start.
        base: u64,
        /// How long it was to be.
        len: u64,
        /// The last address that there is.
        last: u64,
    },
    /// Another device is there.
    #[error(
        "{name} at {base:#x} overlaps {other}, which has {other_base:#x} to {other_last:#x}: move one of them"
    )]
    Overlap {
        /// The device.
        name: String,
        /// Where it was to start.
        base: u64,
        /// The device that is there.
        other: String,
        /// Its first address.
        other_base: u64,
        /// Its last address.
        other_last: u64,
    },
}

/// Devices by address: sorted, disjoint ranges.
///
/// Looking a device up takes no lock, and `log2(n)` comparisons, or for a port two loads. An access that reaches beyond a device's end
/// is split there, as if the guest had made two; addresses of nobody read as `0xff`, and writes to them are
/// dropped. What would lie beyond the last address is nobody's; it does not wrap around to address 0.
#[derive(Clone)]
pub struct Bus {
    space: AddressSpace,
    /// Sorted by `base`.
    ranges: Vec<Range>,
    /// In the space of ports, where to find them.
    ports: Option<Box<Ports>>,
}

#[derive(Clone)]
struct Range {
    base: u64,
    last: u64,
    name: Arc<str>,
    device: Arc<dyn Device>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(base, last, name)| (format!("{base:#x}..={last:#x}"), name));
        f.debug_map().entries(names).finish()
    }
}

impl Bus {
    /// A bus without devices.
    pub fn new(space: AddressSpace) -> Self {
        let ports = (space == AddressSpace::Pio).then(|| Box::new(Ports::new()));
        Self { space, ranges: Vec::new(), ports }
    }

    /// Puts a device at `len` addresses from `base`. The name is for people: error messages and traces.
    ///
    /// # Errors
    ///
    /// [`BusError`]; the bus is as before.
    pub fn insert(
        &mut self,
        base: u64,
        len: u64,
        name: &str,
        device: Arc<dyn Device>,
    ) -> Result<(), BusError> {
        let name_owned = || name.to_owned();
        let Some(beyond_first) = len.checked_sub(1) else {
            return Err(BusError::Empty { name: name_owned(), base });
        };
        let last = match base.checked_add(beyond_first) {
            Some(last) if last <= self.space.last() => last,
            _ => return Err(BusError::OutOfRange { name: name_owned(), base, len, last: self.space.last() }),
        };
        let place = self.place(base);
        // Those before it end before `base`; if it begins after `last`, so do those after it.
        if let Some(other) = self.ranges.get(place).filter(|other| other.base <= last) {
            return Err(BusError::Overlap {
                name: name_owned(),
                base,
                other: other.name.to_string(),
                other_base: other.base,
                other_last: other.last,
            });
        }
        let is_last = place == self.ranges.len();
        self.ranges.insert(place, Range { base, last, name: name.into(), device });
        if let Some(ports) = &mut self.ports {
            // Both fit: `last` has been compared with the last port.
            let port = |addr| u16::try_from(addr).unwrap_or(u16::MAX);
            if !is_last {
                ports.move_up(place);
            }
            ports.set_range(place, port(base), port(last));
        }
        Ok(())
    }

    /// First address, last address and name of every device, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64, &str)> {
        self.ranges.iter().map(|range| (range.base, range.last, &*range.name))
    }

    /// The name of the device at `addr`. A tracer asks here, so that accesses need not carry names about.
    pub fn name_at(&self, addr: u64) -> Option<&str> {
        self.find(addr).map(|range| &*range.name)
    }

    /// The guest reads `data.len()` bytes from `addr` on.
    #[inline]
    pub fn read(&self, addr: u64, data: &mut [u8]) {
        match self.find_whole(addr, data.len()) {
            Some(range) => range.device.read(addr - range.base, data),
            None => self.read_split(addr, data),
        }
    }

    /// The guest writes `data` from `addr` on. Of a split write the first effect counts.
    #[inline]
    pub fn write(&self, addr: u64, data: &[u8]) -> Effect {
        match self.find_whole(addr, data.len()) {
            Some(range) => range.device.write(addr - range.base, data),
            None => self.write_split(addr, data),
        }
    }

    /// The index of the first range that does not end before `addr`.
    #[inline]
    fn place(&self, addr: u64) -> usize {
        self.ranges.partition_point(|range| range.last < addr)
    }

    #[inline]
    fn find(&self, addr: u64) -> Option<&Range> {
        match &self.ports {
            Some(ports) => self.ranges.get(ports.find(u16::try_from(addr).ok()?)?),
            None => self.ranges.get(self.place(addr)).filter(|range| range.base <= addr),
        }
    }

    /// The range that holds all of an access, as nearly every exit has one: each instruction here counts.
    #[inline]
    fn find_whole(&self, addr: u64, len: usize) -> Option<&Range> {
        let range = self.find(addr)?;
        // An empty access wraps to 2^64 - 1, for which no range has room: a length is at most that.
        let more = (len as u64).wrapping_sub(1);
        (more <= range.last - addr).then_some(range)
    }

    /// How many of `len` bytes (at least one) from `addr` on have the same owner, and who that is.
    fn run(&self, addr: u64, len: usize) -> (usize, Option<&Range>) {
        let (last, owner) = match self.ranges.get(self.place(addr)) {
            Some(range) if range.base <= addr => (range.last, Some(range)),
            Some(next) => (next.base - 1, None),
            None => (u64::MAX, None),
        };
        let more = usize::try_from(last - addr).unwrap_or(usize::MAX);
        (more.saturating_add(1).min(len), owner)
    }

    #[cold]
    fn read_split(&self, addr: u64, data: &mut [u8]) {
        let (mut next, mut rest) = (Some(addr), data);
        while let Some(addr) = next
            && !rest.is_empty()
        {
            let (len, owner) = self.run(addr, rest.len());
            let (part, after) = rest.split_at_mut(len);
            match owner {
                Some(range) => range.device.read(addr - range.base, part),
                None => part.fill(0xff),
            }
            (next, rest) = (addr.checked_add(len as u64), after);
        }
        rest.fill(0xff);
    }

    #[cold]
    fn write_split(&self, addr: u64, data: &[u8]) -> Effect {
        let (mut next, mut rest) = (Some(addr), data);
        let mut effect = Effect::None;
        while let Some(addr) = next
            && !rest.is_empty()
        {
            let (len, owner) = self.run(addr, rest.len());
            let (part, after) = rest.split_at(len);
            if let Some(range) = owner {
                let its = range.device.write(addr - range.base, part);
                effect = if effect == Effect::None { its } else { effect };
            }
            (next, rest) = (addr.checked_add(len as u64), after);
        }
        effect
    }
}

#[cfg(test)]
#[path = "bus_test.rs"]
mod tests;
