//! Which exits a trace shows.

use std::str::FromStr;

use strata_vmm::Exit;
use strata_vmm::devices::AddressSpace;

use super::kind::Kind;
use super::place::{self, Place};

/// The device of addresses that no device has.
const NOBODY: &str = "nobody";

/// Which exits a trace shows: `KEY=VALUE`, separated by commas, e.g. `kind=out,port=0x3f8-0x3ff,vcpu=0`.
///
/// | key | value |
/// | --- | --- |
/// | `kind` | `in`, `out`, `mmio-read`, `mmio-write`, `hlt`, `shutdown`, `debug`, `system-event`, `fail-entry`, `internal-error`, `memory-fault`, `unknown`; `pio` is `in` and `out`, `mmio` both of MMIO, `read` and `write` are those of both |
/// | `port` | a port or a range of them, `0x3f8-0x3ff`, the last included |
/// | `address` | a guest-physical address or a range of them |
/// | `device` | a device's name, as the trace itself shows it; `nobody` for addresses of no device |
/// | `vcpu` | a vCPU's number |
///
/// What is said of one key more than once are alternatives, and so are ports and addresses; of different keys, all must hold.
/// An access is at a port or an address if one of its bytes is. Without anything, all exits are shown.
///
/// ```
/// use strata_inspect::trace::Filter;
///
/// let filter: Filter = "kind=out,device=com1,device=rtc".parse()?;
/// let wrong = "kind=io".parse::<Filter>().unwrap_err();
/// assert!(wrong.to_string().starts_with("there is no kind of exit named io: "));
/// # Ok::<(), strata_inspect::trace::FilterError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A set of [`Kind::bit`]s; 0 is all.
    kinds: u16,
    spans: Vec<Span>,
    devices: Vec<String>,
    vcpus: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    space: AddressSpace,
    first: u64,
    last: u64,
}

/// Why a filter is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A part is not `KEY=VALUE`.
    #[error("`{part}` in the filter is not KEY=VALUE: write e.g. kind=mmio,device=com1")]
    NoValue {
        /// The part.
        part: String,
    },
    /// There is no such key.
    #[error("a filter has no key {key}: there are kind, port, address, device and vcpu")]
    Key {
        /// The key.
        key: String,
    },
    /// There is no such kind.
    #[error("there is no kind of exit named {kind}: there are {}", kinds())]
    Kind {
        /// What was given.
        kind: String,
    },
    /// Not a number, or no range.
    #[error("{key}={value} is no number or range that fits: write e.g. {key}={example}")]
    Range {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What could have been.
        example: &'static str,
    },
    /// The machine has no such device.
    #[error("the machine has no device named {device}: there are {devices}")]
    Device {
        /// What was given.
        device: String,
        /// Those that it has.
        devices: String,
    },
    /// The machine has no such vCPU.
    #[error("the machine has no vCPU {vcpu}: it has {}", vcpus(*.cpus))]
    Vcpu {
        /// What was given.
        vcpu: u8,
        /// How many there are.
        cpus: usize,
    },
}

fn vcpus(count: usize) -> String {
    match count {
        0 | 1 => "vCPU 0 only".to_owned(),
        count => format!("vCPUs 0 to {}", count - 1),
    }
}

fn kinds() -> String {
    let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    format!("{}; pio, mmio, read and write", names.join(", "))
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(FilterError::NoValue { part: part.to_owned() });
            };
            filter.add(key.trim(), value.trim())?;
        }
        Ok(filter)
    }
}

impl Filter {
    fn add(&mut self, key: &str, value: &str) -> Result<(), FilterError> {
        match key {
            "kind" => self.kinds |= kind(value)?,
            "port" => self.spans.push(span("port", value)?),
            "address" => self.spans.push(span("address", value)?),
            "device" => self.devices.push(value.to_owned()),
            "vcpu" => {
                let none = || FilterError::Range { key: "vcpu", value: value.to_owned(), example: "0" };
                self.vcpus.push(value.parse().map_err(|_| none())?);
            }
            key => return Err(FilterError::Key { key: key.to_owned() }),
        }
        Ok(())
    }

    /// Makes addresses of the devices' names, in a machine of so many vCPUs.
    pub(super) fn sieve(&self, places: &[Place], cpus: usize) -> Result<Sieve, FilterError> {
        if let Some(&vcpu) = self.vcpus.iter().find(|vcpu| usize::from(**vcpu) >= cpus) {
            return Err(FilterError::Vcpu { vcpu, cpus });
        }
        let mut sieve = Sieve { filter: self.clone(), taken: Vec::new(), nobody: None };
        for device in &self.devices {
            if device == NOBODY {
                sieve.nobody = Some(places.iter().map(Span::of).collect());
                continue;
            }
            let mut its = places.iter().filter(|place| place.name == *device).peekable();
            if its.peek().is_none() {
                let mut names: Vec<_> = places.iter().map(|place| place.name.as_str()).collect();
                names.dedup();
                names.push(NOBODY);
                return Err(FilterError::Device { device: device.clone(), devices: names.join(", ") });
            }
            sieve.taken.extend(its.map(Span::of));
        }
        Ok(sieve)
    }
}

fn kind(name: &str) -> Result<u16, FilterError> {
    let of = |kinds: &[Kind]| kinds.iter().fold(0, |set, kind| set | kind.bit());
    Ok(match name {
        "pio" => of(&[Kind::In, Kind::Out]),
        "mmio" => of(&[Kind::MmioRead, Kind::MmioWrite]),
        "read" => of(&[Kind::In, Kind::MmioRead]),
        "write" => of(&[Kind::Out, Kind::MmioWrite]),
        name => match Kind::ALL.iter().find(|kind| kind.name() == name) {
            Some(kind) => kind.bit(),
            None => return Err(FilterError::Kind { kind: name.to_owned() }),
        },
    })
}

fn span(key: &'static str, value: &str) -> Result<Span, FilterError> {
    let (space, limit, example) = match key {
        "port" => (AddressSpace::Pio, 0xffff, "0x3f8-0x3ff"),
        _ => (AddressSpace::Mmio, u64::MAX, "0xd0000000-0xd0000fff"),
    };
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last && last <= limit => Ok(Span { space, first, last }),
        _ => Err(FilterError::Range { key, value: value.to_owned(), example }),
    }
}

/// Decimal, or hexadecimal behind `0x`.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Span {
    fn of(place: &Place) -> Self {
        Self { space: place.space, first: place.first, last: place.last }
    }

    #[inline]
    fn touches(&self, space: AddressSpace, first: u64, last: u64) -> bool {
        self.space == space && self.first <= last && first <= self.last
    }
}

/// A filter that knows where the devices are.
#[derive(Debug, Clone, Default)]
pub(super) struct Sieve {
    filter: Filter,
    /// The addresses of the devices that the filter names.
    taken: Vec<Span>,
    /// If it names nobody: those of all devices.
    nobody: Option<Vec<Span>>,
}

impl Sieve {
    /// Whether the trace shows an exit. It is asked on the vCPU's thread, so that what is not shown costs little and
    /// takes nobody's room.
    #[inline]
    pub(super) fn passes(&self, vcpu: u8, exit: &Exit<'_>) -> bool {
        let filter = &self.filter;
        (filter.kinds == 0 || filter.kinds & Kind::of(exit).bit() != 0)
            && (filter.vcpus.is_empty() || filter.vcpus.contains(&vcpu))
            && (filter.spans.is_empty() && filter.devices.is_empty() || self.is_at(exit))
    }

    fn is_at(&self, exit: &Exit<'_>) -> bool {
        let Some((space, first)) = place::address(exit) else { return false };
        let bytes = match exit {
            Exit::PioRead { width, .. } | Exit::PioWrite { width, .. } => u64::from(*width),
            Exit::MmioRead { data, .. } => data.len() as u64,
            Exit::MmioWrite { data, .. } => data.len() as u64,
            _ => 1,
        };
        let last = first.saturating_add(bytes.saturating_sub(1));
        let among = |spans: &[Span]| spans.iter().any(|span| span.touches(space, first, last));
        let at = self.filter.spans.is_empty() || among(&self.filter.spans);
        let takes = || among(&self.taken) || self.nobody.as_ref().is_some_and(|all| !among(all));
        at && (self.filter.devices.is_empty() || takes())
    }
}

#[cfg(test)]
#[path = "filter_test.rs"]
mod tests;
