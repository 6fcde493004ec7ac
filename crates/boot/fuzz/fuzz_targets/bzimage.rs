#![no_main]

use libfuzzer_sys::fuzz_target;
use strata_boot::linux;
use strata_boot_fuzz::{INITRD, check, options};

const LIMIT: u64 = 1 << 20;

fuzz_target!(|image: &[u8]| {
    check(|memory| linux::load(memory, image, &options(Some(&INITRD))));
    let mut unpacked = Vec::new();
    let done = linux::unpack(image, LIMIT, &mut unpacked);
    assert!(unpacked.len() as u64 <= LIMIT, "more than allowed");
    if let Ok(len) = done {
        assert_eq!(len, unpacked.len() as u64);
    }
});
