//! `strata run --gdb`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strata_inspect::gdb::{Address, ListenError, Listener, Server, Setup, StartError, start};
use strata_vmm::host::{ProbeDebugError, probe_debugging};
use strata_vmm::memory::GuestMemory;
use strata_vmm::{Config, Machine};

use crate::cli::InspectOptions;
use crate::message::mention;

/// Why no debugger can connect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("--gdb and debug.step or debug.breakpoints exclude each other: set breakpoints in gdb")]
    Debugged,
    #[error("cannot find out what a debugger can do on this host")]
    Probe(#[from] ProbeDebugError),
}

impl Error {
    /// Whether the host is to blame, rather than what the user gave.
    pub(crate) fn is_the_hosts(&self) -> bool {
        !matches!(self, Self::Listen(_) | Self::Debugged)
    }
}

/// What is said of a guest whose debugger anybody can be.
const OPEN: &str = "whoever reaches this address controls the guest, and reads and writes all that its devices give it; \
                    the protocol knows no password";

/// What is known of a machine before it is built.
#[derive(Debug)]
pub(crate) struct Plan {
    address: Address,
    wait: bool,
    image: PathBuf,
    device: PathBuf,
    cpus: u8,
}

impl Plan {
    /// For a machine of this configuration; `None` without `--gdb`.
    pub(crate) fn of(config: &Config, options: &InspectOptions) -> Result<Option<Self>, Error> {
        let Some(address) = options.gdb.clone() else { return Ok(None) };
        if config.debug.step.is_some() || !config.debug.breakpoints.is_empty() {
            return Err(Error::Debugged);
        }
        Ok(Some(Self {
            address,
            wait: options.wait,
            image: config.image.clone(),
            device: config.kvm.clone(),
            cpus: u8::try_from(config.cpus).unwrap_or(u8::MAX),
        }))
    }

    /// Listens for a debugger of `machine`, which is about to run; `more` gives it what its `monitor` commands need. The server
    /// ends when it is dropped, which is to be after the run: a debugger is then told of the machine's end.
    pub(crate) fn serve(
        self,
        machine: &Machine,
        more: impl FnOnce(Setup<GuestMemory>) -> Setup<GuestMemory>,
    ) -> Result<Server, Error> {
        if self.address.is_open() {
            mention(OPEN);
        }
        let listener = Listener::bind(&self.address)?;
        let setup = Setup::new(machine.control(), machine.ram().memory().clone(), self.cpus)
            .abilities(probe_debugging(&self.device)?)
            .is_64_bit(is_64_bit(&self.image))
            .wait(self.wait)
            .say(Arc::new(mention));
        let server = start(listener, more(setup))?;
        let how = if self.wait { "the guest waits for a debugger" } else { "a debugger can connect" };
        mention(&format!("{how}: target remote {}", server.address()));
        Ok(server)
    }
}

/// Whether an image is 64-bit code, although it may begin in another mode: ELF says it in its fifth byte (`EI_CLASS`, 2 is
/// 64-bit), and a Linux kernel has a signature at 0x202 (Documentation/arch/x86/boot.rst).
fn is_64_bit(image: &Path) -> bool {
    let mut begin = [0; 0x206];
    let Ok(()) = File::open(image).and_then(|mut file| file.read_exact(&mut begin)) else { return false };
    begin.starts_with(b"\x7fELF\x02") || begin.ends_with(b"HdrS")
}
