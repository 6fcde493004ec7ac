use proptest::prelude::*;

use super::*;

/// A struct as KVM might hand it out, every field with a value of its own.
fn sregs(seed: u64) -> kvm_sregs {
    let segment =
        kvm_segment { base: seed, limit: 0x1234, selector: 0x77, padding: 0x5a, ..Default::default() };
    let table = kvm_dtable { base: !seed, limit: 0x4321, padding: [1, 2, 3] };
    kvm_sregs {
        cs: segment,
        tr: segment,
        gdt: table,
        idt: table,
        cr8: seed ^ 8,
        apic_base: seed ^ 0xfee0_0900,
        interrupt_bitmap: [seed, seed ^ 1, seed ^ 2, seed ^ 3],
        ..Default::default()
    }
}

fn entry_states() -> [X86State; 3] {
    [
        X86State::real_at(0x1000, 0x10),
        X86State::protected(0x10_0000, 0x500),
        X86State::long(0x10_0000, 0x9000, 0x500),
    ]
}

proptest! {
    #![proptest_config(crate::testing::config())]

    #[test]
    fn what_a_state_does_not_own_survives(seed: u64, which in 0usize..3) {
        let mut target = sregs(seed);
        entry_states()[which].apply_to(&mut target);
        prop_assert_eq!(target.apic_base, seed ^ 0xfee0_0900);
        prop_assert_eq!(target.cr8, seed ^ 8);
        prop_assert_eq!(target.interrupt_bitmap, [seed, seed ^ 1, seed ^ 2, seed ^ 3]);
        prop_assert_eq!((target.cs.padding, target.gdt.padding), (0x5a, [1, 2, 3]));
    }

    #[test]
    fn any_segment_survives_the_way_there_and_back(
        base: u64, limit: u32, selector: u16, type_ in 0u8..16, dpl in 0u8..4, bits: u8,
    ) {
        let bit = |n: u8| bits >> n & 1;
        let theirs = kvm_segment {
            base, limit, selector, type_, dpl,
            present: bit(0), db: bit(1), s: bit(2), l: bit(3), g: bit(4), avl: bit(5), unusable: bit(6),
            padding: 0,
        };
        let mut back = kvm_segment::default();
        Segment::from(&theirs).apply_to(&mut back);
        prop_assert_eq!(back, theirs);
    }

    #[test]
    fn any_control_register_survives_the_way_there_and_back(
        cr0: u64, cr2: u64, cr3: u64, cr4: u64, efer: u64, rflags: u64,
    ) {
        let theirs = kvm_sregs { cr0, cr2, cr3, cr4, efer, ..Default::default() };
        let regs = kvm_regs { rflags, rip: cr2, ..Default::default() };
        let (mut back, mut regs_back) = (kvm_sregs::default(), kvm_regs::default());
        let state = X86State::from_kvm(&regs, &theirs);
        state.apply_to(&mut back);
        state.apply_to(&mut regs_back);
        prop_assert_eq!(back, theirs);
        prop_assert_eq!(regs_back, regs);
    }
}

#[test]
fn entry_states_survive_the_way_there_and_back() {
    for (n, mut state) in entry_states().into_iter().enumerate() {
        state.regs.r15 = n as u64;
        let (mut regs, mut sregs) = (kvm_regs::default(), sregs(7));
        state.apply_to(&mut regs);
        state.apply_to(&mut sregs);
        assert_eq!(X86State::from_kvm(&regs, &sregs), state);
    }
}

#[test]
fn registers_go_where_their_names_say() {
    let ours = Registers {
        rax: 1,
        rbx: 2,
        rcx: 3,
        rdx: 4,
        rsi: 5,
        rdi: 6,
        rsp: 7,
        rbp: 8,
        r8: 9,
        r9: 10,
        r10: 11,
        r11: 12,
        r12: 13,
        r13: 14,
        r14: 15,
        r15: 16,
        rip: 17,
        rflags: RFlags::ALWAYS_ONE | RFlags::ZF,
    };
    let mut theirs = kvm_regs::default();
    ours.apply_to(&mut theirs);
    assert_eq!(
        (theirs.rax, theirs.rsp, theirs.rbp, theirs.r15, theirs.rip, theirs.rflags),
        (1, 7, 8, 16, 17, 0x42)
    );
    assert_eq!(Registers::from(&theirs), ours);
}

#[test]
fn the_descriptor_fields_of_64_bit_code_are_kvms() {
    let mut cs = kvm_segment::default();
    Segment::code64(8).apply_to(&mut cs);
    let expected = kvm_segment {
        limit: u32::MAX,
        selector: 8,
        type_: 11,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    assert_eq!(cs, expected);
}
