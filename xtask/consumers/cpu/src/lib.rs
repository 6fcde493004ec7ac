//! For a VMM that has everything but the knowledge of x86: `strata-cpu` alone.

use strata_cpu::vm_memory::{Bytes, GuestAddress};
use strata_cpu::x86_64::kvm::kvm_bindings::{kvm_regs, kvm_sregs};
use strata_cpu::{Access, ApplyTo, Gdt, MapError, Mapping, PageSize, PageTables, X86State};

pub const TABLES: u64 = 0x9000;
pub const GDT: u64 = 0x500;
pub const CODE: u64 = 0x10_0000;
pub const DATA: u64 = 0x20_0000;

/// Code that can be executed, data that can be written, nothing that can be both.
pub fn tables() -> Result<PageTables, MapError> {
    Ok(PageTables::new(TABLES)
        .map(Mapping::identity(CODE, 0x1000, PageSize::Size4K, Access::RX))?
        .map(Mapping::identity(DATA, 0x20_0000, PageSize::Size2M, Access::RW))?
        .build())
}

/// Fills any guest memory with what long mode needs, and returns the state to enter it with.
pub fn prepare<M: Bytes<GuestAddress>>(memory: &M, tables: &PageTables) -> Result<X86State, M::E> {
    tables.write_to(memory)?;
    memory.write_slice(&Gdt::long64().bytes(), GuestAddress(GDT))?;
    Ok(X86State::long(CODE, tables.cr3(), GDT))
}

/// What `KVM_SET_REGS` and `KVM_SET_SREGS` are to be told, given what `KVM_GET_SREGS` said.
pub fn registers(state: &X86State, mut sregs: kvm_sregs) -> (kvm_regs, kvm_sregs) {
    let mut regs = kvm_regs::default();
    state.apply_to(&mut regs);
    state.apply_to(&mut sregs);
    (regs, sregs)
}

#[cfg(test)]
mod tests {
    use strata_cpu::{AccessKind, walk};
    // Not the re-export: whoever depends on vm-memory, too, must get the same one.
    use vm_memory::GuestMemoryMmap;

    use super::*;

    #[test]
    fn the_walker_finds_what_the_builder_mapped() {
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x2_0000)]).unwrap();
        let state = prepare(&memory, &tables().unwrap()).unwrap();
        let go = |virt, kind| {
            let read = |at| memory.read_obj(GuestAddress(at)).ok();
            walk(read, &state.walk_context(), virt, kind).map(|found| found.phys)
        };
        assert_eq!(go(CODE + 5, AccessKind::Fetch).unwrap(), CODE + 5);
        assert_eq!(go(DATA + 0x1234, AccessKind::Write).unwrap(), DATA + 0x1234);
        go(CODE, AccessKind::Write).unwrap_err();
        go(DATA, AccessKind::Fetch).unwrap_err();
        go(0x40_0000, AccessKind::Read).unwrap_err();
    }

    #[test]
    fn what_is_the_interrupt_controllers_survives() {
        let of_kvm = kvm_sregs { apic_base: 0xfee0_0900, cr8: 3, ..Default::default() };
        let (regs, sregs) = registers(&X86State::long(CODE, TABLES, GDT), of_kvm);
        assert_eq!((regs.rip, sregs.cr3, sregs.gdt.base), (CODE, TABLES, GDT));
        assert_eq!((sregs.apic_base, sregs.cr8), (0xfee0_0900, 3));
        assert_eq!(X86State::from_kvm(&regs, &sregs), X86State::long(CODE, TABLES, GDT));
    }

    #[test]
    fn writable_code_has_to_be_asked_for() {
        let access = Access { execute: true, ..Access::RW };
        let mapping = Mapping::identity(CODE, 0x1000, PageSize::Size4K, access);
        assert!(PageTables::new(TABLES).map(mapping).is_err());
        let asked = Mapping { access: Access::RWX, ..mapping };
        assert!(PageTables::new(TABLES).map(asked).is_ok());
    }
}
