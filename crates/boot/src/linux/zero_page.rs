//! The zero page: `struct boot_params`, 4 KiB (Linux, Documentation/arch/x86/zero-page.rst and boot.rst).

use strata_memory::MemoryMap;

use super::header::{self, SetupHeader};

/// How many ranges the e820 table has room for (`E820_MAX_ENTRIES_ZEROPAGE`).
pub(super) const MAX_E820: usize = 128;

/// Offsets into the zero page.
const ACPI_RSDP_ADDR: usize = 0x70;
const EXT_RAMDISK_IMAGE: usize = 0xc0;
const EXT_RAMDISK_SIZE: usize = 0xc4;
const EXT_CMD_LINE_PTR: usize = 0xc8;
const E820_ENTRIES: usize = 0x1e8;
const E820_TABLE: usize = 0x2d0;
/// One entry of the e820 table: address, size, type, without padding.
const E820_ENTRY: usize = 20;

/// What a loader puts into the zero page.
#[derive(Debug)]
pub(super) struct ZeroPage<'a> {
    /// From the image, or made up for one without.
    pub(super) header: &'a SetupHeader,
    /// The address of the command line.
    pub(super) cmdline: u64,
    /// The address and size of the initrd.
    pub(super) initrd: Option<(u64, u64)>,
    /// At most [`MAX_E820`] ranges.
    pub(super) memory_map: &'a MemoryMap,
    pub(super) rsdp: Option<u64>,
}

impl ZeroPage<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut page = Page(vec![0; 0x1000]);
        page.put(header::START, self.header.bytes());
        // Written by a boot loader that knows of no other kind (boot.rst, `type_of_loader`: undefined).
        page.put(header::TYPE_OF_LOADER, &[0xff]);
        page.put_halves(self.cmdline, header::CMD_LINE_PTR, EXT_CMD_LINE_PTR);
        let (start, len) = self.initrd.unwrap_or_default();
        page.put_halves(start, header::RAMDISK_IMAGE, EXT_RAMDISK_IMAGE);
        page.put_halves(len, header::RAMDISK_SIZE, EXT_RAMDISK_SIZE);
        page.put(ACPI_RSDP_ADDR, &self.rsdp.unwrap_or_default().to_le_bytes());

        let entries = self.memory_map.entries().iter().take(MAX_E820);
        page.put(E820_ENTRIES, &[u8::try_from(entries.len()).unwrap_or(u8::MAX)]);
        for (index, entry) in entries.enumerate() {
            let at = E820_TABLE + index * E820_ENTRY;
            page.put(at, &entry.start.to_le_bytes());
            page.put(at + 8, &entry.len.to_le_bytes());
            page.put(at + 16, &entry.kind.e820().to_le_bytes());
        }
        page.0
    }
}

struct Page(Vec<u8>);

impl Page {
    /// Puts `bytes` at `at`: both are constants of this file, and in the page.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Puts the lower half of `value` at one place, the upper at another.
    fn put_halves(&mut self, value: u64, low: usize, high: usize) {
        let [a, b, c, d, upper @ ..] = value.to_le_bytes();
        self.put(low, &[a, b, c, d]);
        self.put(high, &upper);
    }
}

#[cfg(test)]
#[path = "zero_page_test.rs"]
mod tests;
