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

use crate::output::{OutputError, OutputFile};

/// Where a map is drawn.
pub(crate) struct Target<'a> {
    to: &'a Path,
    /// None: standard output.
    file: Option<OutputFile<'a>>,
}

impl<'a> Target<'a> {
    /// Begins the file; `-` is standard output.
    pub(crate) fn begin(to: &'a Path) -> Result<Self, OutputError> {
        Ok(Self { to, file: OutputFile::unless_stream(to)? })
    }

    /// Draws the map of a guest whose first vCPU is in `state`; as a picture if the file ends in `.svg`.
    pub(crate) fn write(self, ram: &Ram, places: &[Place], state: &X86State) -> Result<(), OutputError> {
        let is_svg = self.to.extension().is_some_and(|end| end == "svg");
        let text = draw(is_svg, ram, places, state);
        let written = match self.file {
            Some(OutputFile { mut file, .. }) => file.write_all(text.as_bytes()),
            None => io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()),
        };
        match written {
            // Nobody wants to read on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|source| OutputError::new(self.to, source)),
        }
    }
}

fn draw(is_svg: bool, ram: &Ram, places: &[Place], state: &X86State) -> String {
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
    let _ = if is_svg { write!(text, "{}", map.svg()) } else { writeln!(text, "{map}") };
    text
}
