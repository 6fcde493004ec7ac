//! Gates, stacks and page faults, as the processor KVM runs takes them.

use strata_cpu::{
    Access, AccessKind, Gate, Gdt, Idt, IdtWidth, Mapping, PageSize, PageTables, Segment, SegmentKind,
    TableRegister, Tss64, X86State, walk,
};

use crate::machine::Machine;

const GDT: u64 = 0x500;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x4000;
const CODE: u64 = 0x7c00;
const HANDLER: u64 = 0x8000;
const TABLES: u64 = 0x9000;
const STACK: u64 = 0x7000;

const UD: u8 = 6;
const PF: u8 = 14;

fn prepare(machine: &Machine, idt: &Idt, state: &mut X86State, code: &[u8]) {
    machine.write(IDT, idt.bytes());
    machine.write(CODE, code);
    machine.write(HANDLER, &[0xf4]);
    state.idt = TableRegister { base: IDT, limit: idt.limit() };
    state.regs.rsp = STACK;
    machine.enter(state);
}

/// Low memory for ring 0, all of it, and what a test adds.
fn tables(machine: &Machine, more: &[Mapping]) -> PageTables {
    let mut builder = PageTables::new(TABLES);
    builder.map(Mapping::identity(0, 0x10_0000, PageSize::Size4K, Access::RWX)).unwrap();
    for mapping in more {
        builder.map(*mapping).unwrap();
    }
    let tables = builder.build();
    tables.write_to(&machine.memory).unwrap();
    tables
}

#[test]
fn a_32_bit_gate_leads_to_its_handler() {
    let Some(mut machine) = Machine::new("#UD through a 32-bit gate") else { return };
    machine.write(GDT, &Gdt::flat32().bytes());
    let mut idt = Idt::new(IdtWidth::Bits32);
    idt.set(UD, Gate::interrupt(Gdt::CODE, HANDLER)).unwrap();
    prepare(&machine, &idt, &mut X86State::protected(0x7c00, GDT), &[0x0f, 0x0b]); // ud2
    let after = machine.run_to_hlt();
    assert_eq!(
        (after.regs.rip, after.regs.rsp),
        (HANDLER + 1, STACK - 12),
        "EFLAGS, CS, EIP are on the stack"
    );
    assert_eq!(machine.word(STACK - 12).unwrap() & 0xffff_ffff, CODE);
}

#[test]
fn a_64_bit_gate_leads_to_its_handler_on_its_own_stack() {
    let Some(mut machine) = Machine::new("#UD through a 64-bit gate with a stack") else { return };
    let mut gdt = Gdt::long64();
    let tss = Segment { kind: SegmentKind::Tss { busy: false }, ..Segment::tss(0, TSS, 0x67) };
    assert_eq!(gdt.push_system(&tss), Ok(0x18));
    machine.write(GDT, &gdt.bytes());
    machine.write(TSS, &Tss64 { ist: [0, 0, 0x6000, 0, 0, 0, 0], ..Default::default() }.bytes());
    let mut state = X86State::long(CODE, tables(&machine, &[]).cr3(), GDT);
    state.gdt.limit = gdt.limit();
    let mut idt = Idt::new(IdtWidth::Bits64);
    idt.set(UD, Gate { ist: 3, ..Gate::interrupt(Gdt::CODE, HANDLER) }).unwrap();
    // mov eax, 0x18; ltr ax; ud2
    prepare(&machine, &idt, &mut state, &[0xb8, 0x18, 0, 0, 0, 0x0f, 0x00, 0xd8, 0x0f, 0x0b]);
    let after = machine.run_to_hlt();
    assert_eq!((after.regs.rip, after.regs.rsp), (HANDLER + 1, 0x6000 - 40));
    assert_eq!(machine.word(0x6000 - 40), Some(CODE + 8));
    assert_eq!(after.tr, Segment::tss(0x18, TSS, 0x67), "LTR has made it busy");
}

#[test]
fn page_faults_are_those_the_walker_foretells() {
    let Some(mut machine) = Machine::new("page faults against the walker") else { return };
    let page = |virt, access| Mapping { virt, phys: 0x20_0000, len: 0x1000, page: PageSize::Size4K, access };
    let tables = tables(
        &machine,
        &[page(0x40_0000, Access::R), page(0x40_1000, Access::RW), page(0x40_2000, Access::RX)],
    );
    machine.write(GDT, &Gdt::long64().bytes());
    machine.write(0x20_0000, &[0xf4; 16]);
    let mut idt = Idt::new(IdtWidth::Bits64);
    idt.set(PF, Gate::interrupt(Gdt::CODE, HANDLER)).unwrap();
    // Each with RDI at the address: mov al, [rdi]; mov [rdi], al; jmp rdi. Then hlt.
    let accesses = [
        (AccessKind::Read, [0x8a, 0x07, 0xf4]),
        (AccessKind::Write, [0x88, 0x07, 0xf4]),
        (AccessKind::Fetch, [0xff, 0xe7, 0xf4]),
    ];
    let mut faults = 0;
    for virt in [0x40_0008, 0x40_1008, 0x40_2008, 0x40_3008, 0x8000_0008] {
        for (kind, code) in accesses {
            let mut state = X86State::long(CODE, tables.cr3(), GDT);
            state.regs.rdi = virt;
            prepare(&machine, &idt, &mut state, &code);
            let after = machine.run_to_hlt();
            let foretold = walk(|at| machine.word(at), &state.walk_context(), virt, kind);
            match foretold {
                Ok(_) => assert_ne!(after.regs.rip, HANDLER + 1, "{kind} of {virt:#x}"),
                Err(fault) => {
                    assert_eq!((after.regs.rip, after.cr2), (HANDLER + 1, virt), "{fault}");
                    let code = machine.word(after.regs.rsp).unwrap();
                    assert_eq!(fault.error_code.map(|code| u64::from(code.bits())), Some(code), "{fault}");
                    faults += 1;
                }
            }
        }
    }
    assert_eq!(faults, 2 + 1 + 1 + 3 + 3);
}
