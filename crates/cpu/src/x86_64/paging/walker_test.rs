use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Physical memory of eight-byte words.
#[derive(Default)]
struct Memory(HashMap<u64, u64>);

impl Memory {
    /// Tables with one entry each, at 0x1000, 0x2000..: `entries` top table first, at the index `virt` needs.
    fn with(virt: u64, entries: &[u64], bits_per_level: u32) -> Self {
        let mut memory = Self::default();
        for (n, entry) in entries.iter().enumerate() {
            let levels_below = entries.len() - 1 - n;
            let shift = 12 + bits_per_level * u32::try_from(levels_below).unwrap();
            let index = virt >> shift & ((1 << bits_per_level) - 1);
            memory.0.insert((n as u64 + 1) * 0x1000 + index * 8, *entry);
        }
        memory
    }

    fn walk(&self, context: &WalkContext, virt: u64, kind: AccessKind) -> Result<Translation, WalkFault> {
        walk(|at| Some(*self.0.get(&at).unwrap_or(&0)), context, virt, kind)
    }
}

const LONG: WalkContext = WalkContext { cr3: 0x1000, ..WalkContext::LONG_MODE };
const NX: u64 = 1 << 63;
const VIRT: u64 = 0xffff_8123_4567_89ab;

/// Tables for `VIRT`, all rights; `change` flips bits of that level's entry.
fn changed(level: usize, change: u64) -> Memory {
    let mut entries = [0x2007, 0x3007, 0x4007, 0xabcd_e007];
    entries[level] ^= change;
    Memory::with(VIRT, &entries, 9)
}

fn fault(memory: &Memory, context: &WalkContext, kind: AccessKind) -> (FaultReason, u32) {
    let fault = memory.walk(context, VIRT, kind).unwrap_err();
    (fault.why, fault.error_code.expect("a page fault").bits())
}

#[test]
fn a_translation_shows_every_step() {
    let found = changed(0, 0).walk(&LONG, VIRT, AccessKind::Read).unwrap();
    assert_eq!((found.phys, found.page_bytes), (0xabcd_e9ab, 0x1000));
    let levels: Vec<_> = found.steps.iter().map(|step| (step.level, step.index)).collect();
    let expected = [(Level::Pml4e, 258), (Level::Pdpte, 141), (Level::Pde, 43), (Level::Pte, 120)];
    assert_eq!(levels, expected);
}

#[test]
fn a_translation_is_explained_bit_by_bit() {
    let mut memory = Memory::default();
    memory.0.extend([(0x1000, 0x2027), (0x2000, 0x3023), (0x3008, 0x8000_0000_4000_00e1)]);
    let found = memory.walk(&LONG, 0x20_0123, AccessKind::Read).unwrap();
    let expected = "\
0x200123 is physical 0x40000123: 2048 KiB page, read-only, no-execute, supervisor
  PML4E    0 at 0x000000001000 = 0x0000000000002027: P=1 W=1 U=1 A=1 PS=0 NX=0
  PDPTE    0 at 0x000000002000 = 0x0000000000003023: P=1 W=1 U=0 A=1 PS=0 NX=0
  PDE      1 at 0x000000003008 = 0x80000000400000e1: P=1 W=0 U=0 A=1 D=1 PS=1 NX=1";
    assert_eq!(found.to_string(), expected);
    let fault = memory.walk(&LONG, 0x20_0123, AccessKind::Write).unwrap_err();
    let expected = "\
write of 0x200123 in ring 0 faults: a write to a read-only page (W=0)
  PML4E    0 at 0x000000001000 = 0x0000000000002027: P=1 W=1 U=1 A=1 PS=0 NX=0
  PDPTE    0 at 0x000000002000 = 0x0000000000003023: P=1 W=1 U=0 A=1 PS=0 NX=0
> PDE      1 at 0x000000003008 = 0x80000000400000e1: P=1 W=0 U=0 A=1 D=1 PS=1 NX=1";
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn a_missing_entry_faults_at_its_level() {
    for (level, name) in [Level::Pml4e, Level::Pdpte, Level::Pde, Level::Pte].into_iter().enumerate() {
        let error = changed(level, 1).walk(&LONG, VIRT, AccessKind::Write).unwrap_err();
        assert_eq!((error.why, error.steps.len()), (FaultReason::NotPresent, level + 1));
        assert_eq!((error.at.unwrap().level, error.error_code), (name, Some(PageFaultCode::WRITE)));
    }
}

#[test]
fn a_right_withheld_at_any_level_is_withheld() {
    let user = WalkContext { cpl: 3, ..LONG };
    for level in 0..4 {
        let read_only = changed(level, 2);
        assert_eq!(fault(&read_only, &LONG, AccessKind::Write), (FaultReason::ReadOnly, 0b0_0011));
        assert_eq!(fault(&read_only, &user, AccessKind::Write), (FaultReason::ReadOnly, 0b0_0111));
        let guilty = read_only.walk(&LONG, VIRT, AccessKind::Write).unwrap_err().at.unwrap();
        assert_eq!(guilty.entry & 2, 0);
        let supervisor = changed(level, 4);
        assert_eq!(fault(&supervisor, &user, AccessKind::Read), (FaultReason::Supervisor, 0b0_0101));
        assert!(supervisor.walk(&LONG, VIRT, AccessKind::Read).is_ok());
        let no_execute = changed(level, NX);
        assert_eq!(fault(&no_execute, &user, AccessKind::Fetch), (FaultReason::NoExecute, 0b1_0101));
        assert!(no_execute.walk(&user, VIRT, AccessKind::Write).is_ok());
    }
}

#[test]
fn without_write_protection_ring_0_writes_anywhere() {
    let no_wp = WalkContext { cr0: LONG.cr0.difference(Cr0::WP), ..LONG };
    let found = changed(3, 2).walk(&no_wp, VIRT, AccessKind::Write).unwrap();
    assert!(!found.writable);
    let ring3 = WalkContext { cpl: 3, ..no_wp };
    assert_eq!(fault(&changed(3, 2), &ring3, AccessKind::Write).0, FaultReason::ReadOnly);
}

#[test]
fn smep_and_smap_keep_ring_0_off_user_pages() {
    let smep = WalkContext { cr4: Cr4::PAE | Cr4::SMEP, ..LONG };
    let smap = WalkContext { cr4: Cr4::PAE | Cr4::SMAP, ..LONG };
    let user_page = changed(0, 0);
    assert_eq!(fault(&user_page, &smep, AccessKind::Fetch), (FaultReason::Smep, 0b1_0001));
    assert_eq!(fault(&user_page, &smap, AccessKind::Read), (FaultReason::Smap, 0b0_0001));
    let lifted = WalkContext { alignment_check: true, ..smap };
    let allowed = [
        (smep, AccessKind::Write),
        (smap, AccessKind::Fetch),
        (lifted, AccessKind::Write),
        (WalkContext { cpl: 3, ..smap }, AccessKind::Write),
        (WalkContext { cpl: 3, ..smep }, AccessKind::Fetch),
    ];
    for (context, kind) in allowed {
        assert!(user_page.walk(&context, VIRT, kind).is_ok());
    }
    // One supervisor entry on the way makes it a supervisor page.
    assert!(changed(1, 4).walk(&smap, VIRT, AccessKind::Read).is_ok());
}

#[test]
fn without_nxe_the_bit_is_reserved_and_fetches_are_not_reported() {
    let context = WalkContext { efer: Efer::LME | Efer::LMA, ..LONG };
    let reserved = FaultReason::Reserved { bits: NX };
    assert_eq!(fault(&changed(2, NX), &context, AccessKind::Fetch), (reserved, 0b0_1001));
    assert_eq!(fault(&changed(2, 1), &context, AccessKind::Fetch), (FaultReason::NotPresent, 0));
}

#[test]
fn reserved_bits_fault_with_their_own_code() {
    let narrow = WalkContext { phys_bits: 40, ..LONG };
    let no_1g = WalkContext { huge_1g: false, ..LONG };
    let cases = [
        (LONG, 0, 1 << 7, 1 << 7),                     // PS in a PML4E
        (LONG, 1, 1 << 7 | 0x8000, 0xa000),            // a 1 GiB frame that is not aligned; bit 12 is PAT
        (LONG, 2, 1 << 7 | 1 << 20, 1 << 20 | 0x4000), // the same for 2 MiB
        (narrow, 3, 1 << 40, 1 << 40),
        (narrow, 0, 1 << 51, 1 << 51),
        (no_1g, 1, 1 << 7 | 0x3000, 1 << 7),
    ];
    for (context, level, change, bits) in cases {
        let (why, code) = fault(&changed(level, change), &context, AccessKind::Read);
        assert_eq!((why, code), (FaultReason::Reserved { bits }, 0b0_1001), "level {level}, {change:#x}");
    }
}

/// Flips each bit of one entry, alone: it faults as reserved exactly if `reserved` has it.
fn check_each_bit(context: &WalkContext, entries: &[u64], level: usize, reserved: u64) {
    // P and PS decide what the others mean.
    for bit in (0..64).filter(|bit| ![0, 7].contains(bit)) {
        let mut entries = entries.to_vec();
        entries[level] ^= 1 << bit;
        let found = Memory::with(VIRT, &entries, 9).walk(context, VIRT, AccessKind::Read);
        let fault = found.err().filter(|fault| matches!(fault.why, FaultReason::Reserved { .. }));
        let expected = (reserved >> bit & 1 != 0).then_some(FaultReason::Reserved { bits: 1 << bit });
        assert_eq!(fault.map(|fault| fault.why), expected, "bit {bit} of level {level} of {entries:x?}");
    }
}

#[test]
fn each_reserved_bit_faults_alone_and_no_other() {
    // SDM 3A tables 5-15 to 5-20, for 46 bits of address, without and with NX.
    let above = 0x000f_c000_0000_0000;
    let contexts = [
        (WalkContext { phys_bits: 46, ..LONG }, above),
        (WalkContext { phys_bits: 46, efer: Efer::LME | Efer::LMA, ..LONG }, above | NX),
    ];
    for (context, reserved) in contexts {
        let small = [0x2007, 0x3007, 0x4007, 0xabcd_e007];
        for level in 0..4 {
            check_each_bit(&context, &small, level, reserved);
        }
        check_each_bit(&context, &[0x2007, 0x3007, 0x4020_0087, 0], 2, reserved | 0x001f_e000);
        check_each_bit(&context, &[0x2007, 0x4000_0087, 0, 0], 1, reserved | 0x3fff_e000);
    }
}

#[test]
fn bits_free_for_software_and_pat_are_ignored() {
    let free = 0x7ff << 52 | 0xe00 | 0b1_1000;
    for level in 0..4 {
        assert!(changed(level, free).walk(&LONG, VIRT, AccessKind::Read).is_ok());
    }
    // Bit 7 of a PTE and bit 12 of a huge leaf are PAT, no part of the address.
    assert_eq!(changed(3, 1 << 7).walk(&LONG, VIRT, AccessKind::Read).unwrap().phys, 0xabcd_e9ab);
    let huge = Memory::with(VIRT, &[0x2007, 0x3007, 0x4020_1087, 0], 9);
    assert_eq!(huge.walk(&LONG, VIRT, AccessKind::Read).unwrap().phys, 0x4020_0000 | VIRT & 0x1f_ffff);
}

#[test]
fn a_1g_page_ends_the_walk_at_the_second_table() {
    let found =
        Memory::with(VIRT, &[0x2007, 0x1_4000_0087, 0, 0], 9).walk(&LONG, VIRT, AccessKind::Read).unwrap();
    assert_eq!(
        (found.phys, found.page_bytes, found.steps.len()),
        (0x1_4000_0000 | VIRT & 0x3fff_ffff, 1 << 30, 2)
    );
}

#[test]
fn a_non_canonical_address_is_no_page_fault() {
    for virt in [0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 1 << 63] {
        let fault = changed(0, 0).walk(&LONG, virt, AccessKind::Read).unwrap_err();
        assert_eq!((fault.why, fault.error_code, fault.steps.len()), (FaultReason::NonCanonical, None, 0));
    }
}

#[test]
fn five_levels_translate_57_bits() {
    let context = WalkContext { cr4: Cr4::PAE | Cr4::LA57, ..LONG };
    let virt = 0x00ab_cdef_0123_4567;
    let memory = Memory::with(virt, &[0x2003, 0x3003, 0x4003, 0x5003, 0x7000_0003], 9);
    let found = memory.walk(&context, virt, AccessKind::Write).unwrap();
    assert_eq!((found.phys, found.steps[0].level, found.steps[0].index), (0x7000_0567, Level::Pml5e, 0xab));
    let beyond = memory.walk(&context, 1 << 56, AccessKind::Read).unwrap_err();
    assert_eq!(beyond.why, FaultReason::NonCanonical);
}

#[test]
fn a_table_outside_memory_is_reported() {
    let fault = walk(|at| (at < 0x2000).then_some(0x5003), &LONG, 0x1000, AccessKind::Read).unwrap_err();
    assert_eq!((fault.why, fault.steps.len()), (FaultReason::Unreadable { entry_at: 0x5000 }, 1));
    assert_eq!(fault.error_code, None);
}

#[test]
fn without_paging_addresses_are_physical() {
    let context = WalkContext { cr0: Cr0::PE, ..LONG };
    let found = Memory::default().walk(&context, 0xffff_fff0, AccessKind::Fetch).unwrap();
    assert_eq!((found.phys, found.steps.len()), (0xffff_fff0, 0));
    assert_eq!(found.to_string(), "0xfffffff0 is physical 0xfffffff0: paging is off (CR0.PG=0)");
    assert!(Memory::default().walk(&context, 1 << 32, AccessKind::Read).is_err());
}

/// 32-bit paging: two entries share a word.
const LEGACY: WalkContext = WalkContext { cr4: Cr4::PSE, efer: Efer::empty(), ..LONG };

#[test]
fn legacy_paging_reads_four_byte_entries() {
    let virt = 0x0040_3123; // directory entry 1, table entry 3: the upper half of each word
    let mut memory = Memory::default();
    memory.0.extend([(0x1000, 0x2007 << 32 | 0xdead_beef), (0x2008, 0x8000_0005 << 32)]);
    let found = memory.walk(&LEGACY, virt, AccessKind::Read).unwrap();
    assert_eq!((found.phys, found.writable, found.executable, found.user), (0x8000_0123, false, true, true));
    assert_eq!(found.steps.iter().map(|step| step.entry_at).collect::<Vec<_>>(), [0x1004, 0x200c]);
    let fault = memory.walk(&LEGACY, virt, AccessKind::Write).unwrap_err();
    assert_eq!(fault.error_code, Some(PageFaultCode::PRESENT | PageFaultCode::WRITE));
    assert_eq!(memory.walk(&LEGACY, 1 << 32, AccessKind::Read).unwrap_err().why, FaultReason::NonCanonical);
}

#[test]
fn legacy_4m_pages_reach_beyond_4_gib() {
    let mut memory = Memory::default();
    memory.0.insert(0x1000, 0x0080_0000 | 3 << 13 | 0x83); // address bits 33 and 32 in entry bits 14 and 13
    let found = memory.walk(&LEGACY, 0x12_3456, AccessKind::Write).unwrap();
    assert_eq!((found.phys, found.page_bytes), (0x3_0092_3456, 4 << 20));
    let narrow = WalkContext { phys_bits: 33, ..LEGACY };
    let fault = memory.walk(&narrow, 0, AccessKind::Read).unwrap_err();
    assert_eq!(fault.why, FaultReason::Reserved { bits: 1 << 14 });
    memory.0.insert(0x1000, 1 << 21 | 0x83);
    let fault = memory.walk(&LEGACY, 0, AccessKind::Read).unwrap_err();
    assert_eq!(fault.why, FaultReason::Reserved { bits: 1 << 21 });
}

#[test]
fn without_pse_bit_7_of_a_directory_entry_is_ignored() {
    let mut memory = Memory::default();
    memory.0.extend([(0x1000, 0x2083), (0x2000, 0x5003)]);
    let context = WalkContext { cr4: Cr4::empty(), ..LEGACY };
    assert_eq!(memory.walk(&context, 0, AccessKind::Read).unwrap().phys, 0x5000);
}

#[test]
fn pae_paging_has_a_top_table_of_four_entries_without_rights() {
    let context = WalkContext { cr3: 0x1020, cr4: Cr4::PAE, efer: Efer::NXE, ..LONG };
    let mut memory = Memory::default();
    memory.0.extend([(0x1038, 0x2001), (0x2000, 0x3007), (0x3000, NX | 0x1_2345_6007)]);
    let found = memory.walk(&context, 0xc000_0789, AccessKind::Write).unwrap();
    assert_eq!((found.phys, found.user, found.executable), (0x1_2345_6789, true, false));
    memory.0.insert(0x1038, 0x2003);
    let fault = memory.walk(&context, 0xc000_0000, AccessKind::Read).unwrap_err();
    assert_eq!(fault.why, FaultReason::Reserved { bits: 2 }, "there is no W in a PDPTE");
    memory.0.extend([(0x1038, 0x2001), (0x2000, 1 << 62 | 0x3007)]);
    let fault = memory.walk(&context, 0xc000_0000, AccessKind::Read).unwrap_err();
    assert_eq!(fault.why, FaultReason::Reserved { bits: 1 << 62 });
}

proptest! {
    #![proptest_config(crate::testing::config())]

    /// Guests own their tables: whatever lies there and whatever the state, a walk ends with an answer.
    #[test]
    fn a_walk_through_anything_ends(
        cr: [u64; 3], efer: u64, virt: u64, words in prop::collection::vec(any::<u64>(), 1..8),
        cpl in 0u8..4, phys_bits: u8,
    ) {
        let context = WalkContext {
            cr0: Cr0::from_bits_retain(cr[0]) | Cr0::PG,
            cr3: cr[1],
            cr4: Cr4::from_bits_retain(cr[2]),
            efer: Efer::from_bits_retain(efer),
            cpl,
            alignment_check: false,
            phys_bits,
            huge_1g: true,
        };
        for kind in [AccessKind::Read, AccessKind::Write, AccessKind::Fetch] {
            let mut at = 0;
            let read = |_| { at += 1; Some(words[at % words.len()] | 1) };
            match walk(read, &context, virt & 0x7fff_ffff, kind) {
                Ok(found) => prop_assert!((1..=5).contains(&found.steps.len())),
                Err(fault) => prop_assert!(fault.to_string().contains("faults")),
            }
        }
    }
}
