use super::super::world_test::*;
use crate::x86_64::{
    flags::{Cr4, RFlags},
    gdt::Gdt,
    idt::Gate,
    segment::{Segment, SegmentKind},
    state::X86State,
    tss::Tss64,
};

#[test]
fn a_bad_idt_is_found() {
    check(
        World::long,
        &[
            (|w| w.state.idt.limit = 6 * 16 + 14, "#GP(0x33): IDT entry 6 lies beyond the IDT's limit 0x6e"),
            (|w| w.state.idt.limit = 0, "#GP(0x33): IDT entry 6 lies beyond the IDT's limit 0x0"),
            (|w| w.flip(IDT + 6 * 16, 1 << 47), "#NP(0x33): IDT entry 6 at 0x2060 is not present (P=0)"),
            (
                |w| w.put(IDT + 6 * 16, &[0; 16]),
                "#GP(0x33): IDT entry 6 at 0x2060 is not present (P=0): it is empty (type 0x0)",
            ),
            (
                |w| w.flip(IDT + 6 * 16, 0xb << 40),
                "#GP(0x33): IDT entry 6 at 0x2060 is no gate that an exception can go through in this mode (type 0x5)",
            ),
            (
                |w| w.flip_pte(IDT, 1),
                "#PF(0x0) at 0x2060: the IDT's page cannot be read: the PTE at 0xc010 is not present (P=0) \
                 (IDT entry 6 is at 0x2060)",
            ),
            (
                // The second half of the entry is on the next page.
                |w| w.state.idt.base = 0x1_fff8 - 6 * 16,
                "#PF(0x0) at 0x20000: the IDT's page cannot be read: the PTE at 0xc100 is not present (P=0) \
                 (IDT entry 6 is at 0x1fff8)",
            ),
            (
                |w| w.state.idt.base = 1 << 63,
                "#GP(0x33): the IDT's page cannot be read: 0x8000000000000060 is not canonical \
                 (IDT entry 6 is at 0x8000000000000060)",
            ),
            (
                |w| w.gate(6, Gate::interrupt(Gdt::CODE, 0x1234_5678_9abc_def0)),
                "#GP(0x1): IDT entry 6 leads to 0x123456789abcdef0, which is not canonical",
            ),
            (
                |w| w.state.cr3 = 0x1000_0000,
                "?: the IDT's page cannot be read: there is no RAM at 0x10000000, where CR3 points \
                 (IDT entry 6 is at 0x2060)",
            ),
            (
                |w| w.flip(TABLES + 0x1000, 0x2000_0000),
                "?: the IDT's page cannot be read: there is no RAM at 0x2000b000, where a page table should be \
                 (IDT entry 6 is at 0x2060)",
            ),
        ],
    );
    let mut smap = World::long();
    smap.state.cr4 |= Cr4::SMAP;
    smap.state.regs.rflags |= RFlags::AC;
    let why = "the PTE at 0xc010 is a user page (U=1), and CR4.SMAP is set and RFLAGS.AC clear";
    let expected =
        format!("#PF(0x1) at 0x2060: the IDT's page cannot be read: {why} (IDT entry 6 is at 0x2060)");
    assert_eq!(smap.fault(UD), expected, "AC does not lift SMAP for the processor itself");
}

#[test]
fn a_bad_code_segment_is_found() {
    check(
        World::long,
        &[
            (
                |w| w.gate(6, Gate::interrupt(0x3, HANDLER)),
                "#GP(0x1): IDT entry 6 names selector 0x3, which is null",
            ),
            (
                |w| w.gate(6, Gate::interrupt(0x30, HANDLER)),
                "#GP(0x31): IDT entry 6 names selector 0x30, which lies beyond the GDT's limit 0x2f",
            ),
            (
                |w| w.state.gdt.limit = 0xe,
                "#GP(0x9): IDT entry 6 names selector 0x8, which lies beyond the GDT's limit 0xe",
            ),
            (
                |w| {
                    w.gate(6, Gate::interrupt(0xc, HANDLER));
                    w.state.ldt.limit = 0xe;
                },
                "#GP(0xd): IDT entry 6 names selector 0xc, which lies beyond the LDT's limit 0xe",
            ),
            (
                |w| {
                    w.gate(6, Gate::interrupt(0xc, HANDLER));
                    w.state.ldt = Segment::null();
                },
                "#GP(0xd): IDT entry 6 names selector 0xc, which lies in the LDT, and there is none (LDTR is null)",
            ),
            (
                |w| w.gate(6, Gate::interrupt(Gdt::DATA, HANDLER)),
                "#GP(0x11): IDT entry 6 names selector 0x10, which is not a code segment",
            ),
            (
                |w| w.spare(&Segment::code64(0).for_ring(3)),
                "#GP(0x29): IDT entry 6 names selector 0x28, which is of ring 3 (DPL), and the guest was in ring 0",
            ),
            (
                |w| w.spare(&Segment::code32(0)),
                "#GP(0x29): IDT entry 6 names selector 0x28, which is not a 64-bit code segment (L=0, D=1)",
            ),
            (
                |w| w.spare(&Segment { present: false, ..Segment::code64(0) }),
                "#NP(0x29): IDT entry 6 names selector 0x28, which is not present (P=0)",
            ),
            (
                |w| w.state.gdt.base = 0x40_0000,
                "#PF(0x0) at 0x400008: IDT entry 6 names selector 0x8, whose descriptor at 0x400008 cannot be read: \
                 the PDE at 0xb010 is not present (P=0)",
            ),
            (
                |w| w.state.gdt.base = 1 << 50,
                "#GP(0x9): IDT entry 6 names selector 0x8, whose descriptor at 0x4000000000008 cannot be read: \
                 0x4000000000008 is not canonical",
            ),
            (
                |w| {
                    let kind = SegmentKind::Code { readable: true, conforming: false, accessed: false };
                    w.spare(&Segment { kind, ..Segment::code64(0) });
                    w.flip_pte(0, 2);
                },
                "#PF(0x3) at 0x528: IDT entry 6 names selector 0x28, whose descriptor at 0x528 cannot be marked as \
                 accessed: the PTE at 0xc000 is present but read-only (W=0), and CR0.WP is set",
            ),
        ],
    );
    let mut local = World::long();
    local.gate(6, Gate::interrupt(0xc, HANDLER));
    local.state.ldt = Segment { limit: 0xf, base: GDT, ..local.state.ldt };
    assert!(local.deliver(UD).is_ok(), "an LDT is a table like the other");
}

#[test]
fn a_bad_stack_is_found() {
    check(
        World::long,
        &[
            (
                |w| w.flip_pte(STACK - 8, 1),
                "#PF(0x2) at 0x6ff8: pushing the frame of #UD on the stack at 0x7000 failed: \
                 the PTE at 0xc030 is not present (P=0)",
            ),
            (
                // The page's last two words hold SS and RSP, RFLAGS falls off.
                |w| {
                    w.state.regs.rsp = 0x7010;
                    w.flip_pte(0x6000, 2);
                },
                "#PF(0x3) at 0x6ff8: pushing the frame of #UD on the stack at 0x7010 failed: \
                 the PTE at 0xc030 is present but read-only (W=0), and CR0.WP is set",
            ),
            (
                |w| w.state.regs.rsp = 1 << 63,
                "#SS(0x1): pushing the frame of #UD on the stack at 0x8000000000000000 failed: \
                 0x7ffffffffffffff8 is not canonical",
            ),
            (
                |w| w.state.regs.rsp = 0,
                "#PF(0x2) at 0xfffffffffffffff8: pushing the frame of #UD on the stack at 0x0 failed: \
                 the PML4E at 0x9ff8 is not present (P=0)",
            ),
            (
                |w| w.flip(PT + 6 * 8, 1 << 30),
                "?: pushing the frame of #UD on the stack at 0x7000 failed: there is no RAM at 0x40006ff8",
            ),
            (
                |w| w.gate(6, Gate { ist: 2, ..Gate::interrupt(Gdt::CODE, HANDLER) }),
                "#PF(0x2) at 0xfffffffffffffff8: pushing the frame of #UD on the stack at 0x0 failed: \
                 the PML4E at 0x9ff8 is not present (P=0); IST2 in the TSS at 0x4000 is 0x0",
            ),
            (
                |w| {
                    w.gate(6, Gate { ist: 1, ..Gate::interrupt(Gdt::CODE, HANDLER) });
                    w.state.tr = X86State::real(0).tr;
                },
                "#PF(0x2) at 0xfffffffffffffff8: pushing the frame of #UD on the stack at 0x0 failed: \
                 the PML4E at 0x9ff8 is not present (P=0); there is no TSS (TR is null) to have IST1",
            ),
            (
                |w| {
                    w.gate(6, Gate { ist: 1, ..Gate::interrupt(Gdt::CODE, HANDLER) });
                    w.state.tr = Segment::null();
                },
                "#TS(0x1): there is no TSS (TR is null), and IST1 is needed",
            ),
            (
                |w| {
                    w.gate(6, Gate { ist: 7, ..Gate::interrupt(Gdt::CODE, HANDLER) });
                    w.state.tr.limit = 7 * 8 + 28 + 6;
                },
                "#TS(0x31): IST7 lies beyond the limit 0x5a of the TSS at 0x4000",
            ),
            (
                |w| {
                    w.gate(6, Gate { ist: 1, ..Gate::interrupt(Gdt::CODE, HANDLER) });
                    w.flip_pte(TSS, 1);
                },
                "#PF(0x0) at 0x4024: IST1 in the TSS at 0x4000 cannot be read: the PTE at 0xc020 is not present (P=0)",
            ),
        ],
    );
}

#[test]
fn a_bad_way_out_of_ring_3_is_found() {
    let ring3 = || World::long().ring3();
    check(
        ring3,
        &[
            (
                |w| w.put(TSS, &Tss64 { rsp: [0xffff_8000_0000_1000, 0, 0], ..Tss64::default() }.bytes()),
                "#PF(0x2) at 0xffff800000000ff8: pushing the frame of #UD on the stack at 0xffff800000001000 failed: \
                 the PML4E at 0x9800 is not present (P=0); RSP0 in the TSS at 0x4000 is 0xffff800000001000",
            ),
            (|w| w.state.tr = Segment::null(), "#TS(0x1): there is no TSS (TR is null), and RSP0 is needed"),
            (|w| w.state.tr.limit = 10, "#TS(0x31): RSP0 lies beyond the limit 0xa of the TSS at 0x4000"),
        ],
    );
    let gate = Gate::interrupt(USER_CODE, HANDLER);
    let mut same_ring = ring3();
    same_ring.gate(6, gate);
    assert_eq!(same_ring.deliver(UD).unwrap().cpl, 3);
    same_ring.flip_pte(STACK - 8, 4);
    let why = "the PTE at 0xc030 is a supervisor page (U=0), and the guest was in ring 3";
    let expected =
        format!("#PF(0x7) at 0x6ff8: pushing the frame of #UD on the stack at 0x7000 failed: {why}");
    assert_eq!(same_ring.fault(UD), expected);
}
