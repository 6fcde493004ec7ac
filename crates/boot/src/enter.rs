//! What protected and long mode need besides the image: page tables, a GDT and a stack.

use strata_cpu::{Access, Gdt, MapError, Mapping, PageSize, PageTables, Segment, TableRegister, X86State};
use strata_memory::layout::{BOOT_GDT, BOOT_PML4, BOOT_STACK, BOOT_STACK_TOP};
use thiserror::Error;
use vm_memory::GuestMemory;

use crate::entry::What;
use crate::plan::{PlaceError, Plan};

/// Why a mode that needs tables cannot be entered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnterError {
    /// A table does not fit where it was to lie.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The page tables cannot be built.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The GDT was to lie where no virtual address leads.
    #[error("no virtual address leads to the GDT at {gdt_at:#x}: map its page, or leave the GDT out")]
    GdtNotMapped {
        /// Where the GDT was to lie.
        gdt_at: u64,
    },
}

/// The page tables a long-mode guest is entered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The guest-physical address of the first one, the PML4: a multiple of 4 KiB. The others follow it.
    pub tables_at: u64,
    /// What they map.
    pub map: Vec<Mapping>,
}

/// The first 4 GiB, at the same addresses, with every right: what can be reached without paging.
pub(crate) const FIRST_4G: Mapping = Mapping::identity(0, 4 << 30, PageSize::Size2M, Access::RWX);

impl Default for Paging {
    /// The first 4 GiB at the same addresses, by pages of 2 MiB that can be written and executed: tables to
    /// start with, which protect nothing. They take six pages at [`BOOT_PML4`].
    fn default() -> Self {
        Self { tables_at: BOOT_PML4, map: vec![FIRST_4G] }
    }
}

/// Where `len` bytes at the virtual address `virt` lie, if one mapping holds them all.
pub(crate) fn physical(map: &[Mapping], virt: u64, len: u64) -> Option<u64> {
    map.iter().find_map(|mapping| mapping.phys.checked_add(offset(virt, len, mapping.virt, mapping.len)?))
}

/// The first virtual address by which `len` bytes at the physical address `phys` can be reached, likewise.
pub(crate) fn virtual_of(map: &[Mapping], phys: u64, len: u64) -> Option<u64> {
    map.iter().find_map(|mapping| mapping.virt.checked_add(offset(phys, len, mapping.phys, mapping.len)?))
}

/// How far `address` lies behind `start`, if it and `len` bytes lie within `room` bytes from there.
fn offset(address: u64, len: u64, start: u64, room: u64) -> Option<u64> {
    let offset = address.checked_sub(start)?;
    (len <= room.checked_sub(offset)?).then_some(offset)
}

/// Plans what a guest in long mode needs, and returns the state to enter it with at the virtual address
/// `rip`.
pub(crate) fn long<M: GuestMemory + ?Sized>(
    plan: &mut Plan<'_, M>,
    rip: u64,
    paging: &Paging,
    gdt_at: Option<u64>,
) -> Result<X86State, EnterError> {
    long_with(plan, rip, paging, (&Gdt::long64(), gdt_at))
}

/// Selectors the 64-bit boot protocol demands (Linux, Documentation/arch/x86/boot.rst).
const BOOT_CS: u16 = 0x10;
const BOOT_DS: u16 = 0x18;

/// Plans what Linux' 64-bit boot protocol asks for but the zero page: long mode at `rip`, the first 4 GiB
/// mapped, `__BOOT_CS` and `__BOOT_DS` in the GDT and loaded, interrupts off (Linux,
/// Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
pub(crate) fn linux64<M: GuestMemory + ?Sized>(
    plan: &mut Plan<'_, M>,
    rip: u64,
) -> Result<X86State, EnterError> {
    let (code, data) = (Segment::code64(BOOT_CS), Segment::data(BOOT_DS));
    let mut gdt = Gdt::new();
    // The entry between is not used; flat segments always have an encoding.
    for segment in [&code, &code, &data] {
        let _ = gdt.push(segment);
    }
    let state = long_with(plan, rip, &Paging::default(), (&gdt, Some(BOOT_GDT)))?;
    Ok(X86State { cs: code, ds: data, es: data, fs: data, gs: data, ss: data, ..state })
}

fn long_with<M: GuestMemory + ?Sized>(
    plan: &mut Plan<'_, M>,
    rip: u64,
    paging: &Paging,
    (gdt, gdt_at): (&Gdt, Option<u64>),
) -> Result<X86State, EnterError> {
    let mut builder = PageTables::new(paging.tables_at);
    for mapping in &paging.map {
        builder.map(*mapping)?;
    }
    let tables = builder.build();
    plan.add(tables.cr3(), tables.bytes().to_vec(), What::PageTables)?;

    let gdt = place_gdt(plan, gdt, &paging.map, gdt_at)?;
    let mut state = X86State::long(rip, tables.cr3(), gdt.base);
    state.gdt = gdt;
    state.regs.rsp = stack(plan, &paging.map);
    Ok(state)
}

/// Plans what a guest in protected mode needs, and returns the state to enter it with at `eip`.
pub(crate) fn protected<M: GuestMemory + ?Sized>(
    plan: &mut Plan<'_, M>,
    eip: u32,
    gdt_at: Option<u64>,
) -> Result<X86State, EnterError> {
    let gdt = place_gdt(plan, &Gdt::flat32(), &[FIRST_4G], gdt_at)?;
    let mut state = X86State::protected(eip, gdt.base);
    state.gdt = gdt;
    state.regs.rsp = stack(plan, &[FIRST_4G]);
    Ok(state)
}

/// Plans the GDT. Without a place asked for, the usual one is taken if it is free and mapped; otherwise there
/// is none, and GDTR says so by base and limit 0: the segments the guest is entered with are loaded already
/// (SDM vol. 3A 3.4.3), so it gets on without until it loads one.
fn place_gdt<M: GuestMemory + ?Sized>(
    plan: &mut Plan<'_, M>,
    gdt: &Gdt,
    map: &[Mapping],
    gdt_at: Option<u64>,
) -> Result<TableRegister, EnterError> {
    let bytes = gdt.bytes();
    let len = bytes.len() as u64;
    let at = gdt_at.unwrap_or(BOOT_GDT);
    let base = match virtual_of(map, at, len) {
        Some(base) if gdt_at.is_some() || plan.is_free(at, len) => base,
        None if gdt_at.is_some() => return Err(EnterError::GdtNotMapped { gdt_at: at }),
        _ => return Ok(TableRegister::default()),
    };
    plan.add(at, bytes, What::Gdt)?;
    Ok(TableRegister { base, limit: gdt.limit() })
}

/// The first stack pointer: the top of the usual stack if that is free RAM, mapped at its own address, or
/// else 0.
fn stack<M: GuestMemory + ?Sized>(plan: &Plan<'_, M>, map: &[Mapping]) -> u64 {
    let len = BOOT_STACK_TOP - BOOT_STACK;
    let mapped = physical(map, BOOT_STACK, len) == Some(BOOT_STACK);
    if mapped && plan.is_free(BOOT_STACK, len) { BOOT_STACK_TOP } else { 0 }
}

#[cfg(test)]
#[path = "enter_test.rs"]
mod tests;
