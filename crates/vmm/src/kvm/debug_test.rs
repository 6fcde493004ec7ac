use super::*;

fn registers(breakpoints: &[u64], watchpoints: &[Watchpoint]) -> Option<[u64; 8]> {
    debug_registers(&GuestDebug {
        breakpoints: breakpoints.to_vec(),
        watchpoints: watchpoints.to_vec(),
        ..GuestDebug::default()
    })
}

fn watch(address: u64, len: u8, reads: bool) -> Watchpoint {
    Watchpoint { address, len, reads }
}

#[test]
fn four_execution_breakpoints_are_what_the_processor_has() {
    assert_eq!(registers(&[], &[]), Some([0, 0, 0, 0, 0, 0, 0, 0x400]));
    assert_eq!(registers(&[0x1005, 0x2000], &[]), Some([0x1005, 0x2000, 0, 0, 0, 0, 0, 0x405]));
    assert!(registers(&[1, 2, 3, 4], &[]).is_some());
    assert_eq!(registers(&[1, 2, 3, 4, 5], &[]), None);
}

#[test]
fn watchpoints_share_them() {
    // R/W1 = 01 and LEN1 = 10: writes of eight bytes.
    let both = registers(&[0x1005], &[watch(0x2008, 8, false)]);
    assert_eq!(both, Some([0x1005, 0x2008, 0, 0, 0, 0, 0, 0x405 | 0b1001 << 20]));
    // R/W0 = 11 and LEN0 = 11: any access to four.
    assert_eq!(
        registers(&[], &[watch(0x2004, 4, true)]),
        Some([0x2004, 0, 0, 0, 0, 0, 0, 0x401 | 0b1111 << 16])
    );
    assert_eq!(registers(&[], &[watch(0x2002, 4, true)]), None, "not aligned");
    assert_eq!(registers(&[], &[watch(0x2000, 3, true)]), None, "no such length");
    assert_eq!(registers(&[1, 2, 3], &[watch(0, 1, false); 2]), None, "too many");
}
