//! A small world in which every delivery works, for a test to spoil.

use super::{Chain, Delivered, DeliveryFault, deliver, deliver_all};
use crate::x86_64::{
    exception::Exception,
    flags::{Efer, RFlags},
    gdt::Gdt,
    idt::{Gate, Idt, IdtWidth},
    paging::{Access, Mapping, PageSize, PageTables},
    segment::Segment,
    state::{TableRegister, X86State},
    tss::{TSS_LIMIT, Tss32, Tss64},
};

pub(super) const GDT: u64 = 0x500;
pub(super) const IDT: u64 = 0x2000;
pub(super) const TSS: u64 = 0x4000;
pub(super) const STACK: u64 = 0x7000;
pub(super) const RING0_STACK: u64 = 0x6000;
pub(super) const HANDLER: u64 = 0x8000;
/// PML4, PDPT, PD, PT.
pub(super) const TABLES: u64 = 0x9000;
pub(super) const PT: u64 = 0xc000;
/// What is mapped, and RAM.
pub(super) const RAM: usize = 0x20000;

/// Selectors behind those of the entry state.
pub(super) const USER_DATA: u16 = 0x18 | 3;
pub(super) const USER_CODE: u16 = 0x20 | 3;
/// One that a gate can name, for a test to change.
pub(super) const SPARE: u16 = 0x28;
pub(super) const TSS_SELECTOR: u16 = 0x30;

pub(super) const UD: Exception = Exception::UD;
pub(super) const GP: Exception = Exception::gp(0);

pub(super) struct World {
    pub(super) memory: Vec<u8>,
    pub(super) state: X86State,
}

impl World {
    pub(super) fn with(state: &X86State) -> Self {
        let mut world = Self { memory: vec![0; RAM], state: *state };
        world.state.regs.rsp = STACK;
        world.state.regs.rflags |= RFlags::IF;
        world
    }

    /// Every exception has a gate to [`HANDLER`].
    pub(super) fn protected() -> Self {
        let mut world = Self::with(&X86State::protected(0x7c00, GDT));
        let tss = Tss32 { esp0: 0x6000, ss0: Gdt::DATA, ..Tss32::default() };
        world.tables(Gdt::flat32(), IdtWidth::Bits32, &tss.bytes());
        world
    }

    pub(super) fn long() -> Self {
        let mut world = Self::with(&X86State::long(0x7c00, TABLES, GDT));
        let tss = Tss64 { rsp: [RING0_STACK, 0, 0], ist: [0x5000, 0, 0, 0, 0, 0, 0], ..Tss64::default() };
        world.tables(Gdt::long64(), IdtWidth::Bits64, &tss.bytes());
        let low = Mapping::identity(0, RAM as u64, PageSize::Size4K, Access::RWX.user());
        let mut builder = PageTables::new(TABLES);
        builder.map(low).unwrap();
        world.put(TABLES, builder.build().bytes());
        world
    }

    pub(super) fn tables(&mut self, mut gdt: Gdt, width: IdtWidth, tss: &[u8]) {
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

    pub(super) fn ring3(mut self) -> Self {
        self.state.cs = self.state.cs.for_ring(3);
        self.state.ss = Segment::data(USER_DATA).for_ring(3);
        self
    }

    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn word(&self, at: u64) -> Option<u64> {
        let bytes = self.memory.get(usize::try_from(at).ok()?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Flips bits of the eight bytes at `at`.
    pub(super) fn flip(&mut self, at: u64, bits: u64) {
        let word = self.word(at).unwrap() ^ bits;
        self.put(at, &word.to_le_bytes());
    }

    /// Flips bits of a page's PTE.
    pub(super) fn flip_pte(&mut self, page: u64, bits: u64) {
        self.flip(PT + page / 0x1000 * 8, bits);
    }

    pub(super) fn gate(&mut self, vector: u8, gate: Gate) {
        let at = IDT + u64::from(vector) * if self.state.efer.contains(Efer::LMA) { 16 } else { 8 };
        let [low, high] = gate.encode64().unwrap();
        self.put(at, &low.to_le_bytes());
        if self.state.efer.contains(Efer::LMA) {
            self.put(at + 8, &high.to_le_bytes());
        }
    }

    pub(super) fn spare_gate(&mut self) {
        self.gate(6, Gate::interrupt(SPARE, HANDLER));
    }

    pub(super) fn spare(&mut self, segment: &Segment) {
        let descriptor = crate::Descriptor::encode(segment).unwrap();
        self.put(GDT + u64::from(SPARE), &descriptor.0.to_le_bytes());
        self.spare_gate();
    }

    pub(super) fn deliver(&self, exception: Exception) -> Result<Delivered, DeliveryFault> {
        assert!(exception.vector < 32);
        deliver(|at| self.word(at), &self.state, exception)
    }

    /// `raised: why`, with what #PF leaves in CR2.
    pub(super) fn fault(&self, exception: Exception) -> String {
        let fault = self.deliver(exception).expect_err("it is delivered");
        let raised = match fault.raised {
            Some(raised @ Exception { address: Some(at), .. }) => format!("{raised} at {at:#x}"),
            Some(raised) => raised.to_string(),
            None => "?".into(),
        };
        format!("{raised}: {}", fault.why)
    }

    pub(super) fn chain(&self, exception: Exception) -> Chain {
        deliver_all(|at| self.word(at), &self.state, exception)
    }
}

pub(super) type Case = (fn(&mut World), &'static str);

/// #UD in `make()`, each time with one thing wrong.
pub(super) fn check(make: fn() -> World, cases: &[Case]) {
    for (spoil, expected) in cases {
        let mut world = make();
        assert!(world.deliver(UD).is_ok(), "a good world");
        spoil(&mut world);
        assert_eq!(world.fault(UD), *expected);
    }
}
