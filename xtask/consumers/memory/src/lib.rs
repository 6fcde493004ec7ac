//! For a VMM that has everything but RAM: `strata-memory` alone.

use strata_memory::vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError};
use strata_memory::{Kind, MemoryMap, Piece, Ram, RamError, RamSpec};

const MIB: u64 = 1 << 20;

/// RAM on both sides of the MMIO gap, and little of it: 1 MiB below the gap, 1 MiB from 4 GiB on.
pub fn around_the_gap() -> Result<Ram, RamError> {
    let piece = |start| Piece { start: GuestAddress(start), len: MIB, read_only: false };
    RamSpec::empty().piece(piece(0xc000_0000 - MIB)).piece(piece(1 << 32)).track_dirty(true).build()
}

/// Puts `image` into whatever memory the caller has; this function has never heard of Strata.
pub fn load(memory: &impl GuestMemory, image: &[u8], at: u64) -> Result<(), GuestMemoryError> {
    memory.write_slice(image, GuestAddress(at))
}

/// What the guest is told of its memory: start, length and e820 type.
pub fn e820(spec: &RamSpec) -> Vec<(u64, u64, u32)> {
    let map = MemoryMap::of(spec);
    map.entries().iter().map(|entry| (entry.start, entry.len, entry.kind.e820())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_gibibytes_are_planned_around_the_gap() {
        let usable = Kind::Usable.e820();
        let spec = RamSpec::new(4 << 30); // planned, not built
        assert_eq!(e820(&spec), [(0, 0xc000_0000, usable), (1 << 32, 0x4000_0000, usable)]);
    }

    #[test]
    fn the_gap_is_nobodys_memory() {
        let ram = around_the_gap().unwrap();
        let slots: Vec<_> = ram.slots().map(|slot| (slot.index, slot.start, slot.len)).collect();
        assert_eq!(slots, [(0, 0xbff0_0000, MIB), (1, 1 << 32, MIB)]);
        load(ram.memory(), b"below", 0xbfff_fff0).unwrap();
        load(ram.memory(), b"above", 1 << 32).unwrap();
        load(ram.memory(), b"within", 0xd000_0000).unwrap_err();
        assert_eq!(ram.memory().read_obj::<[u8; 5]>(GuestAddress(0xbfff_fff0)).unwrap(), *b"below");
    }

    #[test]
    fn what_the_vmm_wrote_is_known() {
        let ram = around_the_gap().unwrap();
        load(ram.memory(), &[1], (1 << 32) + 0x2345).unwrap();
        assert_eq!(ram.dirty_pages(), [(1 << 32) + 0x2000]);
    }

    #[test]
    fn a_mistake_has_a_name() {
        let error = RamSpec::new(0).build().unwrap_err();
        assert!(matches!(error, RamError::Empty | RamError::ZeroSize { .. }), "{error}");
    }
}
