#![no_main]

use libfuzzer_sys::fuzz_target;
use strata_boot::flat::{self, FlatOptions};
use strata_boot_fuzz::check;
use strata_cpu::Mode;

// The first byte says the mode, the next eight where to, then how far behind that to enter.
fuzz_target!(|data: &[u8]| {
    let [mode, at @ .., entry] = *data.first_chunk::<10>().unwrap_or(&[0; 10]);
    let mode = Mode::ALL[usize::from(mode) % Mode::ALL.len()];
    let load_at = Some(u64::from_le_bytes(at)).filter(|at| *at != 0);
    let entry = load_at.and_then(|at| at.checked_add(entry.into()));
    let options = FlatOptions { load_at, entry, ..FlatOptions::new(mode) };
    let image = data.get(10..).unwrap_or_default();
    check(|memory| flat::load(memory, image, &options));
});
