use strata_cpu::{Gate, Gdt, RFlags, Segment};

use crate::fault::tests::{Set, nothing, said, table};
use crate::testing::{CODE, GDT, IDT, Lab, RAM, STACK};

#[test]
fn segment_loads() {
    let mov_ds: &[u8] = &[0x8e, 0xd8];
    table(
        Lab::long,
        &[
            (mov_ds, nothing, "runs"),
            (mov_ds, |lab| lab.state.regs.rax = 0x10, "runs"),
            (mov_ds, |lab| lab.state.regs.rax = 0x48, "#GP: selector 0x48 lies beyond the GDT's limit 0x17"),
            (
                mov_ds,
                |lab| {
                    lab.state.ldt = Segment::null();
                    lab.state.regs.rax = 0x14;
                },
                "#GP: selector 0x14 is of the LDT, and there is none (LDTR is null)",
            ),
            (
                mov_ds,
                |lab| {
                    lab.state.gdt.base = 0;
                    lab.state.regs.rax = 8;
                },
                "#PF reading 0x8: the PTE at 0x13000 is not present (P=0)",
            ),
            (
                mov_ds,
                |lab| {
                    lab.write(GDT, &[0; 24]);
                    lab.state.regs.rax = 0x10;
                },
                "#GP: selector 0x10 names the descriptor at 0x4010, which is not a segment that can be read but a null descriptor",
            ),
            (
                mov_ds,
                |lab| {
                    let absent = Segment { present: false, ..Segment::data(0) };
                    lab.state.regs.rax = lab.gdt(&[absent])[0].into();
                },
                "#NP: selector 0x18 names the descriptor at 0x4018, which is not present (P=0)",
            ),
            (
                mov_ds,
                |lab| {
                    lab.ring3();
                    lab.state.regs.rax = 0x13;
                },
                "#GP: selector 0x13 (RPL 3) names a segment of DPL 0, which ring 3 may not load into DS",
            ),
        ],
    );
}

#[test]
fn stack_and_system_segments() {
    let mov_ss: &[u8] = &[0x8e, 0xd0];
    table(
        Lab::long,
        &[
            (mov_ss, nothing, "runs"), // null: 64-bit code of ring 0 does without
            (
                mov_ss,
                |lab| lab.state.regs.rax = 8,
                "#GP: selector 0x8 names the descriptor at 0x4008, which is not a data segment that can be written but a code segment",
            ),
            (
                mov_ss,
                |lab| {
                    let absent = Segment { present: false, ..Segment::data(0) };
                    lab.state.regs.rax = lab.gdt(&[absent])[0].into();
                },
                "#SS: selector 0x18 names the descriptor at 0x4018, which is not present (P=0)",
            ),
            (
                &[0x0f, 0xa1],
                |lab| lab.write(STACK, &[0x48]),
                "#GP: selector 0x48 lies beyond the GDT's limit 0x17",
            ), // pop fs
            (
                &[0x0f, 0x00, 0xd8],
                |lab| lab.state.regs.rax = 0x10,
                "#GP: selector 0x10 names the descriptor at 0x4010, which is not an available TSS but a data segment",
            ),
            (&[0x0f, 0x00, 0xd8], nothing, "#GP: the selector for TR is null"),
            (&[0x0f, 0x00, 0xd0], nothing, "runs"), // lldt 0
        ],
    );
    table(
        Lab::protected,
        &[
            (mov_ss, nothing, "#GP: the selector for SS is null"),
            (&[0xea, 0, 0, 0x10, 0, 8, 0], nothing, "runs"),
            (&[0xea, 0, 0, 0x10, 0, 0, 0], nothing, "#GP: the selector for CS is null"),
            (
                &[0xea, 0, 0, 0x10, 0, 0x10, 0],
                nothing,
                "#GP: selector 0x10 names the descriptor at 0x4010, which is not a code segment but a data segment",
            ),
        ],
    );
}

#[test]
fn returns() {
    let frame = |lab: &mut Lab, words: [u64; 5]| {
        lab.write(STACK - 0x100, &words.map(u64::to_le_bytes).concat());
        lab.state.regs.rsp = STACK - 0x100;
    };
    let iretq = |words: [u64; 5]| {
        let mut lab = Lab::long();
        lab.code(&[0x48, 0xcf]);
        frame(&mut lab, words);
        said(&lab)
    };
    assert_eq!(iretq([CODE, 8, 2, STACK, 0x10]), "runs");
    assert_eq!(iretq([CODE, 8, 2, STACK, 0]), "runs");
    assert_eq!(iretq([CODE, 0, 2, STACK, 0x10]), "#GP: the selector for CS is null");
    let data =
        "#GP: selector 0x10 names the descriptor at 0x4010, which is not a code segment but a data segment";
    assert_eq!(iretq([CODE, 0x10, 2, STACK, 0x10]), data);
    assert_eq!(iretq([CODE, 0x48, 2, STACK, 0x10]), "#GP: selector 0x48 lies beyond the GDT's limit 0x17");
    assert_eq!(
        iretq([1 << 63, 8, 2, STACK, 0x10]),
        "#GP: it goes to 0x8000000000000000, which is not canonical"
    );
    let ring3 = "#GP: selector 0xb (RPL 3) names a segment of DPL 0, which ring 3 may not load into CS";
    assert_eq!(iretq([CODE, 0xb, 2, STACK, 0x13]), ring3);
    let mut lab = Lab::long();
    lab.code(&[0x48, 0xcf]);
    frame(&mut lab, [CODE, 8, 2, STACK, 0x10]);
    lab.state.regs.rflags |= RFlags::NT;
    assert_eq!(said(&lab), "#GP: RFLAGS.NT is set, and there are no task switches in long mode");
    // Two words of the frame lie behind the last page of the stack.
    let mut lab = Lab::long();
    lab.code(&[0x48, 0xcf]);
    lab.write(RAM - 16, &[CODE.to_le_bytes(), 8_u64.to_le_bytes()].concat());
    lab.state.regs.rsp = RAM - 16;
    assert_eq!(said(&lab), "#PF reading 0x200000: the PDE at 0x12008 is not present (P=0)");
    table(
        Lab::long,
        &[
            (
                &[0xc3],
                |lab| lab.write(STACK, &(1_u64 << 63).to_le_bytes()),
                "#GP: it goes to 0x8000000000000000, which is not canonical",
            ),
            (&[0xc3], |lab| lab.write(STACK, &CODE.to_le_bytes()), "runs"),
            (
                &[0xff, 0xe0],
                |lab| lab.state.regs.rax = 1 << 63,
                "#GP: it goes to 0x8000000000000000, which is not canonical",
            ),
            (&[0xff, 0xe0], nothing, "runs"), // what is wrong there is the next instruction's
        ],
    );
}

#[test]
fn software_interrupts() {
    let gates: Set = |lab| lab.idt(&[(3, Gate::interrupt(Gdt::CODE, CODE))]);
    table(
        Lab::long,
        &[
            (&[0xcd, 0x80], gates, "#GP: IDT entry 128 lies beyond the IDT's limit 0x3f"),
            (&[0xcc], gates, "runs"),
            (&[0xcd, 0x02], gates, "#GP: IDT entry 2 at 0x5020 is no interrupt or trap gate (type 0x0)"),
            (
                &[0xcc],
                |lab| {
                    lab.idt(&[(3, Gate::interrupt(Gdt::CODE, CODE))]);
                    lab.ring3();
                },
                "#GP: IDT entry 3 at 0x5030 is for rings up to its DPL 0, and the guest was in ring 3",
            ),
            (
                &[0xcc],
                |lab| {
                    lab.idt(&[(3, Gate::interrupt(Gdt::CODE, CODE))]);
                    lab.write(IDT + 0x35, &[0x0e]);
                },
                "#NP: IDT entry 3 at 0x5030 is not present (P=0)",
            ),
        ],
    );
}
