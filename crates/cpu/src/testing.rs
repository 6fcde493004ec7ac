//! What the tests share.

use proptest::test_runner::{Config, RngSeed};

/// The same cases on every run; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others. A failure prints the
/// smallest case, so nothing is written beside the sources.
pub(crate) fn config() -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    // Miri looks at every memory access and is a thousand times slower; it needs each path once.
    let config = if cfg!(miri) { Config { cases: 4, ..config } } else { config };
    match config.rng_seed {
        RngSeed::Random => Config { rng_seed: RngSeed::Fixed(0x5354_5241_5441), ..config },
        RngSeed::Fixed(_) => config,
    }
}
