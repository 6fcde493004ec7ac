//! Deliveries that go wrong: where KVM's processor ends is where `deliver_all` says.

use std::path::Path;

use kvm_ioctls::VcpuExit;
use strata_cpu::{
    Access, Exception, Gate, Gdt, Idt, IdtWidth, Mapping, PageSize, PageTables, TableRegister, X86State,
    deliver_all,
};

use crate::machine::{Machine, not_run};

const GDT: u64 = 0x500;
const IDT: u64 = 0x2000;
const CODE: u64 = 0x7c00;
/// A `hlt` for each vector, this far apart.
const HANDLERS: u64 = 0x8000;
const APART: u64 = 16;
const TABLES: u64 = 0x9000;
const STACK: u64 = 0x7000;
/// Not mapped.
const NOWHERE: u64 = 0x80_0000;

/// An instruction, and what it raises.
struct Faulty {
    name: &'static str,
    code: &'static [u8],
    raises: Exception,
}

const FAULTY: [Faulty; 4] = [
    Faulty { name: "ud2", code: &[0x0f, 0x0b], raises: Exception::UD },
    // With RCX = 0.
    Faulty { name: "div ecx", code: &[0xf7, 0xf1], raises: Exception::DE },
    // With RDI = 0x11, which lies beyond the GDT: mov es, edi
    Faulty { name: "mov es", code: &[0x8e, 0xc7], raises: Exception::gp(0xfff8) },
    // mov [rsi], al
    Faulty { name: "mov [rsi]", code: &[0x88, 0x06], raises: Exception::pf(NOWHERE, 2) },
];

/// Whether the host delivers what a failed delivery raises. KVM without a processor's help (PVM) does not: whatever
/// fails, it goes on with #DF.
fn delivers_in_turn(what: &str) -> bool {
    let pvm = Path::new("/sys/module/kvm_pvm").exists();
    if pvm {
        not_run(what, "this host's KVM (PVM) makes every failed delivery a double fault");
    }
    !pvm
}

struct World {
    machine: Machine,
    state: X86State,
    idt: Idt,
}

impl World {
    /// A gate and a handler for each of `vectors`.
    fn new(what: &str, vectors: &[u8]) -> Option<Self> {
        let machine = Machine::new(what)?;
        machine.write(GDT, &Gdt::long64().bytes());
        let low = Mapping::identity(0, 0x10_0000, PageSize::Size4K, Access::RWX);
        let tables = PageTables::new(TABLES).map(low).unwrap().build();
        tables.write_to(&machine.memory).unwrap();
        let mut state = X86State::long(CODE, tables.cr3(), GDT);
        state.regs.rsp = STACK;
        state.regs.rdi = 0xfff8;
        state.regs.rsi = NOWHERE;
        let mut idt = Idt::new(IdtWidth::Bits64);
        for vector in vectors {
            let handler = HANDLERS + u64::from(*vector) * APART;
            machine.write(handler, &[0xf4]);
            idt.set(*vector, Gate::interrupt(Gdt::CODE, handler)).unwrap();
        }
        state.idt = TableRegister { base: IDT, limit: idt.limit() };
        Some(Self { machine, state, idt })
    }

    /// Runs `faulty`; both have to agree. Says how it ended.
    fn check(&mut self, faulty: &Faulty) -> String {
        self.machine.write(IDT, self.idt.bytes());
        self.machine.write(CODE, faulty.code);
        self.machine.enter(&self.state);
        let chain = deliver_all(|at| self.machine.word(at), &self.state, faulty.raises);
        let tried: Vec<_> = chain.attempts.iter().map(|attempt| attempt.exception.to_string()).collect();
        let exit = self.machine.vcpu.run().unwrap();
        let (halted, dead) = (matches!(exit, VcpuExit::Hlt), matches!(exit, VcpuExit::Shutdown));
        let exit = format!("{exit:?}");
        let after = self.machine.state();
        if let Some(reached) = chain.delivered() {
            assert!(halted, "{}: {exit} instead of {tried:?}", faulty.name);
            let seen = (after.regs.rip, after.regs.rsp, after.cr2);
            let foretold = (reached.handler + 1, reached.stack, reached.state.cr2);
            assert_eq!(seen, foretold, "{}: {tried:?}", faulty.name);
            // Its error code lies on top of the frame. What a failed delivery pushes is not compared: emulators of
            // hardware leave EXT out, and QEMU has the wrong vector in it.
            if let (Some(code), 1) = (faulty.raises.error_code, tried.len()) {
                assert_eq!(self.machine.word(reached.stack), Some(code.into()), "{}", faulty.name);
            }
            format!("{} handled", tried.join(" "))
        } else {
            assert!(chain.is_triple_fault() && dead, "{}: {exit} instead of {tried:?}", faulty.name);
            format!("{} shutdown", tried.join(" "))
        }
    }

    fn ends(&mut self) -> Vec<String> {
        FAULTY.iter().map(|faulty| self.check(faulty)).collect()
    }
}

#[test]
fn with_good_gates_handlers_are_reached() {
    let Some(mut world) = World::new("good gates", &[0, 6, 13, 14]) else { return };
    assert_eq!(world.ends(), ["#UD handled", "#DE handled", "#GP(0xfff8) handled", "#PF(0x2) handled"]);
}

#[test]
fn without_an_idt_everything_is_a_triple_fault() {
    let Some(mut world) = World::new("no IDT", &[]) else { return };
    let shutdowns = [
        "#UD #GP(0x33) #DF(0x0) shutdown",
        "#DE #DF(0x0) shutdown",
        "#GP(0xfff8) #DF(0x0) shutdown",
        "#PF(0x2) #DF(0x0) shutdown",
    ];
    assert_eq!(world.ends(), shutdowns);
}

#[test]
fn absent_and_empty_entries_raise_what_the_manual_says() {
    let what = "absent entries";
    let Some(mut world) = World::new(what, &[8, 11, 13]).filter(|_| delivers_in_turn(what)) else { return };
    let ends =
        ["#UD #GP(0x33) handled", "#DE #DF(0x0) handled", "#GP(0xfff8) handled", "#PF(0x2) #DF(0x0) handled"];
    assert_eq!(world.ends(), ends);
}

#[test]
fn a_selector_that_is_no_code_segment_is_refused() {
    let what = "bad selectors";
    let Some(mut world) = World::new(what, &[8, 13]).filter(|_| delivers_in_turn(what)) else { return };
    for (selector, end) in [(Gdt::DATA, "0x11"), (0x30, "0x31"), (0, "0x1")] {
        world.idt.set(6, Gate::interrupt(selector, HANDLERS)).unwrap();
        world.state.idt.limit = 0xfff;
        assert_eq!(world.check(&FAULTY[0]), format!("#UD #GP({end}) handled"));
    }
}

#[test]
fn faults_that_double_reach_the_handler_of_the_double_fault() {
    // QEMU forgets that there was a page fault: without a gate for #GP it comes to #DF all the same.
    let Some(mut world) = World::new("#DF alone has a gate", &[8]) else { return };
    assert_eq!(world.check(&FAULTY[3]), "#PF(0x2) #DF(0x0) handled");
    assert_eq!(world.check(&FAULTY[1]), "#DE #DF(0x0) handled");
}

#[test]
fn a_stack_that_is_not_mapped_is_a_page_fault_and_then_the_end() {
    let Some(mut world) = World::new("no stack", &[0, 6, 8, 13, 14]) else { return };
    world.state.regs.rsp = NOWHERE;
    let ends = [
        "#UD #PF(0x2) #DF(0x0) shutdown",
        "#DE #PF(0x2) #DF(0x0) shutdown",
        "#GP(0xfff8) #PF(0x2) #DF(0x0) shutdown",
        "#PF(0x2) #DF(0x0) shutdown",
    ];
    assert_eq!(world.ends(), ends);
}

#[test]
fn an_idt_that_is_not_mapped_is_the_end() {
    let Some(mut world) = World::new("no mapped IDT", &[6]) else { return };
    world.state.idt.base = NOWHERE;
    assert_eq!(world.check(&FAULTY[0]), "#UD #PF(0x0) #DF(0x0) shutdown");
}
