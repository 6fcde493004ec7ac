//! The harness lies with the tests, which run the corpus by it.

#[path = "../../tests/fuzz_seeds/harness.rs"]
mod harness;

pub use harness::guest;
