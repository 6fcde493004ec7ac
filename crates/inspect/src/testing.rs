//! A guest on the bench: memory and one processor, without KVM.

use strata_cpu::{
    Access, Cr4, Gate, Gdt, Idt, IdtWidth, Mapping, PageSize, PageTables, Segment, TableRegister, X86State,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::View;

/// Where [`Lab::long`] has things.
pub(crate) const GDT: u64 = 0x4000;
pub(crate) const IDT: u64 = 0x5000;
pub(crate) const TABLES: u64 = 0x1_0000;
pub(crate) const CODE: u64 = 0x10_0000;
pub(crate) const STACK: u64 = 0x8ff0;
/// Bytes of RAM.
pub(crate) const RAM: u64 = 0x20_0000;

pub(crate) struct Lab {
    pub(crate) memory: GuestMemoryMmap<()>,
    pub(crate) state: X86State,
}

impl Lab {
    fn new(state: &X86State) -> Self {
        let memory =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), usize::try_from(RAM).unwrap())]).unwrap();
        Self { memory, state: *state }
    }

    /// 64-bit code at [`CODE`]; 2 MiB mapped one to one by small pages but for page 0, which is not mapped; a flat GDT and no IDT.
    /// RAM ends where the mapping ends, but there is a page at 1 GiB that leads to no RAM.
    pub(crate) fn long() -> Self {
        let mut state = X86State::long(CODE, TABLES, GDT);
        state.regs.rsp = STACK;
        let mut lab = Self::new(&state);
        lab.map(&[]);
        lab.write(GDT, &Gdt::long64().bytes());
        lab
    }

    pub(crate) fn protected() -> Self {
        let mut state = X86State::protected(0x10_0000, GDT);
        state.regs.rsp = STACK;
        let lab = Self::new(&state);
        lab.write(GDT, &Gdt::flat32().bytes());
        lab
    }

    pub(crate) fn real() -> Self {
        let mut state = X86State::real(0x7c00);
        state.regs.rsp = 0x7000;
        Self::new(&state)
    }

    /// Maps what `long` does, and these pages.
    pub(crate) fn map(&mut self, more: &[Mapping]) {
        let mut builder = PageTables::new(TABLES);
        let identity = Mapping::identity(0x1000, RAM - 0x1000, PageSize::Size4K, Access::RWX);
        let device = Mapping::identity(0x4000_0000, 0x1000, PageSize::Size4K, Access::RWX);
        for mapping in [identity, device].iter().chain(more) {
            builder.map(*mapping).unwrap();
        }
        builder.build().write_to(&self.memory).unwrap();
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Puts bytes where RIP is.
    pub(crate) fn code(&self, bytes: &[u8]) {
        self.write(self.state.cs.base + self.state.regs.rip, bytes);
    }

    /// A GDT of null, ring-0 code and data, and these; their selectors.
    pub(crate) fn gdt(&mut self, segments: &[Segment]) -> Vec<u16> {
        let mut gdt = if self.state.cs.long { Gdt::long64() } else { Gdt::flat32() };
        let selectors = segments.iter().map(|segment| gdt.push(segment).unwrap()).collect();
        self.write(GDT, &gdt.bytes());
        self.state.gdt.limit = gdt.limit();
        selectors
    }

    /// An IDT at [`IDT`] with these gates.
    pub(crate) fn idt(&mut self, gates: &[(u8, Gate)]) {
        let width = if self.state.cs.long { IdtWidth::Bits64 } else { IdtWidth::Bits32 };
        let mut idt = Idt::new(width);
        for (vector, gate) in gates {
            idt.set(*vector, *gate).unwrap();
        }
        self.write(IDT, idt.bytes());
        self.state.idt = TableRegister { base: IDT, limit: idt.limit() };
    }

    pub(crate) fn ring3(&mut self) {
        self.state.cs = self.state.cs.for_ring(3);
        self.state.ss = self.state.ss.for_ring(3);
        let mut builder = PageTables::new(TABLES);
        let user = Mapping::identity(0x1000, RAM - 0x1000, PageSize::Size4K, Access::RWX.user());
        builder.map(user).unwrap().build().write_to(&self.memory).unwrap();
    }

    /// SSE and AVX on.
    pub(crate) fn vectors(&mut self) {
        self.state.cr4 |= Cr4::OSFXSR | Cr4::OSXSAVE;
    }

    pub(crate) fn view(&self) -> View<'_, GuestMemoryMmap<()>> {
        View::new(&self.memory, &self.state)
    }
}
