//! Every named bit against the `x86_64` crate, which was written by other people from the same manuals.

use x86_64::{
    registers::{
        control::{Cr0Flags, Cr4Flags, EferFlags},
        rflags::RFlags as TheirRFlags,
    },
    structures::{idt::PageFaultErrorCode, paging::PageTableFlags},
};

use super::*;

/// Every name that occurs on both sides has the same bits; says how many of ours have a counterpart.
fn agree<'a>(
    ours: &[(&str, u64)],
    theirs: impl Iterator<Item = (&'a str, u64)>,
    renamed: &[(&str, &str)],
) -> usize {
    let mut compared = 0;
    for (their_name, bits) in theirs {
        let name =
            renamed.iter().find(|(_, theirs)| *theirs == their_name).map_or(their_name, |(ours, _)| ours);
        let found = ours.iter().find(|(our_name, _)| *our_name == name);
        let (_, our_bits) = found.unwrap_or_else(|| panic!("{their_name} of x86_64 has no counterpart"));
        assert_eq!(*our_bits, bits, "{name}");
        compared += 1;
    }
    compared
}

macro_rules! named_bits {
    ($flags:ty) => {
        <$flags as bitflags::Flags>::FLAGS
            .iter()
            .filter(|flag| !flag.name().is_empty())
            .map(|flag| (flag.name(), u64::from(flag.value().bits())))
            .collect::<Vec<_>>()
    };
}

/// Theirs, found through `iter_names` of the full set, which skips the unnamed rest.
macro_rules! their_bits {
    ($flags:ty) => {
        <$flags>::all().iter_names().map(|(name, flag)| (name, u64::from(flag.bits())))
    };
}

#[test]
fn cr0_bits_are_those_of_the_x86_64_crate() {
    let renamed = [
        ("PE", "PROTECTED_MODE_ENABLE"),
        ("MP", "MONITOR_COPROCESSOR"),
        ("EM", "EMULATE_COPROCESSOR"),
        ("TS", "TASK_SWITCHED"),
        ("ET", "EXTENSION_TYPE"),
        ("NE", "NUMERIC_ERROR"),
        ("WP", "WRITE_PROTECT"),
        ("AM", "ALIGNMENT_MASK"),
        ("NW", "NOT_WRITE_THROUGH"),
        ("CD", "CACHE_DISABLE"),
        ("PG", "PAGING"),
    ];
    assert_eq!(agree(&named_bits!(Cr0), their_bits!(Cr0Flags), &renamed), named_bits!(Cr0).len());
}

#[test]
fn cr4_bits_are_those_of_the_x86_64_crate() {
    let renamed = [
        ("VME", "VIRTUAL_8086_MODE_EXTENSIONS"),
        ("PVI", "PROTECTED_MODE_VIRTUAL_INTERRUPTS"),
        ("TSD", "TIMESTAMP_DISABLE"),
        ("DE", "DEBUGGING_EXTENSIONS"),
        ("PSE", "PAGE_SIZE_EXTENSION"),
        ("PAE", "PHYSICAL_ADDRESS_EXTENSION"),
        ("MCE", "MACHINE_CHECK_EXCEPTION"),
        ("PGE", "PAGE_GLOBAL"),
        ("PCE", "PERFORMANCE_MONITOR_COUNTER"),
        ("OSXMMEXCPT", "OSXMMEXCPT_ENABLE"),
        ("UMIP", "USER_MODE_INSTRUCTION_PREVENTION"),
        ("LA57", "L5_PAGING"),
        ("VMXE", "VIRTUAL_MACHINE_EXTENSIONS"),
        ("SMXE", "SAFER_MODE_EXTENSIONS"),
        ("PCIDE", "PCID"),
        ("KL", "KEY_LOCKER"),
        ("SMEP", "SUPERVISOR_MODE_EXECUTION_PROTECTION"),
        ("SMAP", "SUPERVISOR_MODE_ACCESS_PREVENTION"),
        ("PKE", "PROTECTION_KEY_USER"),
        ("CET", "CONTROL_FLOW_ENFORCEMENT"),
        ("PKS", "PROTECTION_KEY_SUPERVISOR"),
    ];
    // UINTR is newer than the crate.
    assert_eq!(agree(&named_bits!(Cr4), their_bits!(Cr4Flags), &renamed), named_bits!(Cr4).len() - 1);
    assert_eq!(Cr4::UINTR.bits(), Cr4::PKS.bits() << 1);
}

#[test]
fn efer_bits_are_those_of_the_x86_64_crate() {
    let renamed = [
        ("SCE", "SYSTEM_CALL_EXTENSIONS"),
        ("LME", "LONG_MODE_ENABLE"),
        ("LMA", "LONG_MODE_ACTIVE"),
        ("NXE", "NO_EXECUTE_ENABLE"),
        ("SVME", "SECURE_VIRTUAL_MACHINE_ENABLE"),
        ("LMSLE", "LONG_MODE_SEGMENT_LIMIT_ENABLE"),
        ("FFXSR", "FAST_FXSAVE_FXRSTOR"),
        ("TCE", "TRANSLATION_CACHE_EXTENSION"),
    ];
    assert_eq!(agree(&named_bits!(Efer), their_bits!(EferFlags), &renamed), named_bits!(Efer).len());
}

#[test]
fn rflags_bits_are_those_of_the_x86_64_crate() {
    let renamed = [
        ("CF", "CARRY_FLAG"),
        ("PF", "PARITY_FLAG"),
        ("AF", "AUXILIARY_CARRY_FLAG"),
        ("ZF", "ZERO_FLAG"),
        ("SF", "SIGN_FLAG"),
        ("TF", "TRAP_FLAG"),
        ("IF", "INTERRUPT_FLAG"),
        ("DF", "DIRECTION_FLAG"),
        ("OF", "OVERFLOW_FLAG"),
        ("NT", "NESTED_TASK"),
        ("RF", "RESUME_FLAG"),
        ("VM", "VIRTUAL_8086_MODE"),
        ("AC", "ALIGNMENT_CHECK"),
        ("VIF", "VIRTUAL_INTERRUPT"),
        ("VIP", "VIRTUAL_INTERRUPT_PENDING"),
    ];
    // The crate does not name bit 1, which is no flag.
    assert_eq!(
        agree(&named_bits!(RFlags), their_bits!(TheirRFlags), &renamed),
        named_bits!(RFlags).len() - 1
    );
    assert_eq!(RFlags::ALWAYS_ONE.bits(), 2);
}

#[test]
fn page_entry_bits_are_those_of_the_x86_64_crate() {
    let ours = named_bits!(PageEntry);
    let renamed = [("USER", "USER_ACCESSIBLE"), ("CACHE_DISABLE", "NO_CACHE"), ("HUGE", "HUGE_PAGE")];
    // Theirs also names the bits that are free for software.
    let theirs = their_bits!(PageTableFlags).filter(|(name, _)| !name.starts_with("BIT_"));
    assert_eq!(agree(&ours, theirs, &renamed), ours.len());
}

#[test]
fn the_address_mask_is_what_the_x86_64_crate_takes_for_the_address() {
    let mut entry = x86_64::structures::paging::page_table::PageTableEntry::new();
    entry.set_addr(x86_64::PhysAddr::new(PageEntry::ADDRESS), PageTableFlags::all());
    assert_eq!(entry.addr().as_u64(), PageEntry::ADDRESS);
}

#[test]
fn page_fault_code_bits_are_those_of_the_x86_64_crate() {
    let renamed = [
        ("PRESENT", "PROTECTION_VIOLATION"),
        ("WRITE", "CAUSED_BY_WRITE"),
        ("USER", "USER_MODE"),
        ("RESERVED", "MALFORMED_TABLE"),
        ("FETCH", "INSTRUCTION_FETCH"),
    ];
    // SGX and RMP violations do not come from page tables.
    let theirs = their_bits!(PageFaultErrorCode).filter(|(name, _)| !matches!(*name, "SGX" | "RMP"));
    assert_eq!(agree(&named_bits!(PageFaultCode), theirs, &renamed), named_bits!(PageFaultCode).len());
}

#[test]
fn bits_without_a_name_are_kept() {
    assert_eq!(Cr4::from_bits_truncate(u64::MAX).bits(), u64::MAX);
    assert_eq!((Cr0::from_bits_retain(1 << 63) | Cr0::PE).bits(), 1 << 63 | 1);
}
