//! The multiboot information (Multiboot Specification 0.6.96, 3.3).

use strata_memory::layout::{BOOT_INFO, HIGH_MEMORY, PAGE_SIZE};
use strata_memory::{Kind, MemoryMap};

/// `flags`: which fields are there.
const MEMORY: u32 = 1;
const CMDLINE: u32 = 1 << 2;
const MODULES: u32 = 1 << 3;
const MEMORY_MAP: u32 = 1 << 6;
const LOADER_NAME: u32 = 1 << 9;

const NAME: &[u8] = b"Strata\0";

/// Where the lists lie in the page of the information, which takes 120 bytes.
const MODULE_AT: u32 = 0x80;
const NAME_AT: u32 = 0x90;
const MAP_AT: u32 = 0xa0;
/// An entry of the memory map: its size without this field, address, length, type.
const MAP_ENTRY: u32 = 24;
/// How many ranges there is room for.
pub(super) const MAX_RANGES: usize = (PAGE as usize - MAP_AT as usize) / MAP_ENTRY as usize;
#[expect(clippy::cast_possible_truncation, reason = "a page is 4096, and its place below 1 MiB")]
const PAGE: u32 = PAGE_SIZE as u32;
#[expect(clippy::cast_possible_truncation, reason = "a page is 4096, and its place below 1 MiB")]
const AT: u32 = BOOT_INFO as u32;

/// The information for a kernel with this memory, this command line and this module (start and end).
pub(super) fn bytes(map: &MemoryMap, cmdline: u32, module: Option<(u32, u32)>) -> Vec<u8> {
    let entries = map.entries();
    let mut page = Vec::with_capacity(PAGE as usize);
    let mut words = |words: &[u32]| page.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let map_len = u32::try_from(entries.len()).unwrap_or_default() * MAP_ENTRY;

    words(&[MEMORY | CMDLINE | MODULES | MEMORY_MAP | LOADER_NAME]);
    words(&[kib_from(map, 0).min(640), kib_from(map, HIGH_MEMORY), 0]); // mem_lower, mem_upper, boot_device
    words(&[cmdline, u32::from(module.is_some()), AT + MODULE_AT]);
    words(&[0; 4]); // syms
    words(&[map_len, AT + MAP_AT, 0, 0, 0]); // mmap_*, drives_*, config_table
    words(&[AT + NAME_AT]);
    words(&[0; 15]); // APM, VBE and frame buffer, which there are none of
    let (start, end) = module.unwrap_or_default();
    words(&[start, end, 0, 0]); // mod_start, mod_end, string, reserved
    let mut name = [0; 16];
    name.iter_mut().zip(NAME).for_each(|(to, from)| *to = *from);
    page.extend(name);
    for entry in entries {
        page.extend((MAP_ENTRY - 4).to_le_bytes());
        page.extend(entry.start.to_le_bytes());
        page.extend(entry.len.to_le_bytes());
        page.extend(entry.kind.e820().to_le_bytes());
    }
    page
}

/// How many KiB of usable RAM begin at `start`, up to the first hole.
fn kib_from(map: &MemoryMap, start: u64) -> u32 {
    let holds = |entry: &&strata_memory::Entry| {
        entry.kind == Kind::Usable && entry.start <= start && start < entry.end()
    };
    let kib = map.entries().iter().find(holds).map_or(0, |entry| (entry.end() - start) >> 10);
    u32::try_from(kib).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "info_test.rs"]
mod tests;
