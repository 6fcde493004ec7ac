use proptest::prelude::*;
use strata_cpu::Mode;
use strata_memory::layout::CMDLINE;

use super::*;
use crate::testing::{
    KERNEL_RAM, Segment, bytes, check_loaded, damaged, elf, elf32, kernel_options, multiboot_header, ram,
    word, written_outside,
};

const AT: u64 = 0x10_0000;
const AT32: u32 = 0x10_0000;

/// A 32-bit ELF file whose first segment begins with the header.
fn elf_kernel(flags: u32) -> Vec<u8> {
    let code = [multiboot_header(flags, None), b"code".to_vec()].concat();
    elf32(AT32 + 12, &[Segment::at(AT, &code), Segment::at(AT + 0x2000, b"data").memory_size(0x1100)])
}

/// Eight bytes that are not loaded, eight that are, the header, code, and eight that are not loaded.
fn flat_kernel(addresses: [u32; 5]) -> Vec<u8> {
    [vec![0xee; 16], multiboot_header(0x1_0003, Some(addresses)), b"code".to_vec(), vec![0xee; 8]].concat()
}

/// `header_addr`, `load_addr`, `load_end_addr`, `bss_end_addr`, `entry_addr`.
const ADDRESSES: [u32; 5] = [AT32 + 8, AT32, AT32 + 44, AT32 + 0x1000, AT32 + 40];

fn refusal(image: &[u8]) -> MultibootError {
    let memory = ram(KERNEL_RAM);
    let error = load(&memory, image, &kernel_options(None)).unwrap_err();
    assert_eq!(written_outside(&memory, &[]), None, "refused ({error}), but written");
    error
}

#[test]
fn an_elf_kernel_is_entered_as_the_specification_says() {
    let memory = ram(KERNEL_RAM);
    let Entry { state, loaded } = load(&memory, &elf_kernel(3), &kernel_options(None)).unwrap();
    assert_eq!(written_outside(&memory, &loaded), None);
    assert_eq!(bytes(&memory, AT + 12, 4), b"code");
    assert_eq!(bytes(&memory, AT + 0x2000, 6), b"data\0\0");
    assert_eq!((state.mode(), state.regs.rip), (Mode::Protected32, AT + 12));
    assert_eq!((state.regs.rax, state.regs.rbx), (0x2bad_b002, BOOT_INFO));
    assert_eq!(state.regs.rflags.bits(), 2);
}

#[test]
fn the_information_leads_to_everything() {
    let memory = ram(KERNEL_RAM);
    load(&memory, &elf_kernel(0), &kernel_options(Some(&[9; 0x1800]))).unwrap();
    let info = |at| word(&memory, BOOT_INFO + at);
    assert_eq!(info(0), 0b10_0100_1101, "memory, command line, modules, map, name");
    assert_eq!((info(4), info(8)), (0x100, 0xc0), "mem_lower and mem_upper, in KiB");
    assert_eq!(u64::from(info(16)), CMDLINE);
    assert_eq!(bytes(&memory, CMDLINE, 14), b"console=ttyS0\0");
    assert_eq!(info(20), 1, "mods_count");
    let module: Vec<u32> = (0..4).map(|index| word(&memory, u64::from(info(24)) + index * 4)).collect();
    assert_eq!(module, [AT32 + 0x2_e000, AT32 + 0x2_f800, 0, 0]);
    assert_eq!(bytes(&memory, module[0].into(), 0x1800), [9; 0x1800]);
    assert_eq!(info(44), 48, "mmap_length");
    let map: Vec<u32> = (0..12).map(|index| word(&memory, u64::from(info(48)) + index * 4)).collect();
    assert_eq!(map, [20, 0, 0, 0x4_0000, 0, 1, 20, AT32, 0, 0x3_0000, 0, 1]);
    assert_eq!(bytes(&memory, info(64).into(), 7), b"Strata\0");
}

#[test]
fn a_header_with_addresses_needs_no_elf() {
    let memory = ram(KERNEL_RAM);
    let Entry { state, loaded } = load(&memory, &flat_kernel(ADDRESSES), &kernel_options(None)).unwrap();
    assert_eq!(written_outside(&memory, &loaded), None);
    assert_eq!((loaded[0].start, loaded[0].len, loaded[0].what), (AT, 0x1000, What::Image));
    assert_eq!(bytes(&memory, AT, 9), [&[0xee; 8][..], &[0x02]].concat());
    assert_eq!(bytes(&memory, AT + 40, 6), b"code\0\0");
    assert_eq!(state.regs.rip, AT + 40);
    // Without an end the whole file is loaded, and without a bss no zeros follow.
    let [header, load_at, .., entry] = ADDRESSES;
    let image = flat_kernel([header, load_at, 0, 0, entry]);
    let loaded = load(&memory, &image, &kernel_options(None)).unwrap().loaded;
    assert_eq!(loaded[0].len, 52);
    assert_eq!(bytes(&memory, AT + 44, 8), [0xee; 8]);
}

#[test]
fn a_kernel_linked_high_is_entered_where_it_lies() {
    let code = [multiboot_header(0, None), b"code".to_vec()].concat();
    let image = elf32(0xc010_000c, &[Segment::at(AT, &code).virt(0xc010_0000)]);
    let state = load(&ram(KERNEL_RAM), &image, &kernel_options(None)).unwrap().state;
    assert_eq!(state.regs.rip, AT + 12);
}

/// What `ld -m elf_i386 -Ttext=0x100000` makes: the file's headers, on a page of their own, are a segment too.
fn kernel_with_headers(headers_at: u64, also: &[u8]) -> Vec<u8> {
    let code = [multiboot_header(0, None), b"code".to_vec()].concat();
    let mut file = elf32(AT32 + 12, &[Segment::at(headers_at, also), Segment::at(AT, &code)]);
    let headers = 52 + 2 * 32;
    let len = headers + u32::try_from(also.len()).unwrap();
    for (at, value) in [(56, 0), (68, len), (72, len)] {
        file[at..at + 4].copy_from_slice(&value.to_le_bytes()); // p_offset, p_filesz, p_memsz
    }
    file
}

#[test]
fn headers_for_which_there_is_no_ram_are_left_out() {
    for at in [0xf_f000, 0x804_8000] {
        let memory = ram(KERNEL_RAM);
        let image = kernel_with_headers(at, b"");
        let Entry { state, loaded } = load(&memory, &image, &kernel_options(None)).unwrap();
        assert_eq!(written_outside(&memory, &loaded), None);
        assert_eq!((state.regs.rip, loaded[0].start, loaded[0].what), (AT + 12, AT, What::Segment(1)));
        // A byte more may be meant.
        refusal(&kernel_with_headers(at, b"!"));
    }
    let memory = ram(KERNEL_RAM);
    load(&memory, &kernel_with_headers(AT + 0x1000, b""), &kernel_options(None)).unwrap();
    assert_eq!(bytes(&memory, AT + 0x1000, 4), b"\x7fELF", "where there is RAM they are loaded");
}

#[test]
fn bad_kernels_are_refused_by_name() {
    assert!(matches!(refusal(b""), MultibootError::NoHeader));
    assert!(matches!(refusal(&elf32(AT32, &[Segment::at(AT, b"code")])), MultibootError::NoHeader));
    assert!(matches!(refusal(&elf_kernel(4)), MultibootError::Flags { flags: 4 }));
    assert!(matches!(refusal(&elf_kernel(0x8003)), MultibootError::Flags { flags: 0x8000 }));
    let code = Segment::at(AT, &multiboot_header(0, None));
    let error = refusal(&elf(AT, std::slice::from_ref(&code)));
    assert!(matches!(error, MultibootError::Elf64), "{error}");
    let error = refusal(&elf32(AT32 + 12, std::slice::from_ref(&code)));
    assert!(matches!(error, MultibootError::Elf(ElfError::EntryOutsideSegments { .. })), "{error}");
    let not_elf = [multiboot_header(0, None), b"code".to_vec()].concat();
    assert!(matches!(refusal(&not_elf), MultibootError::Elf(ElfError::NotElf)));
    for entry in [AT32 - 1, AT32 + 0x1000, 0] {
        let [header, load_at, end, bss, _] = ADDRESSES;
        let error = refusal(&flat_kernel([header, load_at, end, bss, entry]));
        assert!(matches!(error, MultibootError::EntryOutsideImage { entry: named } if named == entry));
    }
}

#[test]
fn a_kernel_cut_off_anywhere_is_refused() {
    for image in [elf_kernel(0), flat_kernel(ADDRESSES)] {
        let whole = image.len() - if image[0] == 0xee { 8 } else { 0 };
        for len in 0..whole {
            refusal(&image[..len]);
        }
    }
}

proptest! {
    #[test]
    fn any_damaged_kernel(image in prop_oneof![damaged(elf_kernel(3)), damaged(flat_kernel(ADDRESSES))]) {
        check_loaded(|memory| load(memory, &image, &kernel_options(Some(&[9; 100]))))?;
    }

    #[test]
    fn any_addresses(
        addresses in prop::array::uniform5(prop_oneof![AT32..AT32 + 0x100, any::<u32>(), Just(0)]),
    ) {
        let image = flat_kernel(addresses);
        check_loaded(|memory| load(memory, &image, &kernel_options(Some(&[9; 100]))))?;
    }
}
