use super::*;
use crate::x86_64::{
    flags::{Cr4, Efer, RFlags},
    gdt::Gdt,
    idt::{Gate, Idt, IdtWidth},
    paging::{Access, Mapping, PageSize, PageTables},
    segment::{Segment, SegmentKind},
    state::TableRegister,
    tss::{TSS_LIMIT, Tss32, Tss64},
};

const GDT: u64 = 0x500;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x4000;
const STACK: u64 = 0x7000;
const RING0_STACK: u64 = 0x6000;
const HANDLER: u64 = 0x8000;
/// PML4, PDPT, PD, PT.
const TABLES: u64 = 0x9000;
const PT: u64 = 0xc000;
/// What is mapped, and RAM.
const RAM: usize = 0x20000;

/// Selectors behind those of the entry state.
const USER_DATA: u16 = 0x18 | 3;
const USER_CODE: u16 = 0x20 | 3;
/// One that a gate can name, for a test to change.
const SPARE: u16 = 0x28;
const TSS_SELECTOR: u16 = 0x30;

const UD: Exception = Exception::UD;
const GP: Exception = Exception::gp(0);

struct World {
    memory: Vec<u8>,
    state: X86State,
}

impl World {
    fn with(state: X86State) -> Self {
        let mut world = Self { memory: vec![0; RAM], state };
        world.state.regs.rsp = STACK;
        world.state.regs.rflags |= RFlags::IF;
        world
    }

    /// Every exception has a gate to [`HANDLER`].
    fn protected() -> Self {
        let mut world = Self::with(X86State::protected(0x7c00, GDT));
        let tss = Tss32 { esp0: 0x6000, ss0: Gdt::DATA, ..Tss32::default() };
        world.tables(Gdt::flat32(), IdtWidth::Bits32, &tss.bytes());
        world
    }

    fn long() -> Self {
        let mut world = Self::with(X86State::long(0x7c00, TABLES, GDT));
        let tss = Tss64 { rsp: [RING0_STACK, 0, 0], ist: [0x5000, 0, 0, 0, 0, 0, 0], ..Tss64::default() };
        world.tables(Gdt::long64(), IdtWidth::Bits64, &tss.bytes());
        let low = Mapping::identity(0, RAM as u64, PageSize::Size4K, Access::RWX.user());
        let mut builder = PageTables::new(TABLES);
        builder.map(low).unwrap();
        world.put(TABLES, builder.build().bytes());
        world
    }

    fn tables(&mut self, mut gdt: Gdt, width: IdtWidth, tss: &[u8]) {
        let code = gdt.segment(Gdt::CODE).unwrap();
        assert_eq!(gdt.push(&Segment::data(0).for_ring(3)), Ok(USER_DATA));
        assert_eq!(gdt.push(&code.for_ring(3)), Ok(USER_CODE));
        assert_eq!(gdt.push(&code), Ok(SPARE));
        self.state.gdt.limit = gdt.limit();
        self.put(GDT, &gdt.bytes());
        self.state.tr = Segment::tss(TSS_SELECTOR, TSS, TSS_LIMIT);
        self.put(TSS, tss);
        let mut idt = Idt::new(width);
        for vector in 0..32 {
            idt.set(vector, Gate::interrupt(Gdt::CODE, HANDLER)).unwrap();
        }
        self.state.idt = TableRegister { base: IDT, limit: idt.limit() };
        self.put(IDT, idt.bytes());
    }

    fn ring3(mut self) -> Self {
        self.state.cs = self.state.cs.for_ring(3);
        self.state.ss = Segment::data(USER_DATA).for_ring(3);
        self
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self, at: u64) -> Option<u64> {
        let bytes = self.memory.get(usize::try_from(at).ok()?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Flips bits of the eight bytes at `at`.
    fn flip(&mut self, at: u64, bits: u64) {
        let word = self.word(at).unwrap() ^ bits;
        self.put(at, &word.to_le_bytes());
    }

    /// Flips bits of a page's PTE.
    fn flip_pte(&mut self, page: u64, bits: u64) {
        self.flip(PT + page / 0x1000 * 8, bits);
    }

    fn gate(&mut self, vector: u8, gate: Gate) {
        let at = IDT + u64::from(vector) * if self.state.efer.contains(Efer::LMA) { 16 } else { 8 };
        let [low, high] = gate.encode64().unwrap();
        self.put(at, &low.to_le_bytes());
        if self.state.efer.contains(Efer::LMA) {
            self.put(at + 8, &high.to_le_bytes());
        }
    }

    fn spare_gate(&mut self) {
        self.gate(6, Gate::interrupt(SPARE, HANDLER));
    }

    fn spare(&mut self, segment: &Segment) {
        let descriptor = crate::Descriptor::encode(segment).unwrap();
        self.put(GDT + u64::from(SPARE), &descriptor.0.to_le_bytes());
        self.spare_gate();
    }

    fn deliver(&self, exception: Exception) -> Result<Delivered, DeliveryFault> {
        assert!(exception.vector < 32);
        deliver(|at| self.word(at), &self.state, exception)
    }

    /// `raised: why`, with what #PF leaves in CR2.
    fn fault(&self, exception: Exception) -> String {
        let fault = self.deliver(exception).expect_err("it is delivered");
        let raised = match fault.raised {
            Some(raised @ Exception { address: Some(at), .. }) => format!("{raised} at {at:#x}"),
            Some(raised) => raised.to_string(),
            None => "?".into(),
        };
        format!("{raised}: {}", fault.why)
    }

    fn chain(&self, exception: Exception) -> Chain {
        deliver_all(|at| self.word(at), &self.state, exception)
    }
}

type Case = (fn(&mut World), &'static str);

/// #UD in `make()`, each time with one thing wrong.
fn check(make: fn() -> World, cases: &[Case]) {
    for (spoil, expected) in cases {
        let mut world = make();
        assert!(world.deliver(UD).is_ok(), "a good world");
        spoil(&mut world);
        assert_eq!(world.fault(UD), *expected);
    }
}

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
    let mut world = World::with(X86State::real_at(0, 0x7c00));
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
fn a_bad_idt_is_found() {
    check(
        World::long,
        &[
            (|w| w.state.idt.limit = 6 * 16 + 14, "#GP(0x33): IDT entry 6 lies beyond the IDT's limit 0x6e"),
            (|w| w.state.idt.limit = 0, "#GP(0x33): IDT entry 6 lies beyond the IDT's limit 0x0"),
            (|w| w.flip(IDT + 6 * 16, 1 << 47), "#NP(0x33): IDT entry 6 at 0x2060 is not present (P=0)"),
            (
                |w| w.put(IDT + 6 * 16, &[0; 16]),
                "#GP(0x33): IDT entry 6 at 0x2060 is not present (P=0), nor a gate (type 0x0)",
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
                 the PML4E at 0x9ff8 is not present (P=0); IST1 in the TSS at 0x0 is 0x0; there is no TSS (TR is null)",
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
        vectors.iter().for_each(|vector| world.flip(IDT + u64::from(*vector) * 16, 1 << 47));
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
