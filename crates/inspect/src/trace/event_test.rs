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

#[test]
fn page_tables_that_lead_nowhere_or_to_themselves_cost_the_code_only() {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap();
    let mut state = X86State::real(0x1000);
    state.cr0 |= strata_cpu::Cr0::PE | strata_cpu::Cr0::PG;
    state.cr4 |= strata_cpu::Cr4::PAE;
    state.efer |= strata_cpu::Efer::LME | strata_cpu::Efer::LMA;
    for (cr3, entry) in [(0x4000_0000, 0), (0x2000, 0), (0x2000, u64::MAX), (0x2000, 0x2007)] {
        state.cr3 = cr3;
        // Every entry of the table, which the last one makes its own next.
        for index in 0..512 {
            memory.write_obj(entry, GuestAddress(0x2000 + index * 8)).unwrap();
        }
        for rip in [0x1000, 0, 5, u64::MAX, 1 << 63, 0xffff_8000_0000_0003] {
            state.regs.rip = rip;
            let code = Cpu::of(&memory, &state).code;
            assert!(code.before().len() <= LONGEST && code.after().len() <= LONGEST);
        }
    }
}
