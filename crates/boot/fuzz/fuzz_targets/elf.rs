#![no_main]

use libfuzzer_sys::fuzz_target;
use strata_boot::elf::{self, ElfOptions};
use strata_boot_fuzz::check;

fuzz_target!(|image: &[u8]| {
    check(|memory| elf::load(memory, image, &ElfOptions::default()));
});
