//! A death for each kind of broken guest, made by hand: what must be found.

use strata_cpu::{
    Access, Cr4, Efer, Gate, Gdt, Mapping, PageEntry, PageSize, RFlags, Segment, TableRegister, Tss64,
};
use strata_vmm::vcpu::ExitRecord;
use strata_vmm::{Budget, Stop};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::View;
use crate::testing::{CODE, GDT, Lab, RAM, STACK, TABLES};

const HIGH: u64 = 0xffff_8000_0000_0000;

fn explained(lab: &Lab, stop: &Stop, exits: &[LastExit], trail: &[u64]) -> Explanation {
    let view = View::new(&lab.memory, &lab.state);
    let machine = &Facts::default();
    explain(&Death { stop, view, vcpu: None, symbols: None, exits, trail, machine })
}

/// A triple fault at RIP, of these bytes; each of the sentences must be found.
fn triple(lab: &Lab, code: &[u8], wanted: &[&str]) {
    if !code.is_empty() {
        lab.code(code);
    }
    let explanation = explained(lab, &Stop::TripleFault, &[], &[]);
    let text = explanation.to_string();
    assert!(explanation.is_accusation(), "{text}");
    assert!(text.starts_with("the guest died of a triple fault"), "{text}");
    for sentence in wanted {
        assert!(text.contains(sentence), "{sentence:?} is not in\n{text}");
    }
}

fn page(virt: u64, access: Access) -> Mapping {
    Mapping { virt, phys: 0x9000, len: 0x1000, page: PageSize::Size4K, access }
}

/// With a GDT, and an IDT that has gates for these vectors, all leading to a `hlt`.
fn with_gates(vectors: &[u8]) -> Lab {
    let mut lab = Lab::long();
    let gates: Vec<_> = vectors.iter().map(|&vector| (vector, Gate::interrupt(Gdt::CODE, 0x7000))).collect();
    lab.idt(&gates);
    lab.write(0x7000, &[0xf4]);
    lab
}

const UD2: &[u8] = &[0x0f, 0x0b];
const STORE: &[u8] = &[0x48, 0x89, 0x07]; // mov [rdi], rax

#[test]
fn null_write() {
    let wanted = [
        "#PF at 0x100000 writing 0x0: the PTE at 0x13000 is not present (P=0)",
        "0x100000: mov [rdi],rax    48 89 07",
        "> PTE      0 at 0x000000013000",
        "delivering #PF failed: IDT entry 14 lies beyond the IDT's limit 0x0",
        "delivering #DF failed the same way: IDT entry 8 lies beyond the IDT's limit 0x0: triple fault",
    ];
    triple(&Lab::long(), STORE, &wanted);
}

#[test]
fn read_only_write() {
    let mut lab = with_gates(&[32]);
    lab.map(&[page(HIGH, Access::R)]);
    lab.state.regs.rdi = HIGH;
    let wanted = [
        "#PF at 0x100000 writing 0xffff800000000000: the PTE at 0x18000 is present but read-only (W=0), and CR0.WP is set",
        "IDT entry 14 at 0x50e0 is not present (P=0)",
        "IDT entry 8 at 0x5080 is not present (P=0)",
        "IDT entry 14 at 0x50e0 is not present (P=0): it is empty (type 0x0), which raises #GP: a double fault\n",
        "look at: the page at 0xffff800000000000, mapped read-only by the PTE at 0x18000",
        "look at: the handler of #PF: IDTR has base 0x5000",
    ];
    triple(&lab, STORE, &wanted);
}

#[test]
fn nx_fetch() {
    let mut lab = Lab::long();
    lab.map(&[page(HIGH, Access::RW)]);
    // call rax, whose return address is on the stack.
    lab.code(&[0xff, 0xd0]);
    lab.write(STACK, &(CODE + 2).to_le_bytes());
    lab.state.regs.rip = HIGH;
    let wanted = [
        "#PF executing at 0xffff800000000000: the PTE at 0x18000 forbids execution (NX=1)",
        "the top of the stack is the return address of the call at 0x100000",
        "look at: the page at 0xffff800000000000, mapped no-execute by the PTE at 0x18000",
    ];
    triple(&lab, &[], &wanted);
}

#[test]
fn reserved_bit() {
    let mut lab = Lab::long();
    lab.state.efer -= Efer::NXE;
    let entry = 0x9000 | (PageEntry::PRESENT | PageEntry::NO_EXECUTE).bits();
    lab.memory.write_obj(entry, GuestAddress(0x1_3000)).unwrap();
    triple(&lab, STORE, &["the PTE at 0x13000 has reserved bits 0x8000000000000000 set"]);
}

#[test]
fn noncanonical() {
    let mut lab = Lab::long();
    lab.state.regs.rdi = 1 << 63;
    triple(&lab, STORE, &["#GP at 0x100000 writing 0x8000000000000000: 0x8000000000000000 is not canonical"]);
}

#[test]
fn wild_cr3() {
    let mut lab = Lab::long();
    lab.state.cr3 = 0x80_0000;
    triple(
        &lab,
        &[],
        &[
            "there is no RAM at 0x800000, where CR3 points",
            "look at: CR3, 0x800000: it lies beyond the end of RAM at 0x200000",
        ],
    );
    // A kernel that notices as soon as it is loaded.
    let mut lab = Lab::long();
    lab.state.regs.rax = 0x80_0000;
    let wanted = ["CR3 is loaded at 0x100000", "mov cr3,rax", "there is no RAM at 0x800000"];
    triple(&lab, &[0x0f, 0x22, 0xd8], &wanted);
}

#[test]
fn table_loop() {
    let mut lab = Lab::long();
    lab.memory.write_obj(TABLES | 3, GuestAddress(TABLES + 8)).unwrap();
    lab.state.regs.rip = 1 << 39 | 2 << 30;
    triple(
        &lab,
        &[],
        &[
            "#PF executing at 0x8080000000: the PDPTE at 0x10010 is not present (P=0)",
            "look at: PML4E 1 at 0x10008: it points back at its own table, 0x10000",
        ],
    );
}

#[test]
fn idt_entry_absent() {
    let wanted = [
        "#UD at 0x100000",
        "IDT entry 6 at 0x5060 is not present (P=0)",
        "IDT entry 8 at 0x5080",
        ": triple fault",
    ];
    triple(&with_gates(&[32]), UD2, &wanted);
}

#[test]
fn idt_too_short() {
    let mut lab = with_gates(&[32]);
    lab.state.idt.limit = 1;
    let wanted = ["#DE at 0x100000: it divides by zero", "IDT entry 0 lies beyond the IDT's limit 0x1"];
    triple(&lab, &[0xf7, 0xf1], &wanted);
}

/// #UD with this gate for all that matters.
fn with_gate(gate: Gate) -> Lab {
    let mut lab = Lab::long();
    lab.idt(&[6, 8, 13].map(|vector| (vector, gate)));
    lab
}

#[test]
fn idt_bad_selector() {
    let wanted = ["IDT entry 6 names selector 0x38, which lies beyond the GDT's limit 0x17"];
    triple(&with_gate(Gate::interrupt(0x38, 0x7000)), UD2, &wanted);
}

#[test]
fn idt_data_selector() {
    let wanted = ["IDT entry 6 names selector 0x10, which is not a code segment"];
    triple(&with_gate(Gate::interrupt(Gdt::DATA, 0x7000)), UD2, &wanted);
}

#[test]
fn idt_unmapped() {
    let mut lab = Lab::long();
    lab.state.idt = TableRegister { base: HIGH, limit: 0xfff };
    let wanted = [
        "the IDT's page cannot be read: the PML4E at 0x10800 is not present (P=0)",
        "look at: lidt: IDTR has base 0xffff8",
    ];
    triple(&lab, UD2, &wanted);
}

#[test]
fn stack_unmapped() {
    let mut lab = with_gates(&[6, 8, 14]);
    lab.state.regs.rsp = HIGH;
    let wanted = [
        "pushing the frame of #UD on the stack at 0xffff800000000000 failed",
        "look at: the stack: RSP was 0xffff8",
    ];
    triple(&lab, UD2, &wanted);
}

#[test]
fn stack_overflow() {
    let mut lab = with_gates(&[8, 14]);
    // 500 return addresses from the guard page at 0 up.
    lab.state.regs.rsp = 0x1000;
    lab.write(0x1000, &(CODE + 5).to_le_bytes().repeat(500));
    let wanted = [
        "#PF at 0x100000 writing 0xff8: the PTE at 0x13000 is not present (P=0)",
        "pushing the frame of #PF on the stack at 0x1000 failed",
        "the stack holds 500 times the return address 0x100005, one every 8 bytes: a recursion",
    ];
    triple(&lab, &[0xe8, 0xfb, 0xff, 0xff, 0xff], &wanted);
}

#[test]
fn ist_unset() {
    let mut lab = with_gate(Gate { ist: 1, ..Gate::interrupt(Gdt::CODE, 0x7000) });
    lab.state.tr = Segment::tss(0x18, 0x6000, 0x67);
    triple(&lab, UD2, &["IST1 in the TSS at 0x6000 is 0x0", "look at: IST1"]);
}

#[test]
fn ring3_no_tss() {
    let mut lab = with_gates(&[6, 8, 14]);
    lab.ring3();
    lab.state.tr = Segment::null();
    triple(&lab, UD2, &["#UD at 0x100000", "there is no TSS (TR is null)"]);
    let mut lab = with_gates(&[6, 8, 14]);
    lab.ring3();
    lab.write(0x6000, &Tss64 { rsp: [HIGH + 0x1000, 0, 0], ..Tss64::default() }.bytes());
    lab.state.tr = Segment::tss(0x18, 0x6000, 0x67);
    triple(
        &lab,
        UD2,
        &[
            "RSP0 in the TSS at 0x6000 is 0xffff800000001000, which raises #PF\n",
            "delivering #PF failed for the same reason, which raises #PF: a double fault\n",
            "delivering #DF failed for the same reason: triple fault\n",
        ],
    );
}

#[test]
fn gdt_gone() {
    let mut lab = Lab::long();
    lab.state.regs.rax = 0x48;
    triple(&lab, &[0x8e, 0xd8], &["#GP at 0x100000: selector 0x48 lies beyond the GDT's limit 0x17"]);
    let lab = with_gates(&[6, 8, 13]);
    lab.write(GDT, &[0; 24]);
    triple(&lab, UD2, &["IDT entry 6 names selector 0x8, which is not a code segment"]);
}

#[test]
fn bad_iretq() {
    let lab = Lab::long();
    // With the error code of a #PF at CODE + 0x80 left where it was.
    lab.write(STACK, &[0, CODE + 0x80, 8, 2, STACK].map(u64::to_le_bytes).concat());
    let wanted = [
        "selector 0x80 lies beyond",
        "look at: the frame of iretq: the error code 0x0 is still on the stack",
    ];
    triple(&lab, &[0x48, 0xcf], &wanted);
    lab.write(STACK, &[CODE, 0x10, 2, STACK, 0x10].map(u64::to_le_bytes).concat());
    triple(
        &lab,
        &[0x48, 0xcf],
        &[
            "#GP at 0x100000: selector 0x10 names the descriptor at 0x4010, which is not a code segment",
            "iretq",
        ],
    );
}

#[test]
fn cr4_pae_cleared() {
    triple(
        &Lab::long(),
        &[0x0f, 0x22, 0xe0],
        &[
            "#GP at 0x100000: it clears CR4.PAE in long mode",
            "mov cr4,rax",
            "look at: the value for CR4: CR4.PAE (bit 5) has to stay set",
        ],
    );
}

#[test]
fn wrmsr_reserved() {
    let mut lab = Lab::long();
    lab.state.regs.rcx = Efer::MSR.into();
    lab.state.regs.rax = 0xf00;
    triple(&lab, &[0x0f, 0x30], &["#GP at 0x100000: it sets the reserved bits 0x200 of EFER"]);
    lab.state.regs.rcx = 0xdead_beef;
    triple(&lab, &[0x0f, 0x32], &["perhaps #GP at 0x100000: there is probably no MSR 0xdeadbeef"]);
}

#[test]
fn sse_without_osfxsr() {
    let wanted =
        ["#UD at 0x100000: it is an SSE instruction, and CR4.OSFXSR is clear", "look at: CR4.OSFXSR (bit 9)"];
    triple(&Lab::long(), &[0x0f, 0x28, 0xc1], &wanted);
}

#[test]
fn handler_faults() {
    let mut lab = with_gates(&[6, 8, 14]);
    // The handler is a ud2 itself; its frames fill the stack from the guard page at 0 up.
    lab.state.regs.rip = 0x7000;
    lab.state.regs.rsp = 0x1018;
    let frame = [0x7000, 8, 2, 0x1018, 0x10, 0].map(u64::to_le_bytes).concat();
    lab.write(0x1018, &frame.repeat(40));
    let wanted = [
        "#UD at 0x7000",
        "pushing the frame of #UD on the stack at 0x1018 failed",
        "the stack holds 40 frames of 0x7000, one every 48 bytes: the handler of #UD raises #UD itself, again and again",
    ];
    triple(&lab, UD2, &wanted);
    // Before that, the next round is all that can be seen.
    lab.state.regs.rsp = STACK;
    triple(&lab, UD2, &["#UD went to its handler at 0x7000"]);
}

#[test]
fn into_zeroes() {
    let mut lab = Lab::long();
    lab.state.regs.rip = 0x18_0000;
    lab.state.regs.rax = HIGH;
    let wanted =
        ["#PF at 0x180000 writing 0xffff800000000000", "add [rax],al    00 00", "the guest runs zeroes"];
    triple(&lab, &[], &wanted);
    let came = explained(&lab, &Stop::TripleFault, &[], &[0x10_0000, 0x10_0010, 0x18_0000]).to_string();
    assert!(came.contains("it came from 0x100010"), "{came}");
    lab.code(b"lea it be, text..");
    triple(&lab, &[], &["the guest runs text: the memory at 0x180000 holds \"lea it be, text\""]);
}

#[test]
fn real_mode_ivt() {
    let mut lab = Lab::real();
    lab.state.idt.limit = 0;
    triple(&lab, UD2, &["#UD at 0x7c00", "IDT entry 6 lies beyond the IDT's limit 0x0"]);
    // A vector that leads to where no RAM is: the guest has gone there.
    let mut lab = Lab::real();
    lab.state.cs = Segment::real(0xffff, strata_cpu::SegmentKind::CODE);
    lab.state.cs.base = 0x40_0000;
    let text = explained(&lab, &emulation(&[]), &[], &[]).to_string();
    assert!(text.contains("there is no RAM at 0x407c00"), "{text}");
}

/// KVM's internal error 1 with these bytes.
fn emulation(bytes: &[u8]) -> Stop {
    let mut payload = [0; 16];
    payload[0] = u8::try_from(bytes.len()).unwrap();
    payload[1..=bytes.len()].copy_from_slice(bytes);
    let words = [payload[..8].try_into().unwrap(), payload[8..].try_into().unwrap()];
    Stop::InternalError { suberror: 1, data: [1].into_iter().chain(words.map(u64::from_le_bytes)).collect() }
}

#[test]
fn mmio_unsupported() {
    let popcnt = [0xf3, 0x0f, 0xb8, 0x07];
    let mut lab = Lab::long();
    lab.code(&popcnt);
    lab.state.regs.rdi = 0x4000_0000;
    let explanation = explained(&lab, &emulation(&popcnt), &[], &[]);
    let text = explanation.to_string();
    assert!(explanation.is_accusation());
    for wanted in
        ["0x100000: popcnt eax,[rdi]    f3 0f b8 07", "reading 0x40000000, which is neither RAM nor a device"]
    {
        assert!(text.contains(wanted), "{text}");
    }
    // On RAM it is the host that cannot.
    lab.state.regs.rdi = 0x9000;
    assert!(!explained(&lab, &emulation(&popcnt), &[], &[]).is_accusation());
    // Bytes that cannot be read from here are taken from the error.
    lab.state.regs.rip = 0x100;
    let text = explained(&lab, &emulation(&popcnt), &[], &[]).to_string();
    assert!(text.contains("0x100: f3 0f b8 07"), "{text}");
}

fn budget() -> Stop {
    Stop::Budget(Budget::Exits(1000))
}

#[test]
fn poll_nobody() {
    let mut lab = Lab::long();
    lab.code(&[0xec]);
    lab.state.regs.rip = CODE + 1;
    let registers = strata_cpu::Registers { rip: CODE, ..lab.state.regs };
    let read = |port| LastExit {
        registers: Some(registers),
        exit: ExitRecord::PioRead { port, width: 1, data: vec![0xff] },
    };
    let explanation = explained(&lab, &budget(), &vec![read(0x1f7); 256], &[]);
    let text = explanation.to_string();
    assert!(explanation.is_accusation(), "{text}");
    assert!(text.contains("it polls port 0x1f7 at 0x100000, where no device is"), "{text}");
    assert!(text.contains("in al,dx"), "{text}");
    // Many ports: nothing is said of any.
    let many: Vec<_> = (0..256).map(read).collect();
    let explanation = explained(&lab, &budget(), &many, &[]);
    let text = explanation.to_string();
    assert!(!explanation.is_accusation() && !text.contains("polls"), "{text}");
    assert!(text.contains("its last 256 exits: 1 in from port 0x0 (nobody), "), "{text}");
    assert!(text.ends_with(", 252 others"), "{text}");
    // Writing is not asking.
    let write = ExitRecord::PioWrite { port: 0x80, width: 1, data: vec![0] };
    let unknown = LastExit { registers: None, exit: write.clone() };
    assert!(!explained(&lab, &budget(), &vec![unknown; 256], &[]).is_accusation());
    // RIP is behind what was written, and the instruction is named all the same.
    lab.write(CODE, &[0xe6, 0x80, 0xeb, 0xfc]);
    let behind = strata_cpu::Registers { rip: CODE + 2, ..lab.state.regs };
    let write = LastExit { registers: Some(behind), exit: write };
    let text = explained(&lab, &budget(), &vec![write; 256], &[]).to_string();
    assert!(
        text.contains("writes of port 0x80, where no device is, by the instruction at 0x100000\n    0x100000: out 0x80,al"),
        "{text}"
    );
    lab.write(CODE, &[0xec]);
    // A device that is there may have its reasons.
    let facts = Facts {
        devices: vec![DeviceRange { ports: true, first: 0x1f0, last: 0x1f7, name: "ide" }],
        ..Facts::default()
    };
    let (stop, exits) = (budget(), vec![read(0x1f7); 256]);
    let view = View::new(&lab.memory, &lab.state);
    let death =
        Death { stop: &stop, view, vcpu: None, symbols: None, exits: &exits, trail: &[], machine: &facts };
    let explanation = explain(&death);
    assert!(
        !explanation.is_accusation() && explanation.to_string().contains("of port 0x1f7, of ide"),
        "{explanation}"
    );
}

#[test]
fn spins() {
    let stop = Stop::Budget(Budget::Wall(std::time::Duration::from_secs(1)));
    let mut lab = Lab::long();
    lab.code(&[0xeb, 0xfe]);
    let explanation = explained(&lab, &stop, &[], &[]);
    let text = explanation.to_string();
    assert!(explanation.is_accusation(), "{text}");
    assert!(
        text.contains("it spins in one instruction at 0x100000, and interrupts are off (IF=0)"),
        "{text}"
    );
    lab.code(&[0xf3, 0x90, 0xeb, 0xfc]);
    let trail = [CODE, CODE + 2].repeat(20);
    let text = explained(&lab, &stop, &[], &trail).to_string();
    assert!(
        text.contains("it spins in 2 instructions between 0x100000 and 0x100002, and interrupts are off"),
        "{text}"
    );
    // With interrupts on it may wait for one.
    lab.state.regs.rflags |= RFlags::IF;
    assert!(!explained(&lab, &stop, &[], &trail).is_accusation());
    // Without steps, and with many different ones, nothing is claimed.
    lab.state.regs.rflags -= RFlags::IF;
    assert!(!explained(&lab, &stop, &[], &[]).is_accusation());
    let long: Vec<_> = (0..64).map(|step| CODE + step).collect();
    assert!(!explained(&lab, &stop, &[], &long).is_accusation());
}

#[test]
fn hlt_forever() {
    let mut lab = Lab::long();
    lab.code(&[0xf4]);
    lab.state.regs.rip = CODE + 1;
    lab.state.regs.rflags |= RFlags::IF;
    let explanation = explained(&lab, &Stop::Halted, &[], &[]);
    let text = explanation.to_string();
    assert!(explanation.is_accusation(), "{text}");
    assert!(
        text.contains(
            "hlt at 0x100000, with interrupts on (IF=1), in a machine that has no interrupt controller"
        ),
        "{text}"
    );
    lab.state.regs.rflags -= RFlags::IF;
    assert!(!explained(&lab, &Stop::Halted, &[], &[]).is_accusation(), "cli; hlt is an end");
}

#[test]
fn a_guest_that_ran_to_ram_end_is_told_so() {
    let mut lab = Lab::long();
    lab.state.regs.rip = RAM - 1;
    lab.code(&[0x48]);
    lab.state.cr4 |= Cr4::PGE;
    triple(&lab, &[], &["#PF at 0x1fffff fetching 0x200000: the PDE at 0x12008 is not present (P=0)"]);
}
