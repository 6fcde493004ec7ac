//! `strata run --gdb`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use strata_inspect::gdb::{Address, ListenError, Listener, Server, Setup, StartError, start};
use strata_vmm::Machine;
use strata_vmm::host::{ProbeDebugError, probe_debugging};

use crate::death::Case;
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

/// Listens for a debugger of `machine`, which is about to run. The server ends when it is dropped, which is to be after the
/// run: a debugger is then told of the machine's end.
pub(crate) fn serve(machine: &Machine, address: &Address, case: &Case<'_>) -> Result<Server, Error> {
    if address.is_open() {
        mention(OPEN);
    }
    let (config, wait) = (case.config, case.options.inspect.wait);
    if config.debug.step.is_some() || !config.debug.breakpoints.is_empty() {
        return Err(Error::Debugged);
    }
    let cpus = u8::try_from(config.cpus).unwrap_or(u8::MAX);
    let listener = Listener::bind(address)?;
    let abilities = probe_debugging(&config.kvm)?;
    let setup = Setup::new(machine.control(), machine.ram().memory().clone(), cpus)
        .abilities(abilities)
        .is_64_bit(is_64_bit(&config.image))
        .wait(wait)
        .exits(last_exits(case))
        .say(Arc::new(mention));
    let server = start(listener, setup)?;
    let how = if wait { "the guest waits for a debugger" } else { "a debugger can connect" };
    mention(&format!("{how}: target remote {}", server.address()));
    Ok(server)
}

/// What `monitor exits` shows: a vCPU's last exits.
fn last_exits(case: &Case<'_>) -> Arc<dyn Fn(u8, usize) -> Vec<String> + Send + Sync> {
    let (mirrors, symbols) = (case.mirrors.clone(), case.symbols.clone());
    Arc::new(move |vcpu, count| {
        let mirror = mirrors.get(usize::from(vcpu));
        mirror.map(|mirror| mirror.lines(count, symbols.as_deref())).unwrap_or_default()
    })
}

/// Whether an image is 64-bit code, although it may begin in another mode: ELF says it in its fifth byte (`EI_CLASS`, 2 is
/// 64-bit), and a Linux kernel has a signature at 0x202 (Documentation/arch/x86/boot.rst).
fn is_64_bit(image: &Path) -> bool {
    let mut begin = [0; 0x206];
    let Ok(()) = File::open(image).and_then(|mut file| file.read_exact(&mut begin)) else { return false };
    begin.starts_with(b"\x7fELF\x02") || begin.ends_with(b"HdrS")
}
