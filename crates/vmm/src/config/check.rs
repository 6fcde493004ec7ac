//! Contradictions: what is wrong with a configuration on every host.

use std::collections::BTreeSet;

use super::{Config, ConsoleTo, Irqchip, Serial};

/// A configuration that says two things that cannot both be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `cpus` is out of range.
    #[error("{0} vCPUs: a machine has 1 to 255")]
    Cpus(u32),
    /// Several vCPUs cannot start without local APICs.
    #[error("{0} vCPUs need `irqchip = \"kernel\"`: the others are started through their local APICs")]
    CpusWithoutIrqchip(u32),
    /// Some vCPUs would be pinned, and others not.
    #[error("pin names {pins} host CPUs for {cpus} vCPUs: give one for each, or none")]
    TooFewPins {
        /// How many it names.
        pins: usize,
        /// How many vCPUs there are.
        cpus: u32,
    },
    /// Interrupts need a controller.
    #[error("{what} needs `irqchip = \"kernel\"`")]
    NeedsIrqchip {
        /// What needs it.
        what: &'static str,
    },
    /// RAM is described in both ways.
    #[error("memory.size and memory.piece exclude each other: a machine's RAM is either planned or placed")]
    SizeAndPieces,
    /// No such interrupt.
    #[error("stub {stub} asks for interrupt {irq}: the controllers have 0 to 23")]
    NoSuchIrq {
        /// Which stub.
        stub: usize,
        /// What it asks for.
        irq: u32,
    },
    /// Two readers of one terminal.
    #[error(
        "several consoles lead to stdio, of which the serial port is one: set devices.serial = \"none\", or lead them elsewhere"
    )]
    SeveralAtStdio,
    /// Two things have one name.
    #[error("two {what} have the name {name:?}, by which the guest could not tell them apart")]
    SameName {
        /// What they are.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// A device is to be at nothing.
    #[error("{0} needs a path")]
    NoPath(&'static str),
    /// A stub has no place, or two.
    #[error("stub {0}: give it either a `port` or an `mmio` address")]
    StubPlace(usize),
    /// No such register.
    #[error(
        "no register {0:?}: the general registers are rax to rdx, rsi, rdi, rbp, rsp, r8 to r15, and rflags"
    )]
    Register(String),
    /// `debug.step` is zero.
    #[error("debug.step is 0: give the number of instructions to step, at least 1")]
    NoSteps,
    /// More breakpoints than debug registers.
    #[error("{0} breakpoints: the processor has four")]
    Breakpoints(usize),
    /// A budget of nothing.
    #[error("budget.{0} is 0: the guest would never run; leave it out for no limit")]
    EmptyBudget(&'static str),
}

/// KVM's IOAPIC has 24 inputs (Intel 82093AA data sheet, 3.2.4).
const LAST_GSI: u32 = 23;

/// Refuses two of the same name.
fn all_differ<'a>(what: &'static str, names: impl Iterator<Item = &'a String>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    match names.filter(|name| !seen.insert(*name)).map(String::clone).next() {
        Some(name) => Err(ConfigError::SameName { what, name }),
        None => Ok(()),
    }
}

impl Config {
    /// Names and paths of virtio devices.
    fn check_names(&self) -> Result<(), ConfigError> {
        all_differ("shares", self.share.iter().map(|share| &share.tag))?;
        all_differ("consoles", self.console.iter().filter_map(|console| console.name.as_ref()))?;
        let consoles = self.console.iter().filter_map(|console| match &console.to {
            ConsoleTo::File(path) | ConsoleTo::Unix(path) => Some(path),
            ConsoleTo::Stdio | ConsoleTo::Pty => None,
        });
        let paths = (self.disk.iter().map(|disk| ("a disk", &disk.path)))
            .chain(self.share.iter().map(|share| ("a share", &share.dir)))
            .chain(self.vsock.iter().map(|vsock| ("a vsock", &vsock.path)))
            .chain(consoles.map(|path| ("a console", path)));
        match paths.into_iter().find(|(_, path)| path.as_os_str().is_empty()) {
            Some((what, _)) => Err(ConfigError::NoPath(what)),
            None => Ok(()),
        }
    }

    /// Whether there is any virtio device.
    pub fn has_virtio(&self) -> bool {
        !(self.disk.is_empty() && self.net.is_empty() && self.share.is_empty() && self.console.is_empty())
            || self.vsock.is_some()
            || self.balloon.is_some()
            || self.rng.is_some()
    }

    /// Checks what can be checked without a host.
    ///
    /// # Errors
    ///
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=255).contains(&self.cpus) {
            return Err(ConfigError::Cpus(self.cpus));
        }
        if !self.pin.is_empty() && u32::try_from(self.pin.len()).is_ok_and(|pins| pins < self.cpus) {
            return Err(ConfigError::TooFewPins { pins: self.pin.len(), cpus: self.cpus });
        }
        if self.irqchip != Irqchip::Kernel {
            if self.cpus > 1 {
                return Err(ConfigError::CpusWithoutIrqchip(self.cpus));
            }
            if self.pit {
                return Err(ConfigError::NeedsIrqchip { what: "the PIT" });
            }
            if self.acpi == Some(true) {
                return Err(ConfigError::NeedsIrqchip { what: "ACPI" });
            }
            if self.has_virtio() {
                return Err(ConfigError::NeedsIrqchip { what: "a virtio device" });
            }
            if self.stub.iter().any(|stub| stub.irq.is_some()) {
                return Err(ConfigError::NeedsIrqchip { what: "a stub's interrupt" });
            }
        }
        if self.memory.size.is_some() && !self.memory.piece.is_empty() {
            return Err(ConfigError::SizeAndPieces);
        }
        for (stub, irq) in self.stub.iter().enumerate().filter_map(|(at, stub)| stub.irq.map(|irq| (at, irq)))
        {
            if irq > LAST_GSI {
                return Err(ConfigError::NoSuchIrq { stub, irq });
            }
        }
        if let Some(stub) = self.stub.iter().position(|stub| stub.port.is_some() == stub.mmio.is_some()) {
            return Err(ConfigError::StubPlace(stub));
        }
        let at_stdio = self.console.iter().filter(|console| console.to == ConsoleTo::Stdio).count();
        if at_stdio + usize::from(at_stdio > 0 && self.devices.serial == Serial::Stdio) > 1 {
            return Err(ConfigError::SeveralAtStdio);
        }
        self.check_names()?;
        if self.budget.exits == Some(0) {
            return Err(ConfigError::EmptyBudget("exits"));
        }
        if self.budget.wall.is_some_and(|wall| wall.0.is_zero()) {
            return Err(ConfigError::EmptyBudget("wall"));
        }
        if self.debug.step == Some(0) {
            return Err(ConfigError::NoSteps);
        }
        if self.debug.breakpoints.len() > 4 {
            return Err(ConfigError::Breakpoints(self.debug.breakpoints.len()));
        }
        Ok(())
    }
}
