//! What can be typed.

mod devices;
mod inspect;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use strata_vmm::cpu::Baseline;

use devices::DeviceOptions;
use inspect::Rest;
pub(crate) use inspect::{InspectOptions, TraceFormat};

/// Runs virtual machines on KVM.
#[derive(Debug, Parser)]
#[command(name = "strata", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a guest until it ends
    #[command(after_long_help = EXIT_CODES)]
    #[command(args_override_self = true)]
    Run(Box<RunOptions>),

    /// Run a guest and print every exit: what it did, where, and what it cost
    Trace(Rest),

    /// Run a guest and draw which of its functions its exits come from, as a flame graph
    Profile(Rest),

    /// Show a guest's memory before its first instruction: the physical map and the page tables
    Map(Rest),

    /// Show whether this host can run guests, and how well
    ///
    /// The exit code is 0 where guests can run and 1 where they cannot.
    Doctor(DoctorOptions),
}

#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// Write everything as JSON, for programs to read
    #[arg(long)]
    pub(crate) json: bool,

    /// Show what a guest of a baseline sees of the processor: host, x86-64-v2 or x86-64-v3
    ///
    /// The exit code is 1 where the host lacks part of the baseline.
    #[arg(long, value_name = "BASELINE", num_args = 0..=1, default_missing_value = "host")]
    pub(crate) cpuid: Option<Baseline>,

    /// Explain another host, from what `strata doctor --json` wrote there
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
}

/// As at `Stop::exit_code`, and what a process can say that ran no guest.
const EXIT_CODES: &str = "\
Exit codes:
    0  powered off                   20  time budget used up
    2  wrong input, nothing ran      22  KVM internal error, failed entry
    4  the host could not run it     24  unknown exit, memory fault, system event
   10  halted                        26  a vCPU failed on the host
   12  reset                         28  the output was closed or failed
   14  triple fault                  30  kernel panic
   16  debug event                  130  interrupted
   18  exit budget used up          odd  the guest's own, by the debug-exit port

At a terminal every key is the guest's, Ctrl-C too; Ctrl-a x ends the run, Ctrl-a h shows the other keys.

The first SIGTERM presses the power button of a guest with ACPI, which asks it to shut down; a second SIGTERM, more than
a second later, ends it. Any other signal ends the run at once, with 130. Where there is no power button, input, file or
socket to finish, signals end the process by themselves. With --core, SIGUSR1 writes a core dump, and the guest goes on.

Examples:
   strata run vmlinuz --initrd initrd.img --cmdline \"console=ttyS0\" --cpus 2 --memory 1G
   strata run vmlinuz --initrd initrd.img --cmdline \"root=/dev/vda console=ttyS0\" --disk root.img --net user
   strata run kernel.bin --mode long64 --memory 64M --debug-exit 0xf4 --budget-wall 5s
   strata run kernel.elf --core kernel.core --trace=kernel.trace --stats";

/// Every option that describes the machine is a key of the configuration file, under the name shown in brackets.
#[derive(Debug, Args)]
#[allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "these are the texts of `--help`, printed as they are"
)]
pub(crate) struct RunOptions {
    /// The image to run: a Linux kernel, PVH, multiboot, ELF64 or flat [image]
    pub(crate) image: Option<PathBuf>,

    /// Read the machine from this TOML file; options given here override it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Set any key of the configuration, as in `--set paging.tables_at=0x1000`
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<Setting>,

    /// auto, flat, elf64, linux, bzimage, pvh or multiboot [format]
    #[arg(long, help_heading = "Image")]
    format: Option<String>,

    /// The initial RAM disk of a kernel [initrd]
    #[arg(long, value_name = "FILE", help_heading = "Image")]
    pub(crate) initrd: Option<PathBuf>,

    /// The command line of a kernel, by default `console=ttyS0` [cmdline]
    #[arg(long, value_name = "TEXT", help_heading = "Image")]
    pub(crate) cmdline: Option<String>,

    /// Start a compressed Linux kernel `unpacked` here, or by its own decompressor: `classic` [boot_protocol]
    #[arg(long, value_name = "HOW", help_heading = "Image")]
    boot_protocol: Option<String>,

    /// Start a flat image in real16, protected32 or long64 [mode]
    #[arg(long, help_heading = "Image")]
    mode: Option<String>,

    /// Put a flat image at this guest-physical address [load_at]
    #[arg(long, value_name = "ADDRESS", help_heading = "Image")]
    load_at: Option<String>,

    /// Begin a flat image at this address [entry]
    #[arg(long, value_name = "ADDRESS", help_heading = "Image")]
    entry: Option<String>,

    /// RAM, for example 64K, 256M or 2G; by default 16M, or 512M for a kernel [memory.size]
    #[arg(short, long, value_name = "SIZE", help_heading = "Machine")]
    memory: Option<String>,

    /// Virtual processors, 1 to 255 [cpus]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    cpus: Option<String>,

    /// Keep each on a host CPU, as in `0-3,6`: the first on the first, and so on [pin]
    #[arg(long, value_name = "LIST", help_heading = "Machine")]
    pin: Option<HostCpus>,

    /// What they can do: host, x86-64-v2 or x86-64-v3; see `strata doctor --cpuid` [cpu]
    #[arg(long, value_name = "BASELINE", help_heading = "Machine")]
    cpu: Option<String>,

    /// Interrupt controllers: none, kernel, or auto: KVM has them if the image is a kernel [irqchip]
    #[arg(long, value_name = "WHO", help_heading = "Machine")]
    irqchip: Option<String>,

    /// The i8254 timer [pit]
    #[arg(long, help_heading = "Machine")]
    pit: bool,

    /// Where COM1 leads: stdio or none [devices.serial]
    #[arg(long, value_name = "WHERE", help_heading = "Machine")]
    serial: Option<String>,

    /// A debug-exit device at this port, as QEMU's isa-debug-exit [devices.debug_exit]
    #[arg(long, value_name = "PORT", help_heading = "Machine")]
    debug_exit: Option<String>,

    /// The device node of KVM [kvm]
    #[arg(long, value_name = "PATH", help_heading = "Machine")]
    kvm: Option<String>,

    #[command(flatten)]
    pub(crate) devices: DeviceOptions,

    /// Stop after this many exits [budget.exits]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    budget_exits: Option<String>,

    /// Stop after this much time, for example 500ms or 5s; a bare number is seconds [budget.wall]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    budget_wall: Option<String>,

    /// Single-step this many instructions, `hlt` among them, then stop [debug.step]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    step: Option<String>,

    /// Stop before the instruction at this linear address; up to four [debug.breakpoints]
    #[arg(long = "break", value_name = "ADDRESS", help_heading = "Limits")]
    breakpoints: Vec<Addresses>,

    /// Write a report of the run for programs to read, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,

    /// Include these bytes of guest memory in the report; null where there is no RAM
    #[arg(long, value_name = "ADDRESS,LENGTH", requires = "report", help_heading = "Output")]
    pub(crate) dump: Vec<Dump>,

    /// Record every exit with its answer, to be replayed without KVM
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) record: Option<PathBuf>,

    /// Print every KVM call and mapping on standard error, in strace's notation
    #[arg(long, help_heading = "Output")]
    pub(crate) show_ioctls: bool,

    #[command(flatten)]
    pub(crate) inspect: InspectOptions,

    /// Do not say on standard error how the guest ended
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

impl RunOptions {
    /// The options as settings of the configuration, later ones over earlier ones.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut settings: Vec<_> =
            self.set.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect();
        let named = [
            ("format", &self.format),
            ("boot_protocol", &self.boot_protocol),
            ("mode", &self.mode),
            ("load_at", &self.load_at),
            ("entry", &self.entry),
            ("memory.size", &self.memory),
            ("cpus", &self.cpus),
            ("cpu", &self.cpu),
            ("irqchip", &self.irqchip),
            ("devices.serial", &self.serial),
            ("devices.debug_exit", &self.debug_exit),
            ("kvm", &self.kvm),
            ("budget.exits", &self.budget_exits),
            ("budget.wall", &self.budget_wall),
            ("debug.step", &self.step),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                settings.push((key.to_owned(), value.clone()));
            }
        }
        if let Some(HostCpus(cpus)) = &self.pin {
            settings.push(("pin".to_owned(), format!("{cpus:?}")));
        }
        if self.pit {
            settings.push(("pit".to_owned(), "true".to_owned()));
        }
        if !self.breakpoints.is_empty() {
            let addresses: Vec<_> = self.breakpoints.iter().flat_map(|addresses| &addresses.0).collect();
            settings.push(("debug.breakpoints".to_owned(), format!("{addresses:?}")));
        }
        settings
    }
}

/// `KEY=VALUE`.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) key: String,
    value: String,
}

impl FromStr for Setting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, as in memory.size=64K")?;
        Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
    }
}

/// `N` or `N-M`, with commas between.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostCpus(Vec<u32>);

impl FromStr for HostCpus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What no kernel has would only fill memory with numbers.
        let number = |text: &str| text.trim().parse().ok().filter(|&cpu: &u32| cpu < 1 << 16);
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(first..=last)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        Ok(Self(ranges.ok_or("write host CPUs, as in 2,3 or 0-3,6")?.into_iter().flatten().collect()))
    }
}

/// A number as TOML and the other options have it: decimal or `0x` and hexadecimal.
fn number(text: &str) -> Option<u64> {
    match text.trim().strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.trim().parse().ok(),
    }
}

/// `ADDRESS`, or several with commas between.
#[derive(Debug, Clone)]
struct Addresses(Vec<u64>);

impl FromStr for Addresses {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let addresses: Option<_> = text.split(',').map(number).collect();
        Ok(Self(addresses.ok_or("write an address, as in 0x7c00, or several with commas between")?))
    }
}

/// `ADDRESS,LENGTH`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dump {
    pub(crate) address: u64,
    pub(crate) len: usize,
}

impl FromStr for Dump {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let dump = text.split_once(',').and_then(|(address, len)| {
            Some(Self { address: number(address)?, len: usize::try_from(number(len)?).ok()? })
        });
        dump.ok_or("write ADDRESS,LENGTH, as in 0x6000,4")
    }
}

#[cfg(test)]
#[path = "cli_test.rs"]
mod tests;
