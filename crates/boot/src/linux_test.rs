use proptest::prelude::*;
use strata_cpu::{Gdt, Mode, RFlags};
use strata_memory::layout::{BOOT_GDT, BOOT_PML4, CMDLINE};
use strata_memory::{Kind, MemoryMap};

use super::*;
use crate::Cmdline;
use crate::testing::{
    KERNEL_RAM, Segment, bytes, bzimage, check_loaded, damaged, elf, elf32, fetched_from, kernel_options,
    long, ram, word, written_outside,
};

const AT: u64 = 0x10_0000;
const HIGH: u64 = 0xffff_ffff_8000_0000;

/// Two segments, linked high, entered low.
fn vmlinux() -> Vec<u8> {
    let code = Segment::at(AT, b"code").virt(HIGH);
    let data = Segment::at(AT + 0x2000, b"data").virt(HIGH + 0x2000).memory_size(0x1100);
    elf(AT, &[code, data])
}

fn code() -> Vec<u8> {
    (0..0x1000_u32).map(|at| u8::try_from(at % 253).unwrap()).collect()
}

fn refusal(image: &[u8], options: &KernelOptions<'_>) -> LinuxError {
    let memory = ram(KERNEL_RAM);
    let error = load(&memory, image, options).unwrap_err();
    assert_eq!(written_outside(&memory, &[]), None, "refused ({error}), but written");
    error
}

macro_rules! assert_refused {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = $error;
        assert!(matches!(error, $pattern $(if $guard)?), "{error:?}");
    };
}

#[test]
fn a_vmlinux_is_entered_as_the_boot_protocol_says() {
    let memory = ram(KERNEL_RAM);
    let initrd = [9; 0x1800];
    let Entry { state, loaded } = load(&memory, &vmlinux(), &kernel_options(Some(&initrd))).unwrap();
    assert_eq!(written_outside(&memory, &loaded), None);
    assert_eq!(bytes(&memory, AT, 4), b"code");
    assert_eq!(bytes(&memory, AT + 0x2000, 0x1100)[..5], *b"data\0");
    assert_eq!(bytes(&memory, AT + 0x2_e000, 0x1800), initrd);
    assert_eq!(bytes(&memory, CMDLINE, 14), b"console=ttyS0\0");

    assert_eq!((state.mode(), state.regs.rip, state.regs.rsi), (Mode::Long64, AT, ZERO_PAGE));
    assert!(!state.regs.rflags.contains(RFlags::IF));
    assert_eq!((state.cr3, state.gdt.base, state.gdt.limit), (BOOT_PML4, BOOT_GDT, 31));
    for at in [AT, 0, ZERO_PAGE, CMDLINE, 0xffff_ffff] {
        assert_eq!(fetched_from(&memory, &state, at), Some(at), "identity-mapped");
    }
    // __BOOT_CS and __BOOT_DS, loaded and in the table alike.
    let mut gdt = Gdt::new();
    for at in [8, 16, 24] {
        let segment = strata_cpu::Descriptor(long(&memory, BOOT_GDT + at)).decode(0);
        gdt.push(&segment).unwrap();
    }
    assert_eq!((state.cs.selector, gdt.segment(0x10)), (0x10, Some(state.cs)));
    for segment in [state.ds, state.es, state.ss, state.fs, state.gs] {
        assert_eq!((segment.selector, gdt.segment(0x18)), (0x18, Some(segment)));
    }
}

#[test]
fn a_vmlinux_finds_its_zero_page() {
    let memory = ram(KERNEL_RAM);
    load(&memory, &vmlinux(), &kernel_options(Some(&[9; 0x1800]))).unwrap();
    let zero_page = |at| word(&memory, ZERO_PAGE + at);
    assert_eq!(zero_page(0x1fe) & 0xffff, 0xaa55);
    assert_eq!(bytes(&memory, ZERO_PAGE + 0x202, 4), b"HdrS");
    assert!(zero_page(0x206) & 0xffff >= 0x20c);
    assert_eq!(bytes(&memory, ZERO_PAGE + 0x210, 1), [0xff], "type_of_loader");
    assert_eq!((zero_page(0x228), zero_page(0xc8)), (0x2_0000, 0), "cmd_line_ptr");
    assert_eq!((zero_page(0x218), zero_page(0x21c)), (0x12_e000, 0x1800), "ramdisk_image, ramdisk_size");
    assert_eq!((zero_page(0xc0), zero_page(0xc4)), (0, 0), "ext_ramdisk_*");
    assert_eq!(long(&memory, ZERO_PAGE + 0x70), 0xe_0000, "acpi_rsdp_addr");
    assert_eq!(bytes(&memory, ZERO_PAGE + 0x1ef, 1), [0], "sentinel");
}

#[test]
fn a_bzimage_is_loaded_where_it_wants_to_be() {
    let memory = ram(KERNEL_RAM);
    let image = bzimage(&code(), (0, 0));
    let Entry { state, loaded } = load(&memory, &image, &kernel_options(Some(&[9; 0x1800]))).unwrap();
    assert_eq!(written_outside(&memory, &loaded), None);
    assert_eq!(bytes(&memory, AT, 0x1000), code());
    assert_eq!((state.regs.rip, state.regs.rsi), (AT + 0x200, ZERO_PAGE));
    // Its own header, and what a boot loader writes into that.
    assert_eq!(bytes(&memory, ZERO_PAGE + 0x1f1, 1), [1]);
    assert_eq!(word(&memory, ZERO_PAGE + 0x214), 0x10_0000, "code32_start");
    assert_eq!(word(&memory, ZERO_PAGE + 0x228), 0x2_0000, "cmd_line_ptr");
    assert_eq!(word(&memory, ZERO_PAGE + 0x238), 2047, "cmdline_size, as it was");
    assert_eq!(bytes(&memory, ZERO_PAGE + 0x290, 0x40), [0; 0x40], "what is no header any more");
}

#[test]
fn an_initrd_keeps_out_of_a_bzimages_way() {
    let mut image = bzimage(&code(), (0, 0));
    image[0x260..0x264].copy_from_slice(&0x2_f000_u32.to_le_bytes()); // init_size: all but a page
    let memory = ram(KERNEL_RAM);
    load(&memory, &image, &kernel_options(Some(&[9; 0x1000]))).unwrap();
    assert_eq!(word(&memory, ZERO_PAGE + 0x218), 0x12_f000);
    let error = refusal(&image, &kernel_options(Some(&[9; 0x1001])));
    assert_refused!(error, LinuxError::Kernel(KernelError::InitrdTooLarge { .. }));
    image[0x22c..0x230].copy_from_slice(&0x12_f000_u32.to_le_bytes()); // initrd_addr_max, the last byte
    let error = refusal(&image, &kernel_options(Some(&[9; 0x1000])));
    assert_refused!(error, LinuxError::Kernel(KernelError::InitrdTooLarge { end: 0x12_f001, .. }));
    image[0x260..0x264].copy_from_slice(&0x3_0001_u32.to_le_bytes());
    assert_refused!(refusal(&image, &kernel_options(None)), LinuxError::Place(PlaceError::OutsideRam { .. }));
}

#[test]
fn what_is_no_kernel_for_us_is_refused_by_name() {
    let options = kernel_options(None);
    assert_refused!(refusal(&[], &options), LinuxError::Empty);
    assert_refused!(refusal(b"#!/bin/sh", &options), LinuxError::NotLinux);
    let elf32 = elf32(0x10_0000, &[Segment::at(AT, b"code")]);
    assert_refused!(refusal(&elf32, &options), LinuxError::Elf(ElfError::WrongClass { class: 1 }));
    let high = elf(HIGH, &[Segment::at(AT, b"code").virt(HIGH)]);
    assert_refused!(refusal(&high, &options), LinuxError::Elf(ElfError::EntryOutsideSegments { .. }));
    let mut zimage = bzimage(&code(), (0, 0));
    zimage[0x211] = 0;
    assert_refused!(refusal(&zimage, &options), LinuxError::BzImage(BzImageError::ZImage));
}

#[test]
fn a_kernel_cut_off_anywhere_is_refused() {
    let options = kernel_options(None);
    for image in [vmlinux(), bzimage(&[7; 0x210], (0, 0))] {
        for len in 0..image.len() {
            refusal(&image[..len], &options);
        }
    }
}

#[test]
fn kernels_in_each_others_way_are_refused_by_name() {
    let options = kernel_options(None);
    // On the zero page, the command line, the page tables, another segment; outside RAM.
    for at in [ZERO_PAGE, CMDLINE, BOOT_PML4] {
        let error = refusal(&elf(at, &[Segment::at(at, b"code")]), &options);
        assert!(error.to_string().contains("overlap"), "{error}");
    }
    let two = [Segment::at(AT, b"code"), Segment::at(AT + 3, b"data")];
    assert_refused!(refusal(&elf(AT, &two), &options), LinuxError::Place(PlaceError::Overlap { .. }));
    let error = refusal(&elf(0x5_0000, &[Segment::at(0x5_0000, b"code")]), &options);
    assert_refused!(error, LinuxError::Place(PlaceError::OutsideRam { .. }));
    // In RAM, but not the kernel's.
    let mut reserved = kernel_options(None);
    let entry = strata_memory::Entry { start: AT, len: 0x1000, kind: Kind::Reserved };
    reserved.memory_map.insert(entry).unwrap();
    assert_refused!(refusal(&vmlinux(), &reserved), LinuxError::Kernel(KernelError::NotUsable { .. }));
}

#[test]
fn what_a_kernel_is_handed_is_checked() {
    let mut options = kernel_options(None);
    options.cmdline = Cmdline::new("x".repeat(2048)).unwrap();
    for image in [vmlinux(), bzimage(&code(), (0, 0))] {
        assert_refused!(
            refusal(&image, &options),
            LinuxError::Kernel(KernelError::CmdlineTooLong { len: 2048, max: 2047 })
        );
    }
    options.cmdline = Cmdline::new("x".repeat(2047)).unwrap();
    load(&ram(KERNEL_RAM), &vmlinux(), &options).unwrap();
    options.memory_map = MemoryMap::new();
    assert_refused!(refusal(&vmlinux(), &options), LinuxError::Kernel(KernelError::NoUsableMemory));
    for page in 0..129 {
        let entry = strata_memory::Entry { start: page * 0x2000, len: 0x1000, kind: Kind::Usable };
        options.memory_map.insert(entry).unwrap();
    }
    assert_refused!(
        refusal(&vmlinux(), &options),
        LinuxError::Kernel(KernelError::MapTooLong { count: 129, max: 128 })
    );
}

#[test]
fn an_entry_above_4_gib_is_refused() {
    let options = kernel_options(None);
    let mut image = bzimage(&code(), (0, 0));
    image[0x258..0x260].copy_from_slice(&0xffff_fe00_u64.to_le_bytes());
    assert_refused!(refusal(&image, &options), LinuxError::EntryAbove4G { entry: 0x1_0000_0000 });
    image[0x258..0x260].fill(0xff);
    assert_refused!(refusal(&image, &options), LinuxError::EntryAbove4G { .. });
}

#[test]
fn zeros_are_left_out_where_ram_is_zero() {
    let memory = ram(KERNEL_RAM);
    let options = KernelOptions { ram_is_zero: true, ..kernel_options(None) };
    load(&memory, &vmlinux(), &options).unwrap();
    assert_eq!(bytes(&memory, AT + 0x2000, 5), [b'd', b'a', b't', b'a', crate::testing::FILL]);
}

proptest! {
    #[test]
    fn any_damaged_vmlinux(image in damaged(vmlinux())) {
        check_loaded(|memory| load(memory, &image, &kernel_options(Some(&[9; 100]))))?;
    }

    #[test]
    fn any_damaged_bzimage(image in damaged(bzimage(&[7; 0x300], (0, 0)))) {
        check_loaded(|memory| load(memory, &image, &kernel_options(Some(&[9; 100]))))?;
    }

    #[test]
    fn any_bytes(rest in prop::collection::vec(any::<u8>(), 0..0x400)) {
        check_loaded(|memory| load(memory, &rest, &kernel_options(None)))?;
    }
}
