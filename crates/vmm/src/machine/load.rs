//! Putting what is to run into RAM.

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use strata_boot::elf::{self, ElfOptions};
use strata_boot::flat::{self, FlatOptions};
use strata_boot::{self as boot, Cmdline, Entry, Format, Image, KernelOptions, linux, multiboot, pvh};
use strata_cpu::{Mapping, Mode, RFlags, X86State};
use strata_memory::vm_memory::GuestAddress;
use strata_memory::{Ram, layout};

use super::payload::{Payload, Source};
use super::virtio::Place;
use super::{BuildError, firmware};
use crate::config::{Config, ConfigError, has_boot_protocol};
use crate::file_fault::{FileMapping, map_file};
use crate::kvm::Calls;

/// What loading left.
pub(super) struct Loaded {
    /// The state of vCPU 0's first instruction.
    pub(super) state: X86State,
    /// The files that RAM maps.
    pub(super) files: Vec<FileMapping>,
    /// What was written where.
    pub(super) areas: Vec<boot::Loaded>,
}

/// Loads `payload` into `ram`, with the tables that a kernel is told of its machine by, `virtio` devices among it.
pub(super) fn load(
    config: &Config,
    payload: &Payload,
    ram: &Ram,
    calls: &Calls,
    virtio: &[Place],
) -> Result<Loaded, BuildError> {
    let mapper = Mapper { ram, calls, files: RefCell::default() };
    let firmware = firmware::write(config, virtio, ram)?;
    let Entry { mut state, loaded: mut areas } = if has_boot_protocol(payload.format) {
        let mut cmdline = cmdline(config, payload.is_linux()?)?;
        if firmware.rsdp.is_none() && payload.is_linux()? {
            virtio.iter().try_for_each(|place| cmdline.push(&place.cmdline()))?;
        }
        kernel(payload, &mapper, cmdline, firmware.rsdp)?
    } else {
        let entry = bare(config, payload, &mapper)?;
        // A kernel's loader keeps clear of what the memory map reserves; these know of no memory map.
        firmware.check_clear_of(&entry.loaded)?;
        Entry { state: with_ram_size(entry.state, ram), ..entry }
    };
    areas.extend(firmware.loaded);
    set_registers(&mut state, config)?;
    Ok(Loaded { state, files: mapper.files.into_inner(), areas })
}

/// Checks what a configuration says of an image against the image's format.
pub(super) fn check_settings(config: &Config, payload: &Payload) -> Result<(), BuildError> {
    let format = payload.format;
    if format != Format::Flat {
        for_flat_images(config)?;
    }
    if format != Format::BzImage && config.boot_protocol.is_some() {
        return Err(BuildError::OnlyForBzImages { key: "boot_protocol" });
    }
    if has_boot_protocol(format) {
        cmdline(config, payload.is_linux()?)?;
    } else {
        not_for_kernels(config)?;
    }
    Ok(())
}

/// A flat or ELF64 image.
fn bare(config: &Config, payload: &Payload, mapper: &Mapper<'_>) -> Result<Entry, BuildError> {
    let memory = mapper.ram.memory();
    let image = Mapped(&payload.image, mapper);
    if payload.format == Format::Elf64 {
        return Ok(elf::load(memory, &image, &ElfOptions::default())?);
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
    Ok(flat::load(memory, &image, &options)?)
}

/// What a kernel's command line is by default: its messages come to the serial port.
const CMDLINE: &str = "console=ttyS0";

/// A kernel with a boot protocol.
fn kernel(
    payload: &Payload,
    mapper: &Mapper<'_>,
    cmdline: Cmdline,
    rsdp: Option<u64>,
) -> Result<Entry, BuildError> {
    let ram = mapper.ram;
    let initrd = payload.initrd.as_ref().map(|initrd| Mapped(initrd, mapper));
    let options = KernelOptions {
        cmdline,
        initrd: initrd.as_ref().map(|initrd| initrd as &dyn Image),
        memory_map: firmware::memory_map(ram),
        rsdp,
        // No backing that a configuration can name has been written to before.
        ram_is_zero: true,
    };
    let image = Mapped(&payload.image, mapper);
    let memory = ram.memory();
    Ok(match payload.format {
        Format::Pvh => pvh::load(memory, &image, &options)?,
        Format::Multiboot => multiboot::load(memory, &image, &options)?,
        _ => linux::load(memory, &image, &options)?,
    })
}

/// What Linux is told of PCI: the bus is empty, so it need not be looked for in other ways, and there is no device whose bugs
/// must be known early.
const PCI: &str = "pci=conf1,noearly";
/// The longest command line that Linux takes.
const LINUX_CMDLINE: usize = 2047;

/// The command line as configured. For Linux, [`PCI`] is added, unless it says something of PCI itself or leaves no room.
fn cmdline(config: &Config, is_linux: bool) -> Result<Cmdline, BuildError> {
    let text = config.cmdline.as_deref().unwrap_or(CMDLINE);
    let mut cmdline = Cmdline::new(text)?;
    let says_pci = text.split_ascii_whitespace().any(|word| word.starts_with("pci="));
    if is_linux && !says_pci && text.len() + 1 + PCI.len() <= LINUX_CMDLINE {
        cmdline.push(PCI)?;
    }
    Ok(cmdline)
}

/// Refuses settings that every other image decides by itself.
fn for_flat_images(config: &Config) -> Result<(), BuildError> {
    let given = [
        ("mode", config.mode.is_some()),
        ("load_at", config.load_at.is_some()),
        ("entry", config.entry.is_some()),
        ("paging", config.paging.is_some()),
    ];
    match given.into_iter().find(|&(_, given)| given) {
        Some((key, _)) => Err(BuildError::OnlyForFlat { key }),
        None => Ok(()),
    }
}

/// Refuses settings that a flat or ELF64 image would never see.
fn not_for_kernels(config: &Config) -> Result<(), BuildError> {
    match [("initrd", config.initrd.is_some()), ("cmdline", config.cmdline.is_some())]
        .into_iter()
        .find(|&(_, given)| given)
    {
        Some((key, _)) => Err(BuildError::OnlyForKernels { key }),
        None => Ok(()),
    }
}

/// Maps files into RAM, and keeps what it has mapped.
struct Mapper<'a> {
    ram: &'a Ram,
    calls: &'a Calls,
    files: RefCell<Vec<FileMapping>>,
}

/// An image whose whole pages are mapped, where they come from a file.
struct Mapped<'a>(&'a Source, &'a Mapper<'a>);

/// From here on mapping is less work than copying: about four system calls, and page faults later.
const WORTH_MAPPING: u64 = 32 << 10;

impl Image for Mapped<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, into)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.0.as_slice()
    }

    fn map(&self, offset: u64, len: u64, at: u64) -> io::Result<Range<u64>> {
        let Self(source, Mapper { ram, calls, files }) = self;
        let Some(file) = source.file() else { return Ok(0..0) };
        // To the first page boundary, and to the last one: what is left over is copied.
        let skip = at.next_multiple_of(layout::PAGE_SIZE) - at;
        let len = len.saturating_sub(skip) / layout::PAGE_SIZE * layout::PAGE_SIZE;
        let (offset, at) = (offset.saturating_add(skip), at.saturating_add(skip));
        if len < WORTH_MAPPING || !offset.is_multiple_of(layout::PAGE_SIZE) {
            return Ok(0..0);
        }
        // RAM that others share, for instance: whatever it is, copying is as good.
        let Ok(mapping) = map_file(ram, GuestAddress(at), file, offset, len) else { return Ok(0..0) };
        calls.show_mapping(mapping.mapping());
        files.borrow_mut().push(mapping);
        Ok(skip..skip + len)
    }
}

/// Puts the size of RAM into RDI, for modes wide enough to hold it: an image without a boot protocol has nobody else to
/// tell it.
fn with_ram_size(mut state: X86State, ram: &Ram) -> X86State {
    if state.mode() != Mode::Real16 {
        state.regs.rdi = ram.size();
    }
    state
}

/// Sets the configuration's registers.
fn set_registers(state: &mut X86State, config: &Config) -> Result<(), ConfigError> {
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

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
