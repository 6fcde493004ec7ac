//! The one recipe for a machine.
//!
//! [`MachineBuilder::build`] goes through its steps in an order that finds a bad configuration or image before anything
//! is created on the host, and that KVM demands: interrupt controller before vCPUs, memory and devices before the first
//! instruction.

mod build;
mod console;
mod devices;
mod firmware;
mod foreign;
mod halts;
mod irq;
#[cfg(test)]
#[path = "../../tests/common/kernels.rs"]
mod kernels;
mod lint;
mod load;
mod payload;
mod places;
mod power;
mod replay;
mod run;
mod virtio;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use event_manager::MutEventSubscriber;
use strata_boot::Loaded;
use strata_cpu::X86State;
use strata_devices::virtio::balloon::BalloonControl;
use strata_devices::virtio::console::ConsoleHandle;
use strata_devices::{Device, IrqLine, Serial, SerialInput};

use strata_memory::Ram;

use crate::config::Config;
use crate::file_fault::FileMapping;
use crate::kvm::{CallError, Calls, KvmVcpu, Probe, Vm};
use crate::vcpu::{Buses, Control, Limits, Vcpu};

pub use build::BuildError;
pub use lint::EntryWarning;
pub use payload::FileError;
pub use places::Place;
pub use power::PowerButton;
pub use replay::{Fatal, InputLog, ReplayBudget, ReplayError, replay};
pub use run::{Outcome, RunError};
pub use virtio::{DeviceError, DeviceMemory, VirtioPart};

use console::Console;
use irq::LateLine;

/// A machine that is ready to run.
#[derive(Debug)]
pub struct Machine {
    vm: Vm,
    ram: Ram,
    vcpus: Vec<KvmVcpu>,
    buses: Arc<Buses>,
    limits: Limits,
    wall: Option<std::time::Duration>,
    /// Whether `hlt` waits inside KVM, so that a guest that does so for ever has to be looked for.
    hlt_waits: bool,
    /// The host CPU of each vCPU's thread; empty if they may run anywhere.
    pin: Vec<u32>,
    control: Control,
    sources: Sources,
    workers: NamedWorkers,
    handles: virtio::Handles,
    power: PowerButton,
    /// The files that RAM maps.
    files: Vec<FileMapping>,
    loaded: Vec<Loaded>,
    not_kept: Option<payload::NotKept>,
    warnings: Vec<EntryWarning>,
    has_virtio: bool,
}

/// What the event loop watches while the guest runs.
struct Sources(Vec<Box<dyn MutEventSubscriber + Send>>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sources({})", self.0.len())
    }
}

/// What runs on threads of these names while the guest runs.
struct NamedWorkers(Vec<(String, virtio::Subscriber)>);

impl std::fmt::Debug for NamedWorkers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Makes the event source that feeds the serial port, once there is one.
type InputMaker = Box<dyn FnOnce(Arc<Mutex<Serial>>) -> Box<dyn MutEventSubscriber + Send>>;

/// One device that the user of the library brought.
struct Custom {
    base: u64,
    len: u64,
    name: String,
    device: Arc<dyn Device>,
}

/// Collects what a machine is made of.
pub struct MachineBuilder {
    config: Config,
    image: Option<Vec<u8>>,
    console: Console,
    control: Control,
    input: Option<InputMaker>,
    pio: Vec<Custom>,
    mmio: Vec<Custom>,
    lines: Vec<(u32, Arc<LateLine>)>,
    virtio: Vec<VirtioPart>,
    stdio: Option<virtio::Stdio>,
    sources: Vec<Box<dyn MutEventSubscriber + Send>>,
    power: PowerButton,
    calls: Calls,
}

impl std::fmt::Debug for MachineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Machine {
    /// Begins with a configuration; the other parts have defaults.
    pub fn builder(config: Config) -> MachineBuilder {
        let control = Control::new();
        MachineBuilder {
            config,
            image: None,
            console: Console::new(control.clone()),
            control,
            input: None,
            pio: Vec::new(),
            mmio: Vec::new(),
            lines: Vec::new(),
            virtio: Vec::new(),
            stdio: None,
            sources: Vec::new(),
            power: PowerButton::default(),
            calls: Calls::new(),
        }
    }

    /// The handle that pauses and stops this machine from any thread.
    pub fn control(&self) -> Control {
        self.control.share()
    }

    /// The machine's power button, if it has one: a machine with ACPI does.
    pub fn power_button(&self) -> Option<PowerButton> {
        self.power.is_connected().then(|| self.power.clone())
    }

    /// What takes memory from the guest and gives it back, if it has a balloon.
    pub fn balloon(&self) -> Option<BalloonControl> {
        self.handles.balloon.clone()
    }

    /// What tells the guest of the size of its virtio consoles' terminals, if it has any.
    pub fn console(&self) -> Option<ConsoleHandle> {
        self.handles.console.clone()
    }

    /// The pseudoterminals that consoles of `pty` lead to, in their order.
    pub fn ptys(&self) -> &[PathBuf] {
        &self.handles.ptys
    }

    /// Watches a file descriptor on the machine's event loop while the guest runs, as
    /// [`MachineBuilder::event_source`] does: for what can be told only from the machine as it was built.
    #[must_use]
    pub fn event_source(mut self, source: Box<dyn MutEventSubscriber + Send>) -> Self {
        self.sources.0.push(source);
        self
    }

    /// The state of every vCPU, in order: before the run, what each will be entered with.
    ///
    /// # Errors
    ///
    /// The call that failed.
    pub fn states(&mut self) -> Result<Vec<X86State>, CallError> {
        self.vcpus.iter_mut().map(Vcpu::state).collect()
    }

    /// Why its kernel, which was unpacked, will have to be unpacked again at the next start: a `kernel_cache::NotKept`. Nothing
    /// is wrong with this machine, but its user may want to know. `None` if the kernel was kept, or was not packed.
    pub fn kernel_not_kept(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.not_kept.as_ref().map(|why| why as _)
    }

    /// What about vCPU 0's entry state may be what the guest dies of: no RAM or no executable page at its first instruction,
    /// for instance. A guest can be meant so, hence these are for when it has died.
    pub fn entry_warnings(&self) -> &[EntryWarning] {
        &self.warnings
    }

    /// What was put into RAM before the first instruction, and where: the image, what a kernel is told, tables. The guest
    /// may put something else there.
    pub fn loaded(&self) -> &[Loaded] {
        &self.loaded
    }

    /// How many processors it has.
    pub fn cpus(&self) -> usize {
        self.vcpus.len()
    }

    /// Whether KVM has interrupt controllers for it, so that something can interrupt its processors.
    pub fn has_irqchip(&self) -> bool {
        self.hlt_waits
    }

    /// The machine's RAM.
    pub fn ram(&self) -> &Ram {
        &self.ram
    }
}

impl MachineBuilder {
    /// Runs these bytes instead of the file that the configuration names.
    #[must_use]
    pub fn image(mut self, image: impl Into<Vec<u8>>) -> Self {
        self.image = Some(image.into());
        self
    }

    /// Where the serial port and printing stubs write; by default nowhere. Should a write fail, the machine stops with
    /// [`Stop::OutputClosed`](crate::Stop::OutputClosed).
    #[must_use]
    pub fn console(self, out: impl Write + Send + 'static) -> Self {
        self.console.set(Box::new(out));
        self
    }

    /// What is typed at the serial port: read whenever it is readable and the port has room.
    #[must_use]
    pub fn input(mut self, input: impl Read + AsRawFd + Send + 'static) -> Self {
        self.input = Some(Box::new(move |serial| Box::new(SerialInput::new(input, serial))));
        self
    }

    /// What a virtio console of `stdio` reads and writes.
    #[must_use]
    pub fn stdio(mut self, input: Option<OwnedFd>, output: OwnedFd) -> Self {
        self.stdio = Some(virtio::Stdio { input, output });
        self
    }

    /// Puts a device of your own at ports `base` to `base + len - 1`.
    #[must_use]
    pub fn pio_device(mut self, base: u16, len: u64, name: &str, device: Arc<dyn Device>) -> Self {
        self.pio.push(Custom { base: base.into(), len, name: name.to_owned(), device });
        self
    }

    /// Puts a device of your own at `len` bytes of guest-physical address space from `base`.
    #[must_use]
    pub fn mmio_device(mut self, base: u64, len: u64, name: &str, device: Arc<dyn Device>) -> Self {
        self.mmio.push(Custom { base, len, name: name.to_owned(), device });
        self
    }

    /// Plugs in a virtio device of your own, behind those of the configuration; needs `irqchip = "kernel"`.
    #[must_use]
    pub fn virtio_device(mut self, part: VirtioPart) -> Self {
        self.virtio.push(part);
        self
    }

    /// An interrupt line for a device of your own. It is connected to `gsi` when the machine is built, and silent
    /// until then.
    pub fn irq_line(&mut self, gsi: u32) -> Arc<dyn IrqLine> {
        let line = Arc::new(LateLine::default());
        self.lines.push((gsi, Arc::clone(&line)));
        line
    }

    /// Watches a file descriptor on the machine's event loop while the guest runs.
    #[must_use]
    pub fn event_source(mut self, source: Box<dyn MutEventSubscriber + Send>) -> Self {
        self.sources.push(source);
        self
    }

    /// Has `probe` see, and perhaps fail, every call made to KVM.
    #[must_use]
    pub fn probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.calls = Calls::watched_by(probe);
        self
    }

    /// The machine's power button, which is connected when a machine with ACPI is built.
    pub fn power_button(&self) -> PowerButton {
        self.power.clone()
    }

    /// The handle that will pause and stop the machine.
    pub fn control(&self) -> Control {
        self.control.share()
    }
}
