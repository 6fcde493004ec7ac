use proptest::prelude::*;
use strata_cpu::Mode;
use strata_memory::layout::CMDLINE;

use super::*;
use crate::testing::{
    KERNEL_RAM, Segment, bytes, check_loaded, damaged, elf, elf32, kernel_options, long, note, ram, word,
    written_outside,
};

const AT: u64 = 0x10_0000;

fn segments(entry: &[u8]) -> [Segment; 3] {
    let data = Segment::at(AT + 0x2000, b"data").memory_size(0x1100);
    [note("Xen", 18, entry), Segment::at(AT, b"code"), data]
}

/// Entered two bytes behind its first, whatever the ELF header says.
fn kernel64() -> Vec<u8> {
    elf(0, &segments(&(AT + 2).to_le_bytes()))
}

fn kernel32() -> Vec<u8> {
    elf32(0, &segments(&0x10_0002_u32.to_le_bytes()))
}

fn refusal(image: &[u8]) -> PvhError {
    let memory = ram(KERNEL_RAM);
    let error = load(&memory, image, &kernel_options(None)).unwrap_err();
    assert_eq!(written_outside(&memory, &[]), None, "refused ({error}), but written");
    error
}

#[test]
fn a_kernel_of_either_class_is_entered_as_xen_says() {
    for image in [kernel32(), kernel64()] {
        let memory = ram(KERNEL_RAM);
        let Entry { state, loaded } = load(&memory, &image, &kernel_options(None)).unwrap();
        assert_eq!(written_outside(&memory, &loaded), None);
        assert_eq!(bytes(&memory, AT, 4), b"code");
        assert_eq!(bytes(&memory, AT + 0x2000, 6), b"data\0\0");
        assert_eq!((state.mode(), state.regs.rip, state.regs.rbx), (Mode::Protected32, AT + 2, BOOT_INFO));
        assert_eq!((state.cr0.bits() & !0x10, state.cr4.bits()), (1, 0), "PE, and nothing writable else");
        assert_eq!((state.cs.base, state.cs.limit, state.cs.big), (0, u32::MAX, true));
        assert_eq!((state.tr.base, state.tr.limit), (0, 0x67));
        assert_eq!(state.regs.rflags.bits(), 2);
    }
}

#[test]
fn the_start_info_leads_to_everything() {
    let memory = ram(KERNEL_RAM);
    load(&memory, &kernel64(), &kernel_options(Some(&[9; 0x1800]))).unwrap();
    let info: Vec<u32> = (0..4).map(|index| word(&memory, BOOT_INFO + index * 4)).collect();
    assert_eq!(info, [0x336e_c578, 1, 0, 1], "magic, version, flags, nr_modules");
    let [modlist, cmdline, rsdp, memmap] = [16, 24, 32, 40].map(|at| long(&memory, BOOT_INFO + at));
    assert_eq!((cmdline, rsdp), (CMDLINE, 0xe_0000));
    assert_eq!(bytes(&memory, cmdline, 14), b"console=ttyS0\0");
    assert_eq!((word(&memory, BOOT_INFO + 48), word(&memory, BOOT_INFO + 52)), (2, 0), "memmap_entries");
    let module: Vec<u64> = (0..4).map(|index| long(&memory, modlist + index * 8)).collect();
    assert_eq!(module, [AT + 0x2_e000, 0x1800, 0, 0]);
    assert_eq!(bytes(&memory, module[0], 0x1800), [9; 0x1800]);
    let map: Vec<u64> = (0..6).map(|index| long(&memory, memmap + index * 8)).collect();
    assert_eq!(map, [0, 0x4_0000, 1, AT, 0x3_0000, 1]);
}

#[test]
fn without_an_initrd_there_is_no_module() {
    let memory = ram(KERNEL_RAM);
    load(&memory, &kernel64(), &kernel_options(None)).unwrap();
    assert_eq!((word(&memory, BOOT_INFO + 12), long(&memory, BOOT_INFO + 16)), (0, 0));
}

#[test]
fn bad_kernels_are_refused_by_name() {
    assert!(matches!(refusal(b""), PvhError::Elf(ElfError::NotElf)));
    for notes in [vec![], vec![note("Linux", 18, &[0; 4])], vec![note("Xen", 17, &[0; 4])]] {
        let image = elf(AT, &[notes, vec![Segment::at(AT, b"code")]].concat());
        assert!(matches!(refusal(&image), PvhError::NoEntry));
    }
    for entry in [&[][..], &[1, 2, 3], &[0; 5], &[0, 0, 0, 0, 1, 0, 0, 0], &[0; 12]] {
        let error = refusal(&elf(AT, &segments(entry)));
        assert!(matches!(&error, PvhError::WrongEntry { bytes } if entry.starts_with(bytes)), "{error}");
    }
    for entry in [0_u32, 0x10_0004, u32::MAX] {
        let error = refusal(&elf(AT, &segments(&entry.to_le_bytes())));
        assert!(matches!(error, PvhError::Elf(ElfError::EntryOutsideSegments { .. })), "{error}");
    }
    let mut big_endian = kernel32();
    big_endian[5] = 2;
    assert!(matches!(refusal(&big_endian), PvhError::Elf(ElfError::WrongEndian { encoding: 2 })));
    let mut arm = kernel32();
    arm[18] = 40;
    assert!(matches!(refusal(&arm), PvhError::Elf(ElfError::WrongMachine { machine: 40 })));
}

#[test]
fn a_kernel_cut_off_anywhere_is_refused() {
    for image in [kernel32(), kernel64()] {
        for len in 0..image.len() {
            refusal(&image[..len]);
        }
    }
}

#[test]
fn the_memory_map_has_to_fit_the_page() {
    let mut options = kernel_options(None);
    for page in 0..167 {
        let kind = strata_memory::Kind::Usable;
        let entry = strata_memory::Entry { start: (page << 13) + (1 << 32), len: 0x1000, kind };
        options.memory_map.insert(entry).unwrap();
    }
    let error = load(&ram(KERNEL_RAM), &kernel64(), &options).unwrap_err();
    assert!(matches!(error, PvhError::Kernel(KernelError::MapTooLong { count: 169, max: 166 })), "{error}");
}

proptest! {
    #[test]
    fn any_damaged_kernel(image in prop_oneof![damaged(kernel32()), damaged(kernel64())]) {
        check_loaded(|memory| load(memory, &image, &kernel_options(Some(&[9; 100]))))?;
    }
}
