use super::*;
use crate::testing::{KERNEL_RAM, bytes, kernel_map, kernel_options, ram};

const M1: u64 = 0x10_0000;

fn placed(len: u64, end: u64, others: &[(u64, u64)]) -> Result<Option<(u64, u64)>, KernelError> {
    let memory = ram(KERNEL_RAM);
    let mut plan = Plan::new(&memory);
    for (start, len) in others {
        plan.reserve(Loaded { start: *start, len: *len, what: What::Kernel }).unwrap();
    }
    let image = vec![7; usize::try_from(len).unwrap()];
    place_initrd(&mut plan, &kernel_options(Some(&image)), end)
}

#[test]
fn an_initrd_lies_as_high_as_it_can() {
    for (len, end, others, at) in [
        (1, u64::MAX, vec![], M1 + 0x2_f000),
        (0x1000, u64::MAX, vec![], M1 + 0x2_f000),
        (0x1001, u64::MAX, vec![], M1 + 0x2_e000),
        (0x3_0000, u64::MAX, vec![], M1),
        (0x1000, M1 + 0x1_0000, vec![], M1 + 0xf000),
        (0x1000, M1 + 0x1_0fff, vec![], M1 + 0xf000),
        // Beside a kernel at the end, between two, and below both.
        (0x1000, u64::MAX, vec![(M1 + 0x2_f800, 1)], M1 + 0x2_e000),
        (0x8000, u64::MAX, vec![(M1 + 0x2_8000, 0x8000), (M1, 0x2_0000)], M1 + 0x2_0000),
        (0x9000, u64::MAX, vec![(M1 + 0x2_8000, 0x8000), (M1 + 0x1_0000, 0x1_0000)], M1 + 0x7000),
    ] {
        let place = placed(len, end, &others);
        assert_eq!(place.unwrap(), Some((at, len)), "{len:#x} bytes below {end:#x} beside {others:x?}");
    }
}

#[test]
fn an_initrd_without_room_is_refused_by_name() {
    for (len, end, others) in [
        (0x3_0001, u64::MAX, vec![]),
        (0x1000, M1 + 0xfff, vec![]),
        (0x1000, 0x4_0000, vec![]), // the first MiB is not for it
        (0x1000, 0, vec![]),
        (0x1000, u64::MAX, vec![(M1 + 0xfff, 0x2_f001)]),
    ] {
        let error = placed(len, end, &others).unwrap_err();
        assert!(matches!(error, KernelError::InitrdTooLarge { len: told, .. } if told == len), "{error}");
    }
    assert!(matches!(placed(0, u64::MAX, &[]), Err(KernelError::InitrdEmpty)));
}

#[test]
fn an_initrd_lies_in_usable_ram() {
    let memory = ram(KERNEL_RAM);
    let image = [7; 0x1000];
    let mut options = kernel_options(Some(&image));
    let reserved = strata_memory::Entry { start: M1 + 0x2_f800, len: 0x800, kind: Kind::Reserved };
    options.memory_map.insert(reserved).unwrap();
    let place = place_initrd(&mut Plan::new(&memory), &options, u64::MAX).unwrap();
    assert_eq!(place, Some((M1 + 0x2_e000, 0x1000)));
    // A map which promises more than there is.
    let more = strata_memory::Entry { start: M1 + 0x10_0000, len: 0x8000, kind: Kind::Usable };
    options.memory_map.insert(more).unwrap();
    let place = place_initrd(&mut Plan::new(&memory), &options, u64::MAX).unwrap();
    assert_eq!(place, Some((M1 + 0x2_e000, 0x1000)));
}

#[test]
fn a_command_line_has_its_nul_and_its_limit() {
    let memory = ram(KERNEL_RAM);
    let mut options = kernel_options(None);
    for (len, max, longest) in [(9, 9, 9), (10, 9, 9), (4095, usize::MAX, 4095), (4096, usize::MAX, 4095)] {
        options.cmdline = Cmdline::new("x".repeat(len)).unwrap();
        let mut plan = Plan::new(&memory);
        match options.place_cmdline(&mut plan, max) {
            Ok(at) => {
                assert!(len <= longest);
                plan.commit().unwrap();
                assert_eq!(bytes(&memory, at + len as u64 - 1, 2), b"x\0");
            }
            Err(KernelError::CmdlineTooLong { len: told, max }) => {
                assert_eq!((told, max, len > longest), (len, longest, true));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_memory_map_has_usable_ram_and_its_limit() {
    let mut options = kernel_options(None);
    options.check_map(2).unwrap();
    assert!(matches!(options.check_map(1), Err(KernelError::MapTooLong { count: 2, max: 1 })));
    options.memory_map = MemoryMap::new();
    assert!(matches!(options.check_map(2), Err(KernelError::NoUsableMemory)));
    options.memory_map.insert(strata_memory::Entry { start: 0, len: 1, kind: Kind::Reserved }).unwrap();
    assert!(matches!(options.check_map(2), Err(KernelError::NoUsableMemory)));
}

#[test]
fn what_lies_across_the_end_of_usable_ram_is_refused_by_name() {
    let memory = ram(&[(0, 0x10_0000), (0x10_0000, 0x3_0000)]);
    let options = kernel_options(None);
    assert_eq!(kernel_map(), options.memory_map);
    for (start, usable) in [(0, true), (0x3_ff00, true), (0x3_ff01, false), (0x5_0000, false), (M1, true)] {
        let mut plan = Plan::new(&memory);
        let range = Loaded { start, len: 0x100, what: What::Kernel };
        plan.reserve(range).unwrap();
        match options.check_usable(&plan) {
            Ok(()) => assert!(usable, "{range}"),
            Err(KernelError::NotUsable { range: named }) => assert_eq!((named, usable), (range, false)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn options_are_shown_without_the_bytes_of_the_initrd() {
    let shown = format!("{:?}", kernel_options(Some(&[7_u8; 99])));
    assert!(shown.contains("Some(99)") && shown.contains("console=ttyS0"), "{shown}");
}
