//! The harness lies with the tests, which run the corpus by it.

mod events;
#[path = "../../tests/fuzz_seeds/harness/mod.rs"]
mod harness;

pub use harness::*;
