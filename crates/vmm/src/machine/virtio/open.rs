//! From the configuration to devices: their back ends are opened here.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use strata_devices::virtio::rng::Rng;

use super::VirtioPart;
use crate::config::Config;

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There are not so many interrupts.
    #[error("{count} virtio devices: there are interrupts for {most}")]
    TooMany {
        /// How many devices there should be.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// The source of entropy cannot be opened.
    #[error("cannot open {} for the guest's entropy", path.display())]
    Entropy {
        /// The source.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A descriptor cannot be had.
    #[error("cannot make {device}")]
    Descriptors {
        /// The device.
        device: String,
        /// What the system answered.
        source: io::Error,
    },
}

/// Where the host's entropy comes from.
const ENTROPY: &str = "/dev/urandom";

/// Opens what the configuration names, in the order in which the guest finds it.
pub(in crate::machine) fn open(config: &Config) -> Result<Vec<VirtioPart>, DeviceError> {
    let mut parts = Vec::new();
    if config.rng.is_some() {
        parts.push(rng()?);
    }
    Ok(parts)
}

fn rng() -> Result<VirtioPart, DeviceError> {
    let failed = |source| DeviceError::Entropy { path: ENTROPY.into(), source };
    let source = File::open(ENTROPY).map_err(failed)?;
    let rng = Rng::new(source).map_err(failed)?;
    let worker = rng.worker();
    Ok(VirtioPart::new("rng", Box::new(rng)).shared(vec![worker]))
}
