//! What a machine is to be: plain data, the one schema behind the builder, the TOML file and the command line.
//!
//! Every key has a default, so that `Config::default()` and an empty file are the same machine. Unknown keys are
//! refused, with their place in the file.

mod check;
mod layers;
mod units;
mod virtio;

use std::path::PathBuf;

use serde::Deserialize;
use strata_boot::Format;
use strata_cpu::{Access, Baseline, Mapping, Mode, PageSize};
use strata_memory::{Backing, HugePageSize, Piece, RamSpec};
use vm_memory::GuestAddress;

pub use check::ConfigError;
pub use layers::LayerError;
pub use units::{ByteSize, Duration};
pub use virtio::{Balloon, Cache, Console, ConsoleTo, Disk, Net, NetTo, Rate, Rng, Share, SpecError, Vsock};

/// A whole machine.
///
/// # Examples
///
/// ```
/// use strata_vmm::Config;
/// let config = Config::from_toml(r#"
///     mode = "real16"
///     load_at = 0x1000
///     [memory]
///     size = "64K"
///     [registers]
///     rax = 2
/// "#).unwrap();
/// assert_eq!(config.registers["rax"], 2);
/// assert!(Config::from_toml("cpuz = 2").unwrap_err().to_string().contains("unknown field"));
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file to run.
    pub image: PathBuf,
    /// How to read it: `"flat"`, `"elf64"`, `"linux"`, `"bzimage"`, `"pvh"` or `"multiboot"`; by default (`"auto"`) as its
    /// headers say.
    #[serde(deserialize_with = "units::format")]
    pub format: Option<Format>,
    /// For kernels with a boot protocol (all formats but `flat` and `elf64`): the initial RAM disk, or first module.
    pub initrd: Option<PathBuf>,
    /// Likewise: the command line, by default `console=ttyS0`. Linux is told
    /// `pci=conf1,noearly` behind it, unless it has a `pci=` itself.
    pub cmdline: Option<String>,
    /// For a compressed Linux kernel (`bzimage`): whether it is unpacked here, as by default, or unpacks itself.
    pub boot_protocol: Option<BootProtocol>,
    /// In which processor mode a flat image starts: by default long mode.
    #[serde(deserialize_with = "units::some_from_text")]
    pub mode: Option<Mode>,
    /// Guest-physical address of a flat image: by default 0x7c00 in real mode, 1 MiB in the others.
    pub load_at: Option<u64>,
    /// Address of the first instruction of a flat image: by default its first byte.
    pub entry: Option<u64>,
    /// Initial values of general registers, by name, over those that the loader chose.
    pub registers: std::collections::BTreeMap<String, u64>,
    /// Virtual processors, 1 to 255. More than one needs `irqchip = "kernel"`.
    pub cpus: u32,
    /// The host CPU that each virtual processor's thread stays on, in order; by default they may run anywhere. There may be
    /// more than virtual processors.
    pub pin: Vec<u32>,
    /// What the virtual processors can do: `host`, `x86-64-v2` or `x86-64-v3`.
    #[serde(deserialize_with = "units::from_text")]
    pub cpu: Baseline,
    /// Who emulates the interrupt controllers.
    pub irqchip: Irqchip,
    /// Whether there is an i8254 timer; needs `irqchip = "kernel"`.
    pub pit: bool,
    /// Whether the guest is told of its devices by ACPI and can switch off, restart and panic by its registers: by default
    /// if it is a kernel with a boot protocol. Needs `irqchip = "kernel"`.
    pub acpi: Option<bool>,
    /// RAM.
    pub memory: Memory,
    /// Page tables for a flat long-mode image, instead of an identity map of the first 4 GiB.
    pub paging: Option<Paging>,
    /// Devices at their usual places.
    pub devices: Devices,
    /// Disks, in the order in which the guest finds them: `/dev/vda`, `/dev/vdb` ...
    pub disk: Vec<Disk>,
    /// Network devices.
    pub net: Vec<Net>,
    /// Sockets between host and guest.
    pub vsock: Option<Vsock>,
    /// Directories that the guest can mount.
    pub share: Vec<Share>,
    /// Consoles beside the serial port.
    pub console: Vec<Console>,
    /// Memory that comes and goes.
    pub balloon: Option<Balloon>,
    /// A source of entropy.
    pub rng: Option<Rng>,
    /// Devices that answer from a list: what a test needs of a host.
    pub stub: Vec<Stub>,
    /// What the guest can use up.
    pub budget: BudgetConfig,
    /// What the guest is stopped for.
    pub debug: Debug,
    /// The device node of KVM.
    pub kvm: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image: PathBuf::new(),
            format: None,
            initrd: None,
            cmdline: None,
            boot_protocol: None,
            mode: None,
            load_at: None,
            entry: None,
            registers: std::collections::BTreeMap::new(),
            cpus: 1,
            pin: Vec::new(),
            cpu: Baseline::Host,
            irqchip: Irqchip::Auto,
            pit: false,
            acpi: None,
            memory: Memory::default(),
            paging: None,
            devices: Devices::default(),
            disk: Vec::new(),
            net: Vec::new(),
            vsock: None,
            share: Vec::new(),
            console: Vec::new(),
            balloon: None,
            rng: None,
            stub: Vec::new(),
            budget: BudgetConfig::default(),
            debug: Debug::default(),
            kvm: PathBuf::from("/dev/kvm"),
        }
    }
}

/// How a bzImage is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootProtocol {
    /// The kernel in it is unpacked on the host, kept for the next start, and entered itself. What cannot be unpacked here
    /// unpacks itself.
    #[default]
    Unpacked,
    /// Its own decompressor is entered, as a boot loader does.
    Classic,
}

/// Who emulates the interrupt controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Irqchip {
    /// KVM, for a kernel with a boot protocol; nobody, for a flat or ELF64 image.
    #[default]
    Auto,
    /// Nobody: no interrupts, and `hlt` ends the run.
    None,
    /// KVM: PIC, IOAPIC and a LAPIC for each vCPU. `hlt` waits for an interrupt inside the kernel; once all do
    /// so with interrupts disabled, the machine has halted.
    Kernel,
}

/// RAM: a size planned around the MMIO gap, or pieces at addresses of their own.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Bytes, from address 0 and around the gap below 4 GiB: by default 16 MiB, or 512 MiB for a kernel with a boot protocol.
    /// Not together with pieces.
    pub size: Option<ByteSize>,
    /// Pieces of RAM.
    pub piece: Vec<PieceConfig>,
    /// What lies behind it on the host.
    pub backing: BackingConfig,
    /// Whether the host is asked for transparent huge pages (2 MiB) where it has some: by default for a kernel with a boot
    /// protocol. A small guest would pay with 2 MiB, zeroed, for the first byte that it touches.
    pub transparent_huge_pages: Option<bool>,
    /// Whether KVM logs the pages that the guest dirties.
    pub dirty_log: bool,
}

/// One piece of RAM.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PieceConfig {
    /// Guest-physical address of its first byte.
    pub at: u64,
    /// Bytes.
    pub size: ByteSize,
    /// Whether guest writes leave it alone and come to the VMM as MMIO.
    #[serde(default)]
    pub read_only: bool,
}

/// What lies behind RAM on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackingConfig {
    /// Private anonymous pages; but a memfd if there is a share, which needs that.
    #[default]
    Anonymous,
    /// A memfd, which other processes can share.
    Memfd,
    /// Reserved 2 MiB pages.
    #[serde(rename = "hugetlb-2m")]
    Hugetlb2m,
    /// Reserved 1 GiB pages.
    #[serde(rename = "hugetlb-1g")]
    Hugetlb1g,
}

/// What a machine has if nothing is said.
const DEFAULT_RAM: u64 = 16 << 20;
/// The same for kernels with a boot protocol, which distributions build for far larger machines.
const DEFAULT_KERNEL_RAM: u64 = 512 << 20;

/// Whether an image of this format is handed a command line, an initrd and a memory map.
pub(crate) fn has_boot_protocol(format: Format) -> bool {
    !matches!(format, Format::Flat | Format::Elf64)
}

impl Memory {
    /// The RAM that this describes.
    pub fn spec(&self) -> RamSpec {
        let spec = if self.piece.is_empty() {
            RamSpec::new(self.size.map_or(DEFAULT_RAM, |size| size.0))
        } else {
            self.piece.iter().fold(RamSpec::empty(), |spec, piece| {
                spec.piece(Piece {
                    start: GuestAddress(piece.at),
                    len: piece.size.0,
                    read_only: piece.read_only,
                })
            })
        };
        spec.backing(match self.backing {
            BackingConfig::Anonymous => Backing::Anonymous,
            BackingConfig::Memfd => Backing::Memfd,
            BackingConfig::Hugetlb2m => Backing::HugePages { size: HugePageSize::M2 },
            BackingConfig::Hugetlb1g => Backing::HugePages { size: HugePageSize::G1 },
        })
        .transparent_huge_pages(self.transparent_huge_pages == Some(true))
    }
}

/// Page tables for a flat long-mode image.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// Guest-physical address of the PML4; the other tables follow it.
    pub tables_at: u64,
    /// What is mapped.
    pub map: Vec<PagingMap>,
}

/// One mapped range.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagingMap {
    /// First virtual address.
    pub virt: u64,
    /// First guest-physical address.
    pub phys: u64,
    /// Bytes.
    pub size: ByteSize,
    /// Page size: `"4K"`, `"2M"` or `"1G"`.
    #[serde(default = "units::page_4k", deserialize_with = "units::from_text")]
    pub page: PageSize,
    /// `r`, and as many of `w`, `x` and `u` (ring 3) as are granted.
    #[serde(deserialize_with = "units::from_text")]
    pub access: Access,
}

impl From<&PagingMap> for Mapping {
    fn from(map: &PagingMap) -> Self {
        Self { virt: map.virt, phys: map.phys, len: map.size.0, page: map.page, access: map.access }
    }
}

/// Devices at their usual places.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Devices {
    /// The 16550 at ports 0x3f8..0x3ff, interrupt 4.
    pub serial: Serial,
    /// The keyboard controller at ports 0x60 and 0x64, which can reset the machine.
    pub i8042: bool,
    /// The CMOS clock at ports 0x70 and 0x71.
    pub rtc: bool,
    /// The port of a debug-exit device (QEMU's isa-debug-exit, whose habitual port is 0xf4).
    pub debug_exit: Option<u16>,
    /// The port of a power-off register (QEMU's PIIX4 `PM1a_CNT`, whose port is 0x604): writing 0x2000 powers off.
    pub power_off: Option<u16>,
}

impl Default for Devices {
    fn default() -> Self {
        Self { serial: Serial::Stdio, i8042: true, rtc: true, debug_exit: None, power_off: None }
    }
}

/// Where a serial port leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serial {
    /// To the console that the builder was given.
    #[default]
    Stdio,
    /// There is no serial port.
    None,
}

/// A device that answers reads from a list, then 0xff.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stub {
    /// Its first port; or
    pub port: Option<u16>,
    /// its first guest-physical address.
    pub mmio: Option<u64>,
    /// How many ports or bytes it covers.
    pub len: u64,
    /// What reads answer, byte by byte.
    pub answers: Vec<u8>,
    /// Whether written bytes go to the console.
    pub print: bool,
    /// The interrupt (GSI) that a write pulses; needs `irqchip = "kernel"`.
    pub irq: Option<u32>,
    /// By which of KVM's ways.
    pub irq_by: IrqBy,
}

impl Default for Stub {
    fn default() -> Self {
        Self {
            port: None,
            mmio: None,
            len: 1,
            answers: Vec::new(),
            print: false,
            irq: None,
            irq_by: IrqBy::Irqfd,
        }
    }
}

/// How an interrupt reaches KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IrqBy {
    /// A write to an eventfd.
    #[default]
    Irqfd,
    /// `KVM_IRQ_LINE`, high and low.
    Line,
}

/// What a guest can use up. Without a value there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Exits of all vCPUs together.
    pub exits: Option<u64>,
    /// Time since the start.
    pub wall: Option<Duration>,
}

/// What the guest is stopped for.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debug {
    /// Single-step this many instructions of vCPU 0, then stop. A `hlt` is stepped over like any other.
    pub step: Option<u64>,
    /// Stop vCPU 0 before the instruction at one of these linear addresses, four at most.
    pub breakpoints: Vec<u64>,
}

impl Config {
    /// Reads a configuration file's text. It is not yet [`check`](Self::check)ed.
    ///
    /// # Errors
    ///
    /// What is wrong, where; unknown keys among it.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Decides what was left open, for an image of this format.
    pub(crate) fn settle(&mut self, format: Format) {
        let is_kernel = has_boot_protocol(format);
        if self.irqchip == Irqchip::Auto {
            self.irqchip = if is_kernel { Irqchip::Kernel } else { Irqchip::None };
        }
        self.memory.transparent_huge_pages.get_or_insert(is_kernel);
        self.acpi.get_or_insert(is_kernel && self.irqchip == Irqchip::Kernel);
        if !self.share.is_empty() && self.memory.backing == BackingConfig::Anonymous {
            // The server of a share works in the guest's memory, from another process.
            self.memory.backing = BackingConfig::Memfd;
        }
        if is_kernel && self.memory.piece.is_empty() {
            self.memory.size.get_or_insert(ByteSize(DEFAULT_KERNEL_RAM));
        }
    }
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;
