#![no_main]

use libfuzzer_sys::fuzz_target;
use strata_boot::{detect, multiboot};
use strata_boot_fuzz::{INITRD, check, options};

fuzz_target!(|image: &[u8]| {
    detect(image).expect("bytes in memory can be read");
    check(|memory| multiboot::load(memory, image, &options(Some(&INITRD))));
});
