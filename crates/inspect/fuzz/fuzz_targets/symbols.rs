#![no_main]

use libfuzzer_sys::fuzz_target;
pub use strata_inspect::Symbols;

#[path = "../../src/symbols/exercise.rs"]
mod exercise;

fuzz_target!(|image: &[u8]| {
    if let Ok(symbols) = Symbols::read(image) {
        exercise::exercise(&symbols, image);
    }
});
