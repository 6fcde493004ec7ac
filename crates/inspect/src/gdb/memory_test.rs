use vm_memory::GuestMemoryMmap;

use super::*;

fn ram() -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap()
}

#[test]
fn linear_and_physical_addresses_are_two_things() {
    let ram = ram();
    // One page table of each level at 0x1000 to 0x4000; the page 0x0 is 0x8000, and 0x1000 leads nowhere.
    for (at, entry) in [(0x1000, 0x2003u64), (0x2000, 0x3003), (0x3000, 0x4003), (0x4000, 0x8001)] {
        ram.write_obj(entry, GuestAddress(at)).unwrap();
    }
    let state = X86State::long(0, 0x1000, 0);
    let at = (&ram, &state);
    // Read-only to the guest.
    assert_eq!(write(at, 0xffe, b"ab", false), Some(()));
    let mut bytes = [0; 4];
    assert_eq!((read(at, 0xffe, &mut bytes, false), &bytes), (2, b"ab\0\0"));
    assert_eq!((read(at, 0x8ffe, &mut bytes, true), &bytes), (4, b"ab\0\0"));
    // Nothing is written if not all can be.
    assert_eq!(write(at, 0xffe, b"xyz", false), None);
    assert_eq!((read(at, 0xffe, &mut bytes, false), &bytes[..2]), (2, &b"ab"[..]));
    assert_eq!(write(at, 0xffff, b"xy", true), None);
    assert_eq!(read(at, 0xfff0, &mut [0; 64], true), 16);
    assert_eq!(read(at, u64::MAX, &mut bytes, true), 0);
    assert_eq!(write(at, u64::MAX, b"ab", true), None);
}

#[test]
fn tables_that_lead_to_themselves_end() {
    let ram = ram();
    for entry in 0..512 {
        ram.write_obj(0x1003u64, GuestAddress(0x1000 + entry * 8)).unwrap();
    }
    let state = X86State::long(0, 0x1000, 0);
    let mut bytes = vec![0; 0x8000];
    // Every address is the table itself.
    assert_eq!(read((&ram, &state), 0x7fff_ffff_0000, &mut bytes, false), 0x8000);
    assert_eq!(bytes[..8], 0x1003u64.to_le_bytes());
}
