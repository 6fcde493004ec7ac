use super::{world_test::*, *};
use crate::x86_64::{
    flags::RFlags,
    gdt::Gdt,
    idt::Gate,
    segment::{Segment, SegmentKind},
    state::TableRegister,
    tss::Tss32,
};

#[test]
fn a_64_bit_gate_leads_to_its_handler() {
    let mut world = World::long();
    world.state.regs.rsp = STACK + 9;
    let reached = world.deliver(UD).unwrap();
    let expected = (HANDLER, STACK - 40, 0, IDT + 6 * 16, None);
    let Delivered { handler, stack, cpl, entry_at, handler_fetch, state } = reached;
    assert_eq!((handler, stack, cpl, entry_at, handler_fetch), expected, "RSP is aligned first");
    assert_eq!((state.regs.rip, state.regs.rsp, state.cs), (HANDLER, STACK - 40, world.state.cs));
    assert!(!state.regs.rflags.contains(RFlags::IF));

    world.gate(6, Gate { ist: 1, ..Gate::trap(Gdt::CODE, HANDLER) });
    let reached = world.deliver(UD).unwrap();
    assert_eq!(reached.stack, 0x5000 - 40);
    assert!(reached.state.regs.rflags.contains(RFlags::IF), "a trap gate leaves it");

    let reached = world.ring3().deliver(Exception::pf(0x1234, 6)).unwrap();
    assert_eq!((reached.stack, reached.cpl), (RING0_STACK - 48, 0), "an error code is a word more");
    assert_eq!(
        (reached.state.cr2, reached.state.ss.selector, reached.state.cs.selector),
        (0x1234, 0, Gdt::CODE)
    );
}

#[test]
fn a_32_bit_gate_leads_to_its_handler() {
    let world = World::protected();
    let reached = world.deliver(UD).unwrap();
    assert_eq!((reached.handler, reached.stack, reached.entry_at), (HANDLER, STACK - 12, IDT + 6 * 8));
    assert_eq!(world.deliver(GP).unwrap().stack, STACK - 16);
    let reached = world.ring3().deliver(GP).unwrap();
    assert_eq!((reached.stack, reached.cpl, reached.state.ss.selector), (RING0_STACK - 24, 0, Gdt::DATA));
}

#[test]
fn a_16_bit_gate_leads_to_its_handler() {
    let mut world = World::protected();
    world.flip(IDT + 6 * 8, 8 << 40 | 0xffff << 48); // type 6, and what a 32-bit gate would take as its offset
    let reached = world.deliver(UD).unwrap();
    assert_eq!((reached.handler, reached.stack), (HANDLER, STACK - 6));
}

#[test]
fn virtual_8086_mode_is_left_for_ring_0() {
    let mut world = World::protected();
    world.state.regs.rflags |= RFlags::VM;
    world.state.cs = Segment::real(0x7c0, SegmentKind::CODE);
    world.state.ss = Segment::real(0x100, SegmentKind::DATA);
    let reached = world.deliver(GP).unwrap();
    assert_eq!((reached.stack, reached.cpl), (RING0_STACK - 40, 0), "nine words and an error code");
    assert!(!reached.state.regs.rflags.contains(RFlags::VM));
    assert!(reached.state.ds.unusable);
    world.spare(&Segment {
        kind: SegmentKind::Code { readable: true, conforming: true, accessed: true },
        ..Segment::code32(0)
    });
    let why =
        "IDT entry 6 names selector 0x28, which is not of ring 0, and the guest was in virtual-8086 mode";
    assert_eq!(world.fault(UD), format!("#GP(0x29): {why}"));
}

#[test]
fn real_mode_goes_through_the_vectors() {
    let mut world = World::with(&X86State::real_at(0, 0x7c00));
    world.state.ss = Segment::real(0x100, SegmentKind::DATA);
    world.state.regs.rsp = 0x1_0002;
    world.put(6 * 4, &[0x34, 0x12, 0x00, 0x08]);
    let reached = world.deliver(UD).unwrap();
    assert_eq!((reached.handler, reached.stack, reached.entry_at), (0x8000 + 0x1234, 0x1000 + 0xfffc, 24));
    assert_eq!(
        (reached.state.cs.base, reached.state.cs.selector, reached.state.regs.rip),
        (0x8000, 0x800, 0x1234)
    );
    assert_eq!(reached.state.regs.rsp, 0x1_fffc, "SP wraps alone");

    world.state.regs.rsp = 3;
    let why = "pushing the frame of #UD on the stack at 0x1003 failed: offset 0xffff lies outside the stack segment";
    assert_eq!(world.fault(UD), format!("#SS: {why} (limit 0xffff)"));
    world.state.idt.limit = 26;
    assert_eq!(world.fault(UD), "#GP: IDT entry 6 lies beyond the IDT's limit 0x1a");
    assert!(world.chain(UD).is_triple_fault());
    world.state.idt = TableRegister { base: 0x8_0000, limit: 0x3ff };
    let why = "the IDT's page cannot be read: there is no RAM at 0x80018 (IDT entry 6 is at 0x80018)";
    assert_eq!(world.fault(UD), format!("?: {why}"));
}

#[test]
fn int3_needs_a_gate_that_admits_its_ring() {
    let mut world = World::long().ring3();
    let why = "IDT entry 3 at 0x2030 admits rings up to 0 (DPL), and the guest was in ring 3";
    assert_eq!(world.fault(Exception::BP), format!("#GP(0x1a): {why}"), "EXT is clear");
    world.gate(3, Gate { dpl: 3, ..Gate::interrupt(Gdt::CODE, HANDLER) });
    assert!(world.deliver(Exception::BP).is_ok());
}

#[test]
fn protected_mode_has_its_own_faults() {
    check(
        World::protected,
        &[
            (
                |w| w.flip(IDT + 6 * 8, 0xb << 40),
                "?: IDT entry 6 at 0x2030 is a task gate to selector 0x8, and task switches are not followed",
            ),
            (|w| w.state.idt.limit = 6 * 8 + 6, "#GP(0x33): IDT entry 6 lies beyond the IDT's limit 0x36"),
            (|w| w.flip(IDT + 6 * 8, 1 << 47), "#NP(0x33): IDT entry 6 at 0x2030 is not present (P=0)"),
            (
                |w| w.flip(IDT + 6 * 8, 0x10 << 40),
                "#GP(0x33): IDT entry 6 at 0x2030 is no gate that an exception can go through in this mode (type 0x1e)",
            ),
            (
                |w| w.spare(&Segment { granular: false, limit: 0x7fff, ..Segment::code32(0) }),
                "#GP(0x1): IDT entry 6 leads to 0x8000, which lies beyond the limit 0x7fff of its code segment 0x28",
            ),
            (
                |w| w.state.ss = Segment { limit: 0x6ffe, ..Segment::data(Gdt::DATA) },
                "#SS(0x1): pushing the frame of #UD on the stack at 0x7000 failed: \
                 offset 0x6ffc lies outside the stack segment (limit 0x6ffe)",
            ),
            (
                |w| {
                    let kind = SegmentKind::Data { writable: true, expand_down: true, accessed: true };
                    w.state.ss = Segment { kind, limit: 0x6ff7, ..Segment::data(Gdt::DATA) };
                },
                "#SS(0x1): pushing the frame of #UD on the stack at 0x7000 failed: \
                 offset 0x6ff4 lies outside the stack segment (limit 0x6ff7)",
            ),
            (
                |w| w.state.idt.base = 0x20_0000,
                "?: the IDT's page cannot be read: there is no RAM at 0x200030 (IDT entry 6 is at 0x200030)",
            ),
        ],
    );
    let stack = |ss0| Tss32 { esp0: 0x6000, ss0, ..Tss32::default() }.bytes();
    let cases = [
        (0, "#TS(0x1): SS0 in the TSS at 0x4000 is selector 0x0, which is null"),
        (
            0x38,
            "#TS(0x39): SS0 in the TSS at 0x4000 is selector 0x38, which lies beyond the GDT's limit 0x2f",
        ),
        (
            Gdt::CODE,
            "#TS(0x9): SS0 in the TSS at 0x4000 is selector 0x8, which is not a writable data segment",
        ),
        (
            USER_DATA,
            "#TS(0x19): SS0 in the TSS at 0x4000 is selector 0x1b, which is of ring 3 (RPL 3), and the handler of ring 0",
        ),
        (SPARE, "#SS(0x29): SS0 in the TSS at 0x4000 is selector 0x28, which is not present (P=0)"),
    ];
    for (ss0, expected) in cases {
        let mut world = World::protected().ring3();
        assert!(world.deliver(UD).is_ok());
        world.spare(&Segment { present: false, ..Segment::data(0) });
        world.gate(6, Gate::interrupt(Gdt::CODE, HANDLER));
        world.put(TSS, &stack(ss0));
        assert_eq!(world.fault(UD), expected);
    }
    let mut world = World::protected().ring3();
    world.state.tr.limit = 8;
    assert_eq!(world.fault(UD), "#TS(0x31): ESP0 lies beyond the limit 0x8 of the TSS at 0x4000");
    // A 16-bit TSS has its stacks elsewhere. SDM 3A figure 9-10.
    world.state.tr = Segment { kind: SegmentKind::System(3), ..Segment::tss(TSS_SELECTOR, TSS, 0x2b) };
    world.put(TSS + 2, &[0x00, 0x60, 0x10, 0x00]);
    assert_eq!(world.deliver(UD).unwrap().stack, RING0_STACK - 20);
}

#[test]
fn a_handler_that_cannot_be_fetched_is_reached_all_the_same() {
    let mut world = World::long();
    world.flip_pte(HANDLER, 1 << 63);
    let reached = world.deliver(UD).unwrap();
    assert_eq!(reached.handler_fetch.unwrap().to_string(), "the PTE at 0xc040 forbids execution (NX=1)");
    world.flip_pte(HANDLER, 1 << 63 | 1 << 40);
    let reached = world.deliver(UD).unwrap();
    assert_eq!(reached.handler_fetch.unwrap().to_string(), "there is no RAM at 0x10000008000");
}

/// The names of what was tried, and what became of the last.
fn path(chain: &Chain) -> String {
    let names: Vec<_> = chain.attempts.iter().map(|attempt| attempt.exception.to_string()).collect();
    let end = if chain.is_triple_fault() {
        "triple fault"
    } else if chain.delivered().is_some() {
        "handler"
    } else {
        "?"
    };
    format!("{} -> {end}", names.join(" "))
}

#[test]
fn faults_chain_as_the_table_says() {
    let absent = |vectors: &[u8]| {
        let mut world = World::long();
        for vector in vectors {
            world.flip(IDT + u64::from(*vector) * 16, 1 << 47);
        }
        world
    };
    let pf = Exception::pf(0x50_0000, 2);
    assert_eq!(path(&absent(&[]).chain(UD)), "#UD -> handler");
    assert_eq!(path(&absent(&[6]).chain(UD)), "#UD #NP(0x33) -> handler");
    assert_eq!(path(&absent(&[14]).chain(pf)), "#PF(0x2) #DF(0x0) -> handler");
    assert_eq!(path(&absent(&[14, 8]).chain(pf)), "#PF(0x2) #DF(0x0) -> triple fault");
    assert_eq!(path(&absent(&[6, 11]).chain(UD)), "#UD #NP(0x33) #DF(0x0) -> handler");
    assert_eq!(path(&absent(&[6, 11, 8]).chain(UD)), "#UD #NP(0x33) #DF(0x0) -> triple fault");
    // The longest: a benign fault, a contributory one, a page fault, the double fault.
    let mut world = absent(&[6]);
    world.gate(11, Gate { ist: 2, ..Gate::interrupt(Gdt::CODE, HANDLER) });
    world.gate(14, Gate { ist: 2, ..Gate::interrupt(Gdt::CODE, HANDLER) });
    assert_eq!(path(&world.chain(UD)), "#UD #NP(0x33) #PF(0x2) #DF(0x0) -> handler");
    world.flip_pte(STACK - 8, 1);
    assert_eq!(path(&world.chain(UD)), "#UD #NP(0x33) #PF(0x2) #DF(0x0) -> triple fault");
    world.state.cr3 = 0x1000_0000;
    assert_eq!(path(&world.chain(UD)), "#UD -> ?");
}
