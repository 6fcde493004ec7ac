//! For a VMM that brings its own memory and its own KVM: `strata-boot` alone, with what it re-exports.

use strata_boot::flat::{self, FlatError, FlatOptions};
use strata_boot::strata_cpu::Mode;
use strata_boot::vm_memory::{GuestAddress, GuestMemoryMmap};
use strata_boot::{Entry, Format, detect};

/// A guest memory that is not Strata's.
pub fn memory(len: usize) -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), len)]).expect("mapping a few pages")
}

/// Loads a boot sector.
pub fn boot_sector(memory: &GuestMemoryMmap, image: &[u8]) -> Result<Entry, FlatError> {
    flat::load(memory, image, &FlatOptions::new(Mode::Real16))
}

/// Whether this VMM can run `image` at all.
pub fn is_flat(image: &[u8]) -> bool {
    matches!(detect(image), Ok(Format::Flat))
}

#[cfg(test)]
mod tests {
    use strata_boot::What;
    use strata_boot::elf::{self, ElfOptions};
    use strata_boot::vm_memory::Bytes;

    use super::*;

    #[test]
    fn a_boot_sector_lies_where_a_bios_puts_it() {
        let memory = memory(0x1_0000);
        let entry = boot_sector(&memory, &[0xf4, 0xeb, 0xfd]).unwrap();
        assert_eq!((entry.state.regs.rip, entry.state.cs.base), (0x7c00, 0));
        assert_eq!(memory.read_obj::<[u8; 3]>(GuestAddress(0x7c00)).unwrap(), [0xf4, 0xeb, 0xfd]);
    }

    #[test]
    fn long_mode_brings_its_tables_along() {
        let memory = memory(0x20_0000);
        let entry = flat::load(&memory, &[0xf4], &FlatOptions::new(Mode::Long64)).unwrap();
        let tables = entry.loaded.iter().find(|loaded| loaded.what == What::PageTables).unwrap();
        assert_eq!(entry.state.cr3, tables.start);
        assert_ne!(memory.read_obj::<u64>(GuestAddress(tables.start)).unwrap() & 1, 0);
    }

    #[test]
    fn a_refused_image_leaves_memory_alone() {
        let memory = memory(0x1000);
        assert!(boot_sector(&memory, &[0xf4]).is_err(), "there is no 0x7c00");
        let elf = [b"\x7fELF".as_slice(), &[0; 60]].concat();
        assert!(!is_flat(&elf) && is_flat(&[0xf4]));
        elf::load(&memory, &elf, &ElfOptions::default()).unwrap_err();
        let mut all = [0; 0x1000];
        memory.read_slice(&mut all, GuestAddress(0)).unwrap();
        assert_eq!(all, [0; 0x1000]);
    }
}
