//! The recipe, step by step.

use std::io;
use std::sync::Arc;

use strata_boot::acpi::AcpiError;
use strata_boot::elf::ElfError;
use strata_boot::flat::FlatError;
use strata_boot::linux::LinuxError;
#[cfg(feature = "unpack")]
use strata_boot::linux::UnpackError;
use strata_boot::multiboot::MultibootError;
use strata_boot::pvh::PvhError;
use strata_boot::{CmdlineError, PlaceError};
use strata_cpu::X86State;
use strata_cpu::cpuid::Topology;
use strata_cpu::lint::Violation;
use strata_cpu::x86_64::msr::boot_msrs;
use strata_devices::{Bus, BusError};
use strata_memory::{Ram, RamError, Slot, layout};

use super::lint::{EntryWarning, Sentences, check_memory, check_state};
use super::load::{Loaded, check_settings, load};
use super::payload::{FileError, Payload};
use super::virtio::{self, DeviceError, Opened};
use super::{Machine, MachineBuilder, NamedWorkers, Sources, devices};
use crate::config::{ByteSize, Config, ConfigError, Irqchip};
#[cfg(feature = "unpack")]
use crate::kernel_cache::CacheError;
use crate::kvm::{
    CallError, Capability, GuestCpuidError, GuestDebug, IrqError, IrqFdLine, Kvm, KvmVcpu, OpenError,
    SlotFlags, Vm,
};
use crate::vcpu::pin::{self, PinError};
use crate::vcpu::{ExitBudget, Limits, Vcpu as _};

/// What a kernel takes is said in these, rounded up.
const MIB: u64 = 1 << 20;

/// Why a machine could not be built. Nothing of it is left on the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Neither the configuration nor the builder names anything to run.
    #[error("no image: name the file to run")]
    NoImage,
    /// The image cannot be had.
    #[error(transparent)]
    Image(FileError),
    /// Nor can the initrd.
    #[error(transparent)]
    Initrd(FileError),
    /// The image's headers cannot be read.
    #[error("cannot read the image")]
    Detect(#[source] io::Error),
    /// The image has no bytes.
    #[error("the image is empty: was it built?")]
    Empty,
    /// The image has no format of those that there are loaders for, and is known to be something else.
    #[error("the image is {is}: {advice}; if it is code all the same, set format = \"flat\"")]
    Foreign {
        /// What it is.
        is: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// The kernel in the image cannot be unpacked.
    #[cfg(feature = "unpack")]
    #[error("cannot unpack the kernel (boot_protocol = \"classic\" would leave that to the guest)")]
    Unpack(#[source] UnpackError),
    /// It can, but not into this guest.
    #[error(
        "the kernel takes {}, and the guest has {} of RAM: give it more memory",
        ByteSize(size.checked_next_multiple_of(MIB).unwrap_or(*size)),
        ByteSize(*ram)
    )]
    KernelLargerThanRam {
        /// What the kernel takes at least, as a file or unpacked.
        size: u64,
        /// All of the guest's RAM.
        ram: u64,
    },
    /// The packed kernel cannot be read, or the unpacked one be held.
    #[cfg(feature = "unpack")]
    #[error(transparent)]
    Cache(CacheError<UnpackError>),
    /// A setting that every image but a flat one decides by itself.
    #[error(
        "`{key}` is for flat images: an ELF image or a kernel says it itself; leave it out, or set format = \"flat\""
    )]
    OnlyForFlat {
        /// The configuration's key.
        key: &'static str,
    },
    /// A setting that a flat or ELF64 image would never see.
    #[error(
        "`{key}` is for kernels with a boot protocol, and this image has none: leave it out, or set the format"
    )]
    OnlyForKernels {
        /// The configuration's key.
        key: &'static str,
    },
    /// A setting for kernels that can be unpacked.
    #[error(
        "`{key}` is for compressed Linux kernels (bzImage), and this image is none: leave it out, or set the format"
    )]
    OnlyForBzImages {
        /// The configuration's key.
        key: &'static str,
    },
    /// The command line has a NUL.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// The devices cannot be described.
    #[error("cannot describe the machine to the kernel")]
    Acpi(#[source] AcpiError),
    /// There is no room for that description.
    #[error("the ACPI tables need RAM of their own at the end of the first MiB")]
    Firmware(#[source] PlaceError),
    /// A device would never be reached.
    #[error("the device {name} at {base:#x} lies in the RAM at {start:#x}, which hides it: move one of them")]
    DeviceInRam {
        /// The device.
        name: String,
        /// Its first address.
        base: u64,
        /// Where that piece of RAM starts.
        start: u64,
    },
    /// RAM cannot be had as asked.
    #[error("cannot make the guest's RAM")]
    Ram(#[from] RamError),
    /// The flat image does not fit.
    #[error("cannot load the flat image")]
    Flat(#[from] FlatError),
    /// The ELF image is wrong, or does not fit.
    #[error("cannot load the ELF image")]
    Elf(#[from] ElfError),
    /// The Linux kernel is wrong, or does not fit.
    #[error("cannot load the kernel")]
    Linux(#[from] LinuxError),
    /// The PVH kernel is wrong, or does not fit.
    #[error("cannot load the PVH kernel")]
    Pvh(#[from] PvhError),
    /// The multiboot kernel is wrong, or does not fit.
    #[error("cannot load the multiboot kernel")]
    Multiboot(#[from] MultibootError),
    /// KVM cannot be used at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The host's KVM lacks something that the configuration needs.
    #[error("this host's KVM has no {what} (its {capability} is {found})")]
    Missing {
        /// What, in words.
        what: &'static str,
        /// The capability that was asked for.
        capability: &'static str,
        /// The host's answer.
        found: i32,
    },
    /// A call to KVM failed.
    #[error("cannot create the virtual machine")]
    Call(#[from] CallError),
    /// The guest's processor cannot be had on this host.
    #[error("cannot give the guest its CPU")]
    Cpuid(#[from] GuestCpuidError),
    /// No processor runs a guest in the state that the loader and the configuration's registers make.
    #[error("the guest cannot be entered: {}", Sentences(violations))]
    EntryState {
        /// The rules that the state breaks, harmless ones among them.
        violations: Vec<Violation>,
    },
    /// An interrupt cannot be connected.
    #[error(transparent)]
    Irq(#[from] IrqError),
    /// The vCPUs' threads cannot be where they are to be.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A device cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Two devices want the same place.
    #[error("cannot place the devices")]
    Bus(#[from] BusError),
}

impl BuildError {
    /// Whether this host is to blame, rather than the configuration or the image.
    pub fn is_the_hosts(&self) -> bool {
        match self {
            Self::Ram(error) => matches!(
                error,
                RamError::TooLarge { .. }
                    | RamError::HugePagesUnavailable { .. }
                    | RamError::Memfd { .. }
                    | RamError::Map { .. }
            ),
            #[cfg(feature = "unpack")]
            Self::Cache(CacheError::Memory(_)) | Self::Unpack(UnpackError::Write(_)) => true,
            Self::Device(error) => error.is_the_hosts(),
            Self::Open(_) | Self::Missing { .. } | Self::Call(_) | Self::Cpuid(_) | Self::Irq(_) => true,
            _ => false,
        }
    }
}

impl MachineBuilder {
    /// Builds the machine.
    ///
    /// # Errors
    ///
    /// [`BuildError`], of which the configuration's and the image's come before anything is asked of KVM.
    pub fn build(mut self) -> Result<Machine, BuildError> {
        let payload = Payload::open(&self.config, self.image.take())?;
        self.config.settle(payload.format);
        self.config.check()?;
        check_settings(&self.config, &payload)?;
        pin::check(&self.config.pin)?;
        let ram = self.config.memory.spec().build()?;
        let Opened { mut parts, handles } = virtio::open(&self.config, &ram, self.stdio.take())?;
        parts.append(&mut self.virtio);
        let taken = virtio::taken(&self.config, self.lines.iter().map(|(gsi, _)| *gsi));
        let places = virtio::places(parts.len(), &taken)?;
        // Last, since it is work, and leaves something on the host: a kernel for the next start.
        let payload = payload.complete(&self.config, &ram)?;
        ram.mappings().iter().for_each(|mapping| self.calls.show_mapping(mapping));
        let Loaded { state, files, areas } = load(&self.config, &payload, &ram, &self.calls, &places)?;
        let not_kept = payload.not_kept;
        drop((payload.image, payload.initrd));

        let kvm = Kvm::open(&self.config.kvm, self.calls.clone())?;
        check_host(&kvm, &self.config)?;
        let vm = kvm.create_vm()?;
        // For guests in real mode, on processors that need it; nothing tells whether this is one.
        vm.set_tss_address(layout::KVM_TSS)?;
        if self.config.irqchip == Irqchip::Kernel {
            vm.create_irqchip()?;
            if self.config.pit {
                vm.create_pit()?;
            }
        }
        vm.set_memory(&ram, SlotFlags { log_dirty: self.config.memory.dirty_log })?;
        for (gsi, line) in self.lines.drain(..) {
            if self.config.irqchip != Irqchip::Kernel {
                return Err(ConfigError::NeedsIrqchip { what: "a device's interrupt line" }.into());
            }
            line.connect(Box::new(IrqFdLine::new(&vm, gsi)?));
        }
        let mut sources = std::mem::take(&mut self.sources);
        let mut buses = devices::assemble(&mut self, &vm, &mut sources)?;
        let mut workers = Vec::new();
        let has_virtio = !parts.is_empty();
        for (mut part, place) in parts.into_iter().zip(places) {
            sources.append(&mut part.shared);
            workers.extend(part.take_threads());
            virtio::plug(part, place, &vm, &ram, &mut buses.mmio)?;
        }
        check_devices_against_ram(&buses.mmio, &ram)?;
        let (vcpus, mut warnings) = create_vcpus(&kvm, &vm, &self.config, &state)?;
        warnings.extend(check_memory(&state, &ram));
        let config = &self.config;
        Ok(Machine {
            vm,
            ram,
            vcpus,
            buses: Arc::new(buses),
            limits: Limits {
                exits: config.budget.exits.map(ExitBudget::new),
                steps: config.debug.step.map_or(0, |steps| steps - 1),
                debug: watched_for(config),
            },
            wall: config.budget.wall.map(|wall| wall.0),
            hlt_waits: config.irqchip == Irqchip::Kernel,
            pin: config.pin.clone(),
            control: self.control.clone(),
            sources: Sources(sources),
            workers: NamedWorkers(workers),
            handles,
            power: self.power.clone(),
            files,
            loaded: areas,
            not_kept,
            warnings,
            has_virtio,
        })
    }
}

/// Asks for what this configuration needs and old or unusual hosts lack.
fn check_host(kvm: &Kvm, config: &Config) -> Result<(), BuildError> {
    let need = |capability: Capability, what, at_least: u32| {
        let found = kvm.capability(capability);
        if u32::try_from(found).unwrap_or(0) < at_least {
            return Err(BuildError::Missing { what, capability: capability.name(), found });
        }
        Ok(())
    };
    need(Capability::IMMEDIATE_EXIT, "way to stop a vCPU from outside (Linux 4.11 brought it)", 1)?;
    if config.cpus > 1 {
        need(Capability::MAX_VCPUS, "room for so many vCPUs", config.cpus)?;
    }
    if config.irqchip == Irqchip::Kernel {
        need(Capability::IRQCHIP, "interrupt controller", 1)?;
        need(Capability::IRQFD, "interrupts through eventfds", 1)?;
    }
    if config.has_virtio() {
        need(Capability::IOEVENTFD, "doorbells through eventfds", 1)?;
    }
    if config.pit {
        need(Capability::PIT2, "PIT", 1)?;
    }
    if config.memory.piece.iter().any(|piece| piece.read_only) {
        need(Capability::READONLY_MEM, "read-only memory slots", 1)?;
    }
    if config.debug.step.is_some() || !config.debug.breakpoints.is_empty() {
        need(Capability::SET_GUEST_DEBUG, "guest debugging", 1)?;
    }
    Ok(())
}

/// What lies in a slot never comes back to the VMM, but for writes to read-only ones.
fn check_devices_against_ram(mmio: &Bus, ram: &Ram) -> Result<(), BuildError> {
    for (base, last, name) in mmio.iter() {
        let hides = |slot: &Slot| !slot.read_only && base < slot.start + slot.len && slot.start <= last;
        if let Some(slot) = ram.slots().find(hides) {
            return Err(BuildError::DeviceInRam { name: name.to_owned(), base, start: slot.start });
        }
    }
    Ok(())
}

/// The leaf whose EDX:EAX is what XCR0 may have (SDM vol. 2A, CPUID).
const XSTATE: u32 = 0xd;

/// What vCPU 0 is to stop at.
fn watched_for(config: &Config) -> GuestDebug {
    GuestDebug {
        single_step: config.debug.step.is_some(),
        breakpoints: config.debug.breakpoints.clone(),
        ..GuestDebug::default()
    }
}

/// vCPU 0 gets the entry state; the others wait for the INIT and SIPI that it sends them. Says what there is to say of that
/// state.
fn create_vcpus(
    kvm: &Kvm,
    vm: &Vm,
    config: &Config,
    state: &X86State,
) -> Result<(Vec<KvmVcpu>, Vec<EntryWarning>), BuildError> {
    let topology = Topology::new(config.cpus);
    let cpuid = kvm.guest_cpuid(config.cpu, topology, config.irqchip == Irqchip::Kernel)?;
    let warnings = check_state(state, &cpuid)?;
    let ids = 0..u8::try_from(config.cpus).map_err(|_| ConfigError::Cpus(config.cpus))?;
    let mut vcpus = Vec::with_capacity(ids.len());
    for id in ids {
        let mut vcpu = vm.create_vcpu(id)?;
        vcpu.set_cpuid(&cpuid, id.into())?;
        if config.acpi == Some(true) {
            vcpu.set_msrs(&boot_msrs())?;
            let xcr0 = cpuid.get(XSTATE, 0);
            if xcr0.eax != 0 {
                // Linux does this itself; but where KVM is not told of it (in QEMU's TCG, XSETBV is no exit), CPUID would
                // go on to say that only x87 and SSE have state to save.
                vcpu.set_xcr0(u64::from(xcr0.edx) << 32 | u64::from(xcr0.eax))?;
            }
        }
        if id == 0 {
            vcpu.set_state(state)?;
            if config.acpi == Some(true) {
                vcpu.set_local_interrupts()?;
            }
            let debug = watched_for(config);
            if debug != GuestDebug::default() {
                vcpu.set_guest_debug(&debug)?;
            }
        }
        vcpus.push(vcpu);
    }
    Ok((vcpus, warnings))
}
