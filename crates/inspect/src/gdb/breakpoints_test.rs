use super::*;

const PVM: DebugAbilities =
    DebugAbilities { single_step: true, breakpoints: true, watchpoints: false, software_breakpoints: false };
const STEPS_ONLY: DebugAbilities = DebugAbilities { breakpoints: false, ..PVM };

fn watch(address: u64, len: u64) -> Watch {
    Watch { address, len, reads: false, only_reads: false }
}

/// Everything below 0x10000 is mapped, 0x100000 higher.
fn mapped(linear: u64) -> Option<u64> {
    (linear < 0x10000).then_some(linear + 0x10_0000)
}

fn soft(addresses: &[u64]) -> Breakpoints {
    let mut breakpoints = Breakpoints::default();
    assert!(addresses.iter().all(|at| breakpoints.add_soft(*at)));
    breakpoints
}

#[test]
fn software_breakpoints_are_planted_where_that_works() {
    let plan = soft(&[0x1000, 0x2000]).plan(DebugAbilities::ALL, mapped);
    assert_eq!(plan.planted, [(0x1000, 0x10_1000), (0x2000, 0x10_2000)]);
    assert_eq!((plan.registers.len(), plan.search), (0, false));
}

#[test]
fn what_is_not_mapped_yet_takes_a_debug_register() {
    let plan = soft(&[0x1000, 0xffff_8000_0000_0000]).plan(DebugAbilities::ALL, mapped);
    assert_eq!((plan.planted.len(), plan.registers), (1, vec![0xffff_8000_0000_0000]));
    assert!(!plan.search);
}

#[test]
fn a_host_without_int3_has_four_and_then_steps() {
    let four = soft(&[1, 2, 3, 4]).plan(PVM, mapped);
    assert_eq!((four.planted.len(), four.registers.as_slice(), four.search), (0, &[1, 2, 3, 4][..], false));
    let five = soft(&[1, 2, 3, 4, 5]).plan(PVM, mapped);
    assert_eq!((five.registers.len(), five.search), (4, true));
    let none = soft(&[1]).plan(STEPS_ONLY, mapped);
    assert_eq!((none.registers.len(), none.search), (0, true));
}

#[test]
fn debug_registers_run_out_for_those_that_need_them() {
    let mut breakpoints = soft(&[0x1000]);
    assert!((0..4).all(|at| breakpoints.add_hard(at, DebugAbilities::ALL)));
    assert!(breakpoints.add_hard(3, DebugAbilities::ALL), "it is there already");
    assert!(!breakpoints.add_hard(4, DebugAbilities::ALL));
    assert!(!breakpoints.add_watch(watch(0x1000, 8), DebugAbilities::ALL));
    assert_eq!(breakpoints.hard.len(), 4);
    // By stepping there is no limit to notice.
    let mut breakpoints = Breakpoints::default();
    assert!((0..9).all(|at| breakpoints.add_hard(at, STEPS_ONLY)));
    assert!(breakpoints.plan(STEPS_ONLY, mapped).search);
}

#[test]
fn a_watched_range_is_cut_into_what_a_register_can_hold() {
    let pieces = |address, len| -> Vec<_> {
        watch(address, len).pieces().iter().map(|piece| (piece.address, piece.len)).collect()
    };
    assert_eq!(pieces(0x1000, 8), [(0x1000, 8)]);
    assert_eq!(pieces(0x1003, 6), [(0x1003, 1), (0x1004, 4), (0x1008, 1)]);
    let mut breakpoints = Breakpoints::default();
    assert!(!breakpoints.add_watch(watch(0x1001, 15 + 8 + 8), DebugAbilities::ALL), "six pieces");
    assert!(!breakpoints.add_watch(watch(0x1000, u64::MAX), DebugAbilities::ALL));
    assert!(!breakpoints.add_watch(watch(0x1000, 0), DebugAbilities::ALL));
}

#[test]
fn reads_are_not_seen_by_stepping() {
    let read = Watch { reads: true, ..watch(0x1000, 4) };
    let mut breakpoints = Breakpoints::default();
    assert!(!breakpoints.add_watch(read, PVM));
    assert!(breakpoints.add_watch(watch(0x1000, 4), PVM));
    assert!(breakpoints.plan(PVM, mapped).search);
    assert!(breakpoints.add_watch(read, DebugAbilities::ALL));
}
