//! What this crate's tests share.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use proptest::test_runner::{Config, RngSeed};

use crate::{DeviceMut, IrqLine};

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

/// An output that keeps what it was given. A clone is the same output.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output that always fails.
#[derive(Debug)]
pub(crate) struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts edges. A clone is the same line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edges(Arc<AtomicUsize>);

impl Edges {
    pub(crate) fn taken(&self) -> usize {
        self.0.swap(0, Relaxed)
    }
}

impl IrqLine for Edges {
    fn pulse(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Reads one byte.
pub(crate) fn inb(device: &mut impl DeviceMut, offset: u64) -> u8 {
    let mut data = [0x5a];
    device.read(offset, &mut data);
    data[0]
}
