use x86_64::{VirtAddr, structures::tss::TaskStateSegment};

use super::*;

#[test]
fn the_64_bit_layout_is_that_of_the_x86_64_crate() {
    let ours = Tss64 { rsp: [1, 2, 3], ist: [11, 12, 13, 14, 15, 16, 17], iomap_base: 0x1234 };
    let mut theirs = TaskStateSegment::new();
    theirs.privilege_stack_table = ours.rsp.map(VirtAddr::new);
    theirs.interrupt_stack_table = ours.ist.map(VirtAddr::new);
    theirs.iomap_base = ours.iomap_base;
    let mut expected = [0; TSS_BYTES];
    assert_eq!(size_of_val(&theirs), TSS_BYTES);
    // Its fields are packed; theirs say where they lie, ours say what lies there.
    let fields = [
        (std::mem::offset_of!(TaskStateSegment, privilege_stack_table), ours.rsp.as_slice()),
        (std::mem::offset_of!(TaskStateSegment, interrupt_stack_table), ours.ist.as_slice()),
    ];
    for (at, values) in fields {
        for (slot, value) in expected[at..].as_chunks_mut().0.iter_mut().zip(values) {
            *slot = value.to_le_bytes();
        }
    }
    let at = std::mem::offset_of!(TaskStateSegment, iomap_base);
    expected[at..at + 2].copy_from_slice(&0x1234u16.to_le_bytes());
    assert_eq!(ours.bytes(), expected);
}

#[test]
fn the_32_bit_layout_is_the_manuals() {
    // SDM 3A figure 9-2.
    let bytes = Tss32 { esp0: 0x1122_3344, ss0: 0x10, iomap_base: 0x68 }.bytes();
    assert_eq!(bytes[4..10], [0x44, 0x33, 0x22, 0x11, 0x10, 0]);
    assert_eq!(bytes[102..], [0x68, 0]);
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 6);
}

#[test]
fn without_a_bitmap_its_offset_is_beyond_the_limit() {
    assert_eq!(usize::try_from(TSS_LIMIT).unwrap() + 1, TSS_BYTES);
    assert!(u32::from(Tss64::default().iomap_base) > TSS_LIMIT);
    assert!(u32::from(Tss32::default().iomap_base) > TSS_LIMIT);
}
