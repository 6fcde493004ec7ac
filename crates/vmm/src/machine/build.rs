//! The recipe, step by step.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use strata_boot::Entry;
use strata_boot::elf::{self, ElfError, ElfOptions};
use strata_boot::flat::{self, FlatError, FlatOptions};
use strata_cpu::{Mapping, Mode, RFlags, Topology, X86State};
use strata_devices::{Bus, BusError};
use strata_memory::{Ram, RamError, Slot, layout};

use super::{Machine, MachineBuilder, Sources, devices};
use crate::config::{Config, ConfigError, Format, Irqchip};
use crate::kvm::{
    CallError, Capability, GuestCpuidError, GuestDebug, IrqError, IrqFdLine, Kvm, KvmVcpu, OpenError,
    SlotFlags, Vm,
};
use crate::vcpu::{ExitBudget, Limits, Vcpu as _};

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
    /// The image cannot be read.
    #[error("cannot read the image {}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image is a directory, a FIFO or a device.
    #[error("the image {} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The image is larger than the guest's RAM, or than any ELF file that could be run.
    #[error(
        "the image {} has {len} bytes, and no more than {limit} can be loaded: give the guest more memory",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        len: u64,
        /// The most there may be.
        limit: u64,
    },
    /// A setting that an ELF image decides by itself.
    #[error(
        "`{key}` is for flat images: an ELF image says this itself; leave it out, or set format = \"flat\""
    )]
    NotForElf {
        /// The configuration's key.
        key: &'static str,
    },
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
    /// An interrupt cannot be connected.
    #[error(transparent)]
    Irq(#[from] IrqError),
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
            Self::Open(_) | Self::Missing { .. } | Self::Call(_) | Self::Cpuid(_) | Self::Irq(_) => true,
            Self::Config(_)
            | Self::NoImage
            | Self::Image { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::NotForElf { .. }
            | Self::DeviceInRam { .. }
            | Self::Flat(_)
            | Self::Elf(_)
            | Self::Bus(_) => false,
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
        self.config.check()?;
        let image = match self.image.take() {
            Some(image) => image,
            None => read_image(&self.config)?,
        };
        let ram = self.config.memory.spec().build()?;
        ram.mappings().iter().for_each(|mapping| self.calls.show_mapping(mapping));
        let mut state = load(&self.config, &ram, &image)?.state;
        drop(image);
        set_registers(&mut state, &self.config, &ram)?;

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
            if self.config.irqchip == Irqchip::None {
                return Err(ConfigError::NeedsIrqchip { what: "a device's interrupt line" }.into());
            }
            line.connect(Box::new(IrqFdLine::new(&vm, gsi)?));
        }
        let mut sources = std::mem::take(&mut self.sources);
        let buses = devices::assemble(&mut self, &vm, &mut sources)?;
        check_devices_against_ram(&buses.mmio, &ram)?;
        let vcpus = create_vcpus(&kvm, &vm, &self.config, &state)?;
        let config = &self.config;
        Ok(Machine {
            vm,
            ram,
            vcpus,
            buses: Arc::new(buses),
            limits: Limits {
                exits: config.budget.exits.map(ExitBudget::new),
                steps: config.debug.step.map_or(0, |steps| steps - 1),
            },
            wall: config.budget.wall.map(|wall| wall.0),
            control: self.control.clone(),
            sources: Sources(sources),
        })
    }
}

/// The most that is read of a file with an ELF header: its symbols may be larger than the guest's RAM, but not so large.
const ELF_LIMIT: u64 = 4 << 30;
/// How much of an image says what it is.
const HEADER: u64 = 64;

/// Reads a whole file. Only a regular one: a FIFO would block, a device might never end.
fn read_image(config: &Config) -> Result<Vec<u8>, BuildError> {
    let path = &config.image;
    if path.as_os_str().is_empty() {
        return Err(BuildError::NoImage);
    }
    let failed = |source| BuildError::Image { path: path.clone(), source };
    // Opened first and looked at then, so that it is the same file; without blocking, should it be a FIFO.
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(BuildError::NotAFile { path: path.clone() });
    }
    let mut image = Vec::new();
    (&mut file).take(HEADER).read_to_end(&mut image).map_err(failed)?;
    let ram = config.memory.spec().pieces().iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.len));
    // No RAM at all is the RAM's mistake, not the image's.
    let limit = if is_elf(config, &image) || ram == 0 { ELF_LIMIT } else { ram };
    if metadata.len() > limit {
        return Err(BuildError::TooLarge { path: path.clone(), len: metadata.len(), limit });
    }
    file.take(limit).read_to_end(&mut image).map_err(failed)?;
    Ok(image)
}

fn is_elf(config: &Config, image: &[u8]) -> bool {
    match config.format {
        Format::Elf64 => true,
        Format::Flat => false,
        // By the magic number: kernels with a boot protocol of their own are not looked for here yet.
        Format::Auto => image.starts_with(b"\x7fELF"),
    }
}

fn load(config: &Config, ram: &Ram, image: &[u8]) -> Result<Entry, BuildError> {
    if is_elf(config, image) {
        let given = [
            ("mode", config.mode.is_some_and(|mode| mode != Mode::Long64)),
            ("load_at", config.load_at.is_some()),
            ("entry", config.entry.is_some()),
            ("paging", config.paging.is_some()),
        ];
        if let Some((key, _)) = given.into_iter().find(|&(_, given)| given) {
            return Err(BuildError::NotForElf { key });
        }
        return Ok(elf::load(ram.memory(), image, &ElfOptions::default())?);
    }
    let options = FlatOptions {
        load_at: config.load_at,
        entry: config.entry,
        paging: config.paging.as_ref().map(|paging| flat::Paging {
            tables_at: paging.tables_at,
            map: paging.map.iter().map(Mapping::from).collect(),
        }),
        ..FlatOptions::new(config.mode.unwrap_or(Mode::Long64))
    };
    Ok(flat::load(ram.memory(), image, &options)?)
}

/// Puts the size of RAM into RDI, for modes wide enough to hold it, and then the configuration's registers.
fn set_registers(state: &mut X86State, config: &Config, ram: &Ram) -> Result<(), ConfigError> {
    if state.mode() != Mode::Real16 {
        state.regs.rdi = ram.size();
    }
    for (name, &value) in &config.registers {
        let regs = &mut state.regs;
        let register = match name.as_str() {
            "rax" => &mut regs.rax,
            "rbx" => &mut regs.rbx,
            "rcx" => &mut regs.rcx,
            "rdx" => &mut regs.rdx,
            "rsi" => &mut regs.rsi,
            "rdi" => &mut regs.rdi,
            "rbp" => &mut regs.rbp,
            "rsp" => &mut regs.rsp,
            "r8" => &mut regs.r8,
            "r9" => &mut regs.r9,
            "r10" => &mut regs.r10,
            "r11" => &mut regs.r11,
            "r12" => &mut regs.r12,
            "r13" => &mut regs.r13,
            "r14" => &mut regs.r14,
            "r15" => &mut regs.r15,
            "rflags" => {
                regs.rflags = RFlags::from_bits_retain(value);
                continue;
            }
            _ => return Err(ConfigError::Register(name.clone())),
        };
        *register = value;
    }
    Ok(())
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

/// vCPU 0 gets the entry state; the others wait for the INIT and SIPI that it sends them.
fn create_vcpus(kvm: &Kvm, vm: &Vm, config: &Config, state: &X86State) -> Result<Vec<KvmVcpu>, BuildError> {
    let topology = Topology::new(config.cpus);
    let cpuid = kvm.guest_cpuid(config.cpu, topology, config.irqchip == Irqchip::Kernel)?;
    let ids = 0..u8::try_from(config.cpus).map_err(|_| ConfigError::Cpus(config.cpus))?;
    let mut vcpus = Vec::with_capacity(ids.len());
    for id in ids {
        let mut vcpu = vm.create_vcpu(id)?;
        vcpu.set_cpuid(&cpuid, id.into())?;
        if id == 0 {
            vcpu.set_state(state)?;
            let debug = GuestDebug {
                single_step: config.debug.step.is_some(),
                breakpoints: config.debug.breakpoints.clone(),
            };
            if debug != GuestDebug::default() {
                vcpu.set_guest_debug(&debug)?;
            }
        }
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}
