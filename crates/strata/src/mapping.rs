//! Maps of guests' memory.

use std::io::{self, Write as _};
use std::path::Path;

use strata_inspect::map::{Area, AreaKind};
use strata_inspect::{Map, View};
use strata_vmm::boot::{Loaded, What};
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
    /// Devices are at `places`; `loaded` is what was put into RAM before the guest ran.
    pub(crate) fn write(
        self,
        ram: &Ram,
        (places, loaded): (&[Place], &[Loaded]),
        state: &X86State,
    ) -> Result<(), OutputError> {
        let is_svg = self.to.extension().is_some_and(|end| end == "svg");
        let map = Map::new(areas(ram, places, loaded)).with_view(&View::new(ram.memory(), state));
        let text = if is_svg { map.svg().to_string() } else { format!("{map}\n") };
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

/// What is known of the guest-physical addresses without asking a processor.
fn areas(ram: &Ram, places: &[Place], loaded: &[Loaded]) -> Vec<Area> {
    let slots = ram.slots().map(|slot| {
        let name = if slot.read_only { "read-only" } else { "" };
        Area::new(slot.start, slot.len, AreaKind::Slot, name)
    });
    let pieces = ram.slots().map(|slot| Area::new(slot.start, slot.len, AreaKind::Ram, "RAM"));
    let devices = places
        .iter()
        .filter(|place| place.space == AddressSpace::Mmio)
        .map(|place| Area::new(place.first, place.last - place.first + 1, AreaKind::Device, &*place.name));
    pieces.chain(slots).chain(devices).chain(loaded.iter().filter_map(area)).collect()
}

/// What was loaded; none of what the processor itself tells, which may be elsewhere by now.
fn area(Loaded { start, len, what }: &Loaded) -> Option<Area> {
    let kind = match what {
        What::PageTables | What::Gdt => return None,
        What::Image | What::Segment(_) | What::Kernel | What::Initrd | What::Cmdline => AreaKind::Image,
        _ => AreaKind::Table,
    };
    let name = match what {
        What::Image => String::new(),
        What::Segment(index) => format!("segment {index}"),
        what => what.to_string().trim_start_matches("the ").to_owned(),
    };
    Some(Area::new(*start, *len, kind, name))
}

#[cfg(test)]
#[path = "mapping_test.rs"]
mod tests;
