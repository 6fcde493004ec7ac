//! Every fixed guest-physical address, and only here.
//!
//! All values are bytes. The addresses are those of a PC: the first MiB is cut up as the BIOS of 1981
//! left it, RAM fills what follows, and the last GiB below 4 GiB belongs to devices (the MMIO gap).
//! [`MAP`] and [`SPANS`] hold the same facts as tables; [`markdown`] prints them, and `docs/memory-map.md`
//! is what it printed last. "SDM" is Intel's Software Developer's Manual, in its numbering since December
//! 2023.

use std::fmt::Write;

/// The page size everything here is a multiple of, where it is one: 4 KiB, x86's smallest page and KVM's slot
/// granule.
pub const PAGE_SIZE: u64 = 0x1000;

/// The real-mode interrupt vector table, 256 entries of 4 bytes (SDM vol. 3A 22.1.4), and the BIOS data area
/// after it.
pub const REAL_MODE_IVT: u64 = 0;
/// The GDT a guest is entered with: up to 4 descriptors of 8 bytes (SDM vol. 3A 3.5.1).
pub const BOOT_GDT: u64 = 0x500;
/// The empty IDT a guest is entered with: one null gate of at most 16 bytes (SDM vol. 3A 7.14.1).
pub const BOOT_IDT: u64 = 0x520;
/// Linux' `boot_params`, one page (Linux, Documentation/arch/x86/zero-page.rst).
pub const ZERO_PAGE: u64 = 0x6000;
/// Where a BIOS puts the 512 bytes of a boot sector and jumps to (BIOS Boot Specification 1.01, INT 19h).
pub const REAL_MODE_ENTRY: u64 = 0x7c00;
/// The lowest byte of the stack a protected-mode or long-mode guest is entered with.
pub const BOOT_STACK: u64 = 0x8000;
/// The stack pointer such a guest is entered with: 16-byte aligned, one past the stack's last byte.
pub const BOOT_STACK_TOP: u64 = 0x8ff0;
/// The root of the page tables a long-mode guest is entered with, one page (SDM vol. 3A 5.5).
pub const BOOT_PML4: u64 = 0x9000;
/// Their page-directory-pointer table, one page.
pub const BOOT_PDPT: u64 = 0xa000;
/// Their page directories: four pages, which map 4 GiB by pages of 2 MiB.
pub const BOOT_PD: u64 = 0xb000;
/// The kernel command line, at most one page (x86 Linux takes 2048 bytes: `COMMAND_LINE_SIZE`).
pub const CMDLINE: u64 = 0x2_0000;
/// What a PVH or multiboot kernel is told, one page: start info or multiboot information, and the lists it
/// leads to (Xen, docs/misc/pvh.pandoc; Multiboot Specification 0.6.96, 3.3).
pub const BOOT_INFO: u64 = 0x2_1000;
/// The extended BIOS data area, the last KiB below 640 KiB: where RSDP searches begin (ACPI 6.5, 5.2.5.1).
pub const EBDA: u64 = 0x9_fc00;
/// The VGA frame buffer and option ROMs of a PC: neither RAM to a guest's eyes nor anything else here.
pub const VGA_HOLE: u64 = 0xa_0000;
/// The ACPI RSDP and the tables it leads to: the BIOS area searched for it, nearly 128 KiB (ACPI 6.5, 5.2.5.1).
pub const RSDP: u64 = 0xe_0000;
/// Where a guest jumps to in real mode to start the machine again, as `f000:fff0`: the 16 bytes that a PC's
/// BIOS is entered at, also by the processor after a reset (SDM vol. 3A 11.1.4, below 1 MiB).
pub const RESET_VECTOR: u64 = 0xf_fff0;
/// The first byte above the first MiB: where protected-mode and long-mode images are loaded by default.
pub const HIGH_MEMORY: u64 = 0x10_0000;
/// The first virtio-mmio register block; each takes one page, and 512 fit (Virtio 1.2, 4.2.2).
pub const VIRTIO_MMIO: u64 = 0xd000_0000;
/// The I/O APIC's registers, one page (82093AA data sheet, 3).
pub const IOAPIC: u64 = 0xfec0_0000;
/// The local APIC's registers, one page (SDM vol. 3A 12.4.1).
pub const LAPIC: u64 = 0xfee0_0000;
/// The page KVM keeps an identity map in for real mode on VMX (Linux, Documentation/virt/kvm/api.rst,
/// `KVM_SET_IDENTITY_MAP_ADDR`).
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// The three pages KVM keeps a TSS in for real mode on VMX (Linux, Documentation/virt/kvm/api.rst,
/// `KVM_SET_TSS_ADDR`).
pub const KVM_TSS: u64 = 0xfffb_d000;

/// The first byte of the MMIO gap: no planned RAM lies from here to [`FIRST_ADDRESS_ABOVE_4G`].
pub const MMIO_GAP_START: u64 = 0xc000_0000;
/// Where RAM that did not fit below the MMIO gap goes on.
pub const FIRST_ADDRESS_ABOVE_4G: u64 = 0x1_0000_0000;
/// One past the last byte an x86 processor can address: 52 bits (SDM vol. 3A 5.1.4, MAXPHYADDR).
pub const PHYSICAL_ADDRESS_END: u64 = 1 << 52;

/// One row of [`MAP`] or [`SPANS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The name of the constant that holds `start`, or of the span.
    pub name: &'static str,
    /// The first guest-physical address.
    pub start: u64,
    /// Its size in bytes, never 0.
    pub len: u64,
    /// What lies there.
    pub what: &'static str,
}

impl Region {
    const fn new(name: &'static str, start: u64, len: u64, what: &'static str) -> Self {
        Self { name, start, len, what }
    }

    /// One past the last address.
    pub const fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// Every fixed structure, sorted by address, disjoint.
pub const MAP: &[Region] = &[
    Region::new("REAL_MODE_IVT", REAL_MODE_IVT, 0x500, "real-mode interrupt vectors, BIOS data area"),
    Region::new("BOOT_GDT", BOOT_GDT, 0x20, "GDT at entry"),
    Region::new("BOOT_IDT", BOOT_IDT, 0x10, "IDT at entry: empty"),
    Region::new("ZERO_PAGE", ZERO_PAGE, PAGE_SIZE, "Linux' boot_params"),
    Region::new("REAL_MODE_ENTRY", REAL_MODE_ENTRY, 0x200, "boot sector"),
    Region::new(
        "BOOT_STACK",
        BOOT_STACK,
        BOOT_STACK_TOP - BOOT_STACK,
        "stack at entry, growing down from 0x8ff0",
    ),
    Region::new("BOOT_PML4", BOOT_PML4, PAGE_SIZE, "page tables at entry: root"),
    Region::new("BOOT_PDPT", BOOT_PDPT, PAGE_SIZE, "page tables at entry: page-directory pointers"),
    Region::new("BOOT_PD", BOOT_PD, 4 * PAGE_SIZE, "page tables at entry: page directories for 4 GiB"),
    Region::new("CMDLINE", CMDLINE, PAGE_SIZE, "kernel command line"),
    Region::new("BOOT_INFO", BOOT_INFO, PAGE_SIZE, "PVH start info, multiboot information"),
    Region::new("EBDA", EBDA, 0x400, "extended BIOS data area"),
    Region::new("VGA_HOLE", VGA_HOLE, 0x4_0000, "VGA frame buffer and option ROMs on a PC; nothing here"),
    Region::new("RSDP", RSDP, RESET_VECTOR - RSDP, "ACPI: RSDP and tables"),
    Region::new("RESET_VECTOR", RESET_VECTOR, 0x10, "code that resets the machine"),
    Region::new("VIRTIO_MMIO", VIRTIO_MMIO, 512 * PAGE_SIZE, "virtio-mmio devices, one page each"),
    Region::new("IOAPIC", IOAPIC, PAGE_SIZE, "I/O APIC"),
    Region::new("LAPIC", LAPIC, PAGE_SIZE, "local APIC"),
    Region::new("KVM_IDENTITY_MAP", KVM_IDENTITY_MAP, PAGE_SIZE, "KVM's identity map (VMX, real mode)"),
    Region::new("KVM_TSS", KVM_TSS, 3 * PAGE_SIZE, "KVM's TSS (VMX, real mode)"),
];

/// What the address space is cut into, sorted, without holes from 0 to [`PHYSICAL_ADDRESS_END`].
pub const SPANS: &[Region] = &[
    Region::new("low memory", 0, HIGH_MEMORY, "RAM: the first MiB, with the PC's fixed places"),
    Region::new(
        "high memory",
        HIGH_MEMORY,
        MMIO_GAP_START - HIGH_MEMORY,
        "RAM: images are loaded from its start",
    ),
    Region::new(
        "MMIO gap",
        MMIO_GAP_START,
        FIRST_ADDRESS_ABOVE_4G - MMIO_GAP_START,
        "devices; never planned as RAM",
    ),
    Region::new(
        "above 4 GiB",
        FIRST_ADDRESS_ABOVE_4G,
        PHYSICAL_ADDRESS_END - FIRST_ADDRESS_ABOVE_4G,
        "RAM: what did not fit below the gap",
    ),
];

/// The memory map as a Markdown page: [`SPANS`], then [`MAP`].
///
/// ```
/// assert!(strata_memory::layout::markdown().contains("`LAPIC`"));
/// ```
pub fn markdown() -> String {
    let mut page = String::from(
        "# Memory map\n\n\
         Guest-physical addresses, last byte included. Generated from `crates/memory/src/layout.rs` by\n\
         `cargo run -p strata-memory --example memory_map`; a test compares the two.\n\n\
         ## The address space\n\n\
         | from | to | span | holds |\n| --- | --- | --- | --- |\n",
    );
    rows(&mut page, SPANS, "");
    page.push_str("\n## Fixed places\n\n| from | to | constant | holds |\n| --- | --- | --- | --- |\n");
    rows(&mut page, MAP, "`");
    page
}

fn rows(page: &mut String, regions: &[Region], quote: &str) {
    for region in regions {
        let Region { name, start, what, .. } = region;
        let last = region.end() - 1;
        // Writing to a `String` cannot fail.
        let _ = writeln!(page, "| `{start:#x}` | `{last:#x}` | {quote}{name}{quote} | {what} |");
    }
}

#[cfg(test)]
#[path = "layout_test.rs"]
mod tests;
