use vm_memory::GuestMemoryMmap;

use super::*;

fn around(rip: u16, ranges: &[(GuestAddress, usize)]) -> (usize, usize) {
    let memory = GuestMemoryMmap::<()>::from_ranges(ranges).unwrap();
    let code = Cpu::of(&memory, &X86State::real(rip)).code;
    (code.before().len(), code.after().len())
}

#[test]
fn code_is_read_as_far_as_there_is_memory() {
    let low = [(GuestAddress(0), 0x2000)];
    assert_eq!(around(0x1800, &low), (15, 15));
    assert_eq!(around(0x1ffc, &low), (15, 4));
    assert_eq!(around(0x2000, &low), (15, 0));
    assert_eq!(around(0x3000, &low), (0, 0));
    let high = [(GuestAddress(0x1000), 0x1000)];
    assert_eq!(around(0x1003, &high), (3, 15), "the page before is not there");
    assert_eq!(around(0x1000, &high), (0, 15));
    // Below address 0 there is nothing either.
    assert_eq!(around(4, &low), (4, 15));
}

#[test]
fn of_a_long_string_the_first_bytes_are_kept() {
    let data = [7; 100];
    let What::Access(access) = What::of(&Exit::PioWrite { port: 0x3f8, width: 2, data: &data }) else {
        panic!("it is an access")
    };
    assert_eq!((access.bytes().len(), access.len, access.times(), access.value()), (BYTES, 100, 50, None));
    let What::Access(access) = What::of(&Exit::MmioWrite { addr: 9, data: &data[..8] }) else {
        panic!("it is an access")
    };
    assert_eq!(access.value(), Some(0x0707_0707_0707_0707));
}
