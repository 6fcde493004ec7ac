//! Maps of guests' memory.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use strata_inspect::map::{Area, AreaKind};
use strata_inspect::{Map, View};
use strata_vmm::cpu::X86State;
use strata_vmm::devices::AddressSpace;
use strata_vmm::machine::Place;
use strata_vmm::memory::Ram;

use crate::run::{Error, OutputFile};

/// Writes the map of a guest whose first vCPU is in `state`: to standard output, or to a file; as a picture if that ends
/// in `.svg`.
pub(crate) fn write(to: &Path, ram: &Ram, places: &[Place], state: &X86State) -> Result<(), Error> {
    let slots = ram.slots().map(|slot| {
        let name = if slot.read_only { "read-only" } else { "" };
        Area::new(slot.start, slot.len, AreaKind::Slot, name)
    });
    let pieces = ram.slots().map(|slot| Area::new(slot.start, slot.len, AreaKind::Ram, "RAM"));
    let devices = places
        .iter()
        .filter(|place| place.space == AddressSpace::Mmio)
        .map(|place| Area::new(place.first, place.last - place.first + 1, AreaKind::Device, &*place.name));
    let map = Map::new(pieces.chain(slots).chain(devices)).with_view(&View::new(ram.memory(), state));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = if to.extension().is_some_and(|end| end == "svg") {
        write!(text, "{}", map.svg())
    } else {
        writeln!(text, "{map}")
    };
    let written = if to == Path::new("-") {
        io::stdout().write_all(text.as_bytes())
    } else {
        OutputFile::begin(to)?.file.write_all(text.as_bytes())
    };
    match written {
        // Nobody wants to read on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| Error::File { path: to.to_owned(), source }),
    }
}
