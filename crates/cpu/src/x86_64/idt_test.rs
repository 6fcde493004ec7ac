use proptest::prelude::*;

use super::*;

#[test]
fn a_32_bit_gate_is_the_manuals_figure() {
    // SDM 3A figure 7-2: offset 15..0, selector, zero, P DPL 0 D110, offset 31..16.
    let gate = Gate { dpl: 3, ..Gate::interrupt(0x08, 0x1234_5678) };
    assert_eq!(gate.encode32().unwrap().to_le_bytes(), [0x78, 0x56, 0x08, 0, 0, 0xee, 0x34, 0x12]);
    let trap = Gate::trap(0x08, 0x1234_5678);
    assert_eq!(trap.encode32().unwrap().to_le_bytes(), [0x78, 0x56, 0x08, 0, 0, 0x8f, 0x34, 0x12]);
}

#[test]
fn a_64_bit_gate_is_the_manuals_figure() {
    // SDM 3A 7.14.1: as above, with the stack in byte 4, then offset 63..32 and a reserved word.
    let gate = Gate { ist: 5, ..Gate::interrupt(0x10, 0xffff_8123_4567_89ab) };
    let [low, high] = gate.encode64().unwrap().map(u64::to_le_bytes);
    assert_eq!(low, [0xab, 0x89, 0x10, 0, 5, 0x8e, 0x67, 0x45]);
    assert_eq!(high, [0x23, 0x81, 0xff, 0xff, 0, 0, 0, 0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let gate = Gate::interrupt(8, 0);
    assert_eq!(
        Gate { offset: 1 << 32, ..gate }.encode32(),
        Err(GateError::OffsetTooLarge { offset: 1 << 32 })
    );
    assert_eq!(Gate { ist: 1, ..gate }.encode32(), Err(GateError::NoSuchStack { ist: 1 }));
    assert_eq!(Gate { ist: 8, ..gate }.encode64(), Err(GateError::NoSuchStack { ist: 8 }));
    assert_eq!(Gate { dpl: 4, ..gate }.encode64(), Err(GateError::NoSuchRing { dpl: 4 }));
}

#[test]
fn what_is_no_present_gate_is_none() {
    let bits = Gate::interrupt(8, 0x1000).encode32().unwrap();
    assert_eq!(Gate::decode32(bits & !(1 << 47)), None, "not present");
    assert_eq!(Gate::decode32(bits | 1 << 44), None, "a code segment");
    assert_eq!(Gate::decode64([0, 0]), None);
}

#[test]
fn a_table_ends_with_its_highest_gate() {
    for (width, size) in [(IdtWidth::Bits32, 8), (IdtWidth::Bits64, 16)] {
        let mut idt = Idt::new(width);
        assert_eq!((idt.limit(), idt.bytes().len()), (0, 0));
        idt.set(6, Gate::interrupt(8, 0x1000)).unwrap().set(2, Gate::trap(8, 0x2000)).unwrap();
        assert_eq!(usize::from(idt.limit()) + 1, 7 * size);
        let gates =
            idt.bytes().chunks(size).enumerate().filter(|(_, gate)| gate.iter().any(|byte| *byte != 0));
        assert_eq!(gates.map(|(vector, _)| vector).collect::<Vec<_>>(), [2, 6]);
    }
}

#[test]
fn the_last_vector_makes_a_full_table() {
    let mut idt = Idt::new(IdtWidth::Bits64);
    idt.set(255, Gate::interrupt(8, 0x1000)).unwrap();
    assert_eq!(idt.limit(), 0xfff);
}

#[test]
fn a_gate_can_be_replaced_and_a_bad_one_changes_nothing() {
    let mut idt = Idt::new(IdtWidth::Bits32);
    idt.set(1, Gate::interrupt(8, 0x1000)).unwrap().set(1, Gate::trap(8, 0x2000)).unwrap();
    let before = idt.clone();
    assert_eq!(
        idt.set(1, Gate::trap(8, 1 << 40)).unwrap_err(),
        GateError::OffsetTooLarge { offset: 1 << 40 }
    );
    assert_eq!(idt, before);
    assert_eq!(idt.bytes()[8..], Gate::trap(8, 0x2000).encode32().unwrap().to_le_bytes());
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn any_gate_comes_back(offset: u64, selector: u16, trap: bool, dpl in 0u8..4, ist in 0u8..8) {
        let kind = if trap { GateKind::Trap } else { GateKind::Interrupt };
        let gate = Gate { offset, selector, kind, dpl, ist };
        prop_assert_eq!(Gate::decode64(gate.encode64().unwrap()), Some(gate));
        let short = Gate { offset: offset & 0xffff_ffff, ist: 0, ..gate };
        prop_assert_eq!(Gate::decode32(short.encode32().unwrap()), Some(short));
    }
}
