//! What is said of the machines and of how they should end: by options of the runner, and by the manifest of the package that
//! is tested.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;
use strata_vmm::config::{self, ByteSize, LayerError};
use strata_vmm::{Config, Stop};

use crate::cli::Options;
use crate::expect::{Expect, ExpectError};

/// How long a test may take if nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// RAM, likewise: what QEMU gives.
const MEMORY: u64 = 128 << 20;
/// Where QEMU's isa-debug-exit lies by custom.
pub const DEBUG_EXIT: u16 = 0xf4;
/// `0x10 << 1 | 1`: what success is in "Writing an OS in Rust", and in `strata-guest`.
pub const SUCCESS: u8 = 33;

/// Everything that is said, with what holds where nothing is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a test may take.
    pub timeout: Duration,
    /// How long a program that is no test may take; without a value, as long as it likes.
    pub run_timeout: Option<Duration>,
    /// What the output has to show.
    pub expect: Option<Expect>,
    /// Exit codes by status.
    pub codes: Codes,
    /// The command line of programs without tests of ours.
    pub cmdline: Option<String>,
    /// The machine, without an image.
    pub machine: Config,
}

/// What statuses mean.
///
/// A status is a number that a process which ran the guest would end with: [`Stop::exit_code`], by which the status of
/// QEMU's isa-debug-exit is `value << 1 | 1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codes {
    /// These are success.
    pub success: Vec<u8>,
    /// These become others, of which 0 is success.
    pub map: Vec<(u8, u8)>,
}

impl Codes {
    /// What a status becomes.
    pub fn of(&self, status: u8) -> u8 {
        if let Some(&(_, code)) = self.map.iter().find(|(from, _)| *from == status) {
            return code;
        }
        let is_success = if self.success.is_empty() {
            status == 0 || status == SUCCESS
        } else {
            self.success.contains(&status)
        };
        match (is_success, status) {
            (true, _) => 0,
            // What is not success must not look like it.
            (false, 0) => 1,
            (false, status) => status,
        }
    }

    /// What the end of a guest becomes.
    pub fn of_stop(&self, stop: &Stop) -> u8 {
        self.of(stop.exit_code())
    }
}

/// The table `[package.metadata.strata-test]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Metadata {
    timeout: Option<config::Duration>,
    run_timeout: Option<config::Duration>,
    memory: Option<ByteSize>,
    cpus: Option<u32>,
    cmdline: Option<String>,
    debug_exit: Option<u16>,
    expect: Option<String>,
    success: Vec<u8>,
    /// As `--map`: TOML's keys are texts.
    map: std::collections::BTreeMap<String, u8>,
    /// Anything of a machine's configuration.
    machine: toml::Table,
}

/// As much of a manifest as matters here.
#[derive(Debug, Default, Deserialize)]
struct Manifest {
    package: Option<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    metadata: Option<PackageMetadata>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PackageMetadata {
    strata_test: Option<Metadata>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The manifest cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The manifest's table is wrong.
    #[error("cannot use [package.metadata.strata-test] of {}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// A status in the manifest's `map` is no number.
    #[error("{key:?} in `map` of [package.metadata.strata-test] is no status: those are 0 to 255")]
    Status {
        /// What is there.
        key: String,
    },
    /// The manifest's `machine` cannot be written as a text.
    #[error("cannot use `machine` of [package.metadata.strata-test]")]
    Machine(#[source] toml::ser::Error),
    /// The machine's configuration is wrong.
    #[error("cannot use the configuration of the machine")]
    Layers(#[from] LayerError),
    /// The expression is none.
    #[error(transparent)]
    Expect(#[from] ExpectError),
}

impl Settings {
    /// What the options and the manifest in `package` say; the options come first.
    ///
    /// # Errors
    ///
    /// Each case of [`SettingsError`].
    pub fn new(options: &Options, package: Option<&Path>) -> Result<Self, SettingsError> {
        let metadata = match package {
            Some(folder) => read(&folder.join("Cargo.toml"))?,
            None => Metadata::default(),
        };
        let mut map = options.map.clone();
        for (key, code) in &metadata.map {
            let status = key.parse().map_err(|_| SettingsError::Status { key: key.clone() })?;
            map.push((status, *code));
        }
        let success = if options.success.is_empty() { metadata.success } else { options.success.clone() };
        let expect = options.expect.as_ref().or(metadata.expect.as_ref());
        let timeout = options.timeout.or(metadata.timeout);
        let run_timeout = options.timeout.or(metadata.run_timeout);
        let table = toml::to_string(&metadata.machine).map_err(SettingsError::Machine)?;
        let mut machine = Config::layered(Some(&table), &options.set)?;
        let memory = options.memory.or(metadata.memory).or(machine.memory.size);
        if machine.memory.piece.is_empty() {
            machine.memory.size = Some(memory.unwrap_or(ByteSize(MEMORY)));
        }
        // A guest of a second would pay with 2 MiB, zeroed, for the first byte that it touches.
        machine.memory.transparent_huge_pages.get_or_insert(false);
        if let Some(cpus) = options.cpus.or(metadata.cpus) {
            machine.cpus = cpus;
        }
        let port = options.debug_exit.or(metadata.debug_exit);
        machine.devices.debug_exit = port.or(machine.devices.debug_exit).or(Some(DEBUG_EXIT));
        Ok(Self {
            timeout: timeout.map_or(TIMEOUT, |time| time.0),
            run_timeout: run_timeout.map(|time| time.0),
            expect: expect.map(|text| Expect::new(text)).transpose()?,
            codes: Codes { success, map },
            cmdline: options.cmdline.clone().or(metadata.cmdline).or(machine.cmdline.take()),
            machine,
        })
    }
}

fn read(path: &Path) -> Result<Metadata, SettingsError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // A program that is run by hand has no manifest.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Metadata::default()),
        Err(source) => return Err(SettingsError::Read { path: path.to_owned(), source }),
    };
    let wrong = |source| SettingsError::Manifest { path: path.to_owned(), source: Box::new(source) };
    let manifest: Manifest = toml::from_str(&text).map_err(wrong)?;
    let metadata = manifest.package.and_then(|package| package.metadata);
    Ok(metadata.and_then(|metadata| metadata.strata_test).unwrap_or_default())
}

#[cfg(test)]
#[path = "settings_test.rs"]
mod tests;
