//! Whatever a guest has in its registers, page tables and descriptor tables: the walker, the regions and the delivery
//! come to an end, do not panic, and agree with each other.
//!
//! An input is a world (one in which everything works, or zeros), what its registers are changed to, and then what
//! its memory is: two bytes of address and eight of contents, again and again.

use std::sync::OnceLock;

use strata_cpu::{
    Access, AccessKind, Cr0, Cr4, Descriptor, Efer, Exception, Gate, Gdt, Idt, IdtWidth, Mapping,
    PageRegions, PageSize, PageTables, RFlags, RegionLimits, Segment, TableRegister, Tss64, WalkContext,
    X86State, deliver_all, walk,
};

const GDT: u16 = 0x500;
const IDT: u16 = 0x2000;
const TSS: u16 = 0x4000;
const STACK: u64 = 0x7000;
const TABLES: u16 = 0x9000;
/// Bytes of RAM; every address is one of a patch.
const RAM: usize = 0x1_0000;
/// Few, so that limits are reached and a run is short.
const LIMITS: RegionLimits = RegionLimits { entries: 1 << 14, regions: 1 << 8 };

/// Takes the input apart; what is missing is zero.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// An address: a place in RAM, one just beside the upper end of the address space, or any.
    fn address(&mut self) -> u64 {
        match self.byte() % 4 {
            0 | 1 => u16::from_le_bytes(self.bytes()).into(),
            2 => u64::MAX << 16 | u64::from(u16::from_le_bytes(self.bytes())),
            _ => u64::from_le_bytes(self.bytes()),
        }
    }
}

struct World {
    memory: Vec<u8>,
    state: X86State,
}

impl World {
    fn put(&mut self, at: u16, bytes: &[u8]) {
        let at = usize::from(at);
        let room = RAM - at;
        let bytes = &bytes[..bytes.len().min(room)];
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self, at: u64) -> Option<u64> {
        assert_eq!(at % 8, 0, "whole words are asked for");
        let bytes = self.memory.get(usize::try_from(at).ok()?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// GDT, IDT and TSS for a state.
    fn tables(&mut self, mut gdt: Gdt, width: IdtWidth) {
        let code = gdt.segment(Gdt::CODE).unwrap();
        gdt.push(&Segment::data(0).for_ring(3)).unwrap();
        gdt.push(&code.for_ring(3)).unwrap();
        self.state.gdt = TableRegister { base: GDT.into(), limit: gdt.limit() };
        self.put(GDT, &gdt.bytes());
        self.state.tr = Segment::tss(0x28, TSS.into(), 0x67);
        self.put(TSS, &Tss64 { rsp: [0x6000; 3], ist: [0x5000; 7], ..Tss64::default() }.bytes());
        let mut idt = Idt::new(width);
        for vector in 0..32 {
            idt.set(vector, Gate::interrupt(Gdt::CODE, 0x8000)).unwrap();
        }
        self.state.idt = TableRegister { base: IDT.into(), limit: idt.limit() };
        self.put(IDT, idt.bytes());
    }

    fn new(state: &X86State) -> Self {
        let mut world = Self { memory: vec![0; RAM], state: *state };
        world.state.regs.rsp = STACK;
        world
    }

    fn long() -> Self {
        let mut world = Self::new(&X86State::long(0x7c00, TABLES.into(), GDT.into()));
        world.tables(Gdt::long64(), IdtWidth::Bits64);
        let low = Mapping::identity(0, RAM as u64, PageSize::Size4K, Access::RWX.user());
        world.put(TABLES, PageTables::new(TABLES.into()).map(low).unwrap().build().bytes());
        world
    }

    fn protected() -> Self {
        let mut world = Self::new(&X86State::protected(0x7c00, GDT.into()));
        world.tables(Gdt::flat32(), IdtWidth::Bits32);
        world
    }

    /// The world that an input says, before its memory is changed.
    fn of(input: &mut Input<'_>) -> Self {
        static WORLDS: OnceLock<[World; 3]> = OnceLock::new();
        let worlds = WORLDS
            .get_or_init(|| [Self::long(), Self::protected(), Self::new(&X86State::real_at(0, 0x7c00))]);
        let of = &worlds[usize::from(input.byte() % 3)];
        let mut world = Self { memory: of.memory.clone(), state: of.state };
        world.registers(input);
        world
    }

    /// Changes registers, as many as the input says.
    fn registers(&mut self, input: &mut Input<'_>) {
        let state = &mut self.state;
        for _ in 0..input.byte() % 16 {
            let which = input.byte() % 16;
            match which {
                0 => state.cr0 ^= Cr0::from_bits_retain(1 << (input.byte() % 64)),
                1 => state.cr4 ^= Cr4::from_bits_retain(1 << (input.byte() % 64)),
                2 => state.efer ^= Efer::from_bits_retain(1 << (input.byte() % 64)),
                3 => state.regs.rflags ^= RFlags::from_bits_retain(1 << (input.byte() % 64)),
                4 => state.cr3 = input.address(),
                5 => state.regs.rsp = input.address(),
                6 => {
                    state.idt =
                        TableRegister { base: input.address(), limit: u16::from_le_bytes(input.bytes()) }
                }
                7 => {
                    state.gdt =
                        TableRegister { base: input.address(), limit: u16::from_le_bytes(input.bytes()) }
                }
                8 => state.ss.dpl = input.byte(),
                9 => (state.tr.base, state.tr.limit) = (input.address(), u32::from_le_bytes(input.bytes())),
                10 => state.tr.unusable ^= true,
                11 => {
                    (state.ldt.base, state.ldt.limit) = (input.address(), u32::from_le_bytes(input.bytes()));
                }
                _ => {
                    let segment = Descriptor(u64::from_le_bytes(input.bytes()))
                        .decode(u16::from_le_bytes(input.bytes()));
                    match which {
                        12 => state.ss = segment,
                        13 => state.cs = segment,
                        14 => state.tr = segment,
                        _ => state.ldt = segment,
                    }
                }
            }
        }
    }
}

/// The target.
pub fn guest(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut world = World::of(&mut input);
    let exception = match (input.byte() % 32, u32::from(input.byte())) {
        (14, code) => Exception::pf(input.address(), code),
        (vector @ (8 | 10..=13 | 17 | 21), code) => Exception::with_code(vector, code),
        (vector, _) => Exception::plain(vector),
    };
    let anywhere = [input.address(), input.address()];
    while !input.0.is_empty() {
        let at = u16::from_le_bytes(input.bytes());
        world.put(at & !7, &input.bytes::<8>());
    }
    delivery(&world, exception);
    regions(&world, anywhere);
}

fn delivery(world: &World, exception: Exception) {
    let mut reads = 0;
    let read = |at| {
        reads += 1;
        world.word(at)
    };
    let chain = deliver_all(read, &world.state, exception);
    assert!(reads < 5000, "{reads} reads");
    let (last, before) = chain.attempts.split_last().expect("at least one attempt");
    assert!(before.len() < 5);
    assert_eq!(chain.attempts[0].exception, exception);
    for attempt in before {
        assert!(attempt.outcome.is_err());
    }
    for attempt in &chain.attempts {
        match &attempt.outcome {
            Ok(reached) => {
                assert_eq!(reached.handler_fetch.is_none(), fetches(world, reached.handler, reached.cpl));
                assert!(reached.cpl <= 3);
            }
            Err(fault) => {
                assert!(!fault.to_string().contains('\n'), "one sentence: {fault}");
                let faults =
                    fault.raised.is_none_or(|raised| raised.vector != 14 || pages_fault(world, raised));
                assert!(faults, "{fault}: the walker disagrees");
            }
        }
    }
    // A delivery that nobody can tell the end of ends the chain; otherwise it is a handler or a shutdown.
    let unknown = last.outcome.as_ref().is_err_and(|fault| fault.raised.is_none());
    let ends = [chain.delivered().is_some(), chain.is_triple_fault(), unknown];
    assert_eq!(ends.iter().filter(|end| **end).count(), 1, "{chain:?}");
}

fn fetches(world: &World, linear: u64, cpl: u8) -> bool {
    let context = WalkContext { cpl, ..world.state.walk_context() };
    let found = walk(|at| world.word(at), &context, linear, AccessKind::Fetch);
    found.is_ok_and(|found| world.word(found.phys & !7).is_some())
}

/// A page fault that a delivery raises is one of the walker's.
fn pages_fault(world: &World, raised: Exception) -> bool {
    let (code, linear) = (raised.error_code.unwrap_or_default(), raised.address.unwrap_or_default());
    let kind = if code & 2 == 0 { AccessKind::Read } else { AccessKind::Write };
    (0..4).any(|cpl| {
        [false, true].into_iter().any(|alignment_check| {
            let context = WalkContext { cpl, alignment_check, ..world.state.walk_context() };
            let fault = walk(|at| world.word(at), &context, linear, kind).err();
            fault.and_then(|fault| fault.error_code).is_some_and(|found| found.bits() == code)
        })
    })
}

fn regions(world: &World, anywhere: [u64; 2]) {
    let context = world.state.walk_context();
    let found = PageRegions::read(|at| world.word(at), &context, LIMITS);
    assert!(found.entries <= LIMITS.entries);
    assert!(found.regions.len().max(found.windows.len()).max(found.broken.len()) <= LIMITS.regions);
    assert!(found.aliases(100).len() <= 100);
    // Rights are for the regions to say, so nothing is asked of them here.
    let all = WalkContext { cpl: 0, alignment_check: true, ..context };
    let walked = |virt| walk(|at| world.word(at), &all, virt, AccessKind::Read);
    for region in &found.regions {
        for virt in [region.virt, region.last()] {
            let one = walked(virt).unwrap_or_else(|fault| panic!("{region}: {fault}"));
            assert_eq!(one.phys, region.phys + (virt - region.virt));
            assert_eq!(
                (one.writable, one.executable, one.user),
                (region.writable, region.executable, region.user),
                "{region}"
            );
        }
    }
    assert!(found.regions.is_sorted_by(|one, next| one.last() < next.virt));
    for virt in anywhere {
        let inside = |start: u64, len: u64| virt.wrapping_sub(start) < len;
        let known = found.regions.iter().any(|region| inside(region.virt, region.len))
            || found.windows.iter().any(|window| inside(window.virt, window.len))
            || found.truncated_at.is_some_and(|at| at <= virt);
        assert!(known || walked(virt).is_err(), "{virt:#x} translates and is not listed");
    }
}
