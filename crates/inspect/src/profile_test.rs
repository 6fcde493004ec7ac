use strata_vmm::devices::{AddressSpace, Bus};
use strata_vmm::testing::{Act, ScriptedVcpu};
use strata_vmm::vcpu::{Buses, Limits, run};

use super::*;
use crate::trace::sample::{Memory, guest, places};

/// A stack in flat 32-bit code: pairs of a saved frame pointer and a return address, each at its address.
fn stack(frames: &[(u64, u32, u32)]) -> (Memory, X86State) {
    let memory = guest().memory;
    for (at, saved, back) in frames {
        memory.write_obj(*saved, GuestAddress(*at)).unwrap();
        memory.write_obj(*back, GuestAddress(at + 4)).unwrap();
    }
    let mut state = X86State::protected(0x1000, 0x7000);
    state.regs.rbp = frames.first().map_or(0, |(at, ..)| *at);
    (memory, state)
}

fn found(frames: &[(u64, u32, u32)]) -> Vec<u64> {
    let (memory, state) = stack(frames);
    let mut found = Vec::new();
    callers(&View::new(&memory, &state), &state, &mut found);
    found
}

#[test]
fn callers_are_found_by_frame_pointers() {
    assert_eq!(found(&[(0x6000, 0x6010, 0x1007), (0x6010, 0, 0x1234)]), [0x1007, 0x1234]);
    assert_eq!(found(&[]), [0; 0], "RBP is 0");
    assert_eq!(found(&[(0x6000, 0x6010, 0)]), [0; 0], "nobody returns to 0");
}

#[test]
fn a_stack_that_is_none_ends() {
    assert_eq!(found(&[(0x6000, 0x6000, 0x1007)]), [0x1007], "a frame that is its own caller");
    assert_eq!(found(&[(0x6000, 0x6010, 1), (0x6010, 0x6000, 2)]), [1, 2], "two that are each other's");
    assert_eq!(found(&[(0x6000, 0x6011, 0x1007)]), [0x1007], "an odd frame pointer");
    assert_eq!(found(&[(0x6000, 0xffff_fff0, 0x1007)]), [0x1007], "one without memory");
    let long: Vec<_> =
        (0..200).map(|n| (0x4000 + n * 8, 0x4008 + u32::try_from(n).unwrap() * 8, 7)).collect();
    assert_eq!(found(&long).len(), MAX_FRAMES);
}

#[test]
fn stacks_are_folded_by_name() {
    let mut profile = Profile::new(guest().memory, places().into());
    let cost = Cost { exits: 1, host_ns: 300 };
    let com1 = [Kind::Out as u64 | PLACE, 2];
    let key = |frames: &[u64]| [&com1[..], frames].concat();
    // A call at the very end of `start` returns to what is `done` already.
    profile.count(&key(&[0x1009, 0x1007]), cost);
    profile.count(&key(&[0x100a, 0x1006]), cost);
    // Behind a frame that has no name, nothing is believed.
    profile.count(&key(&[0x1000, 0x10, 0x1007]), cost);
    profile.count(&[Kind::Out as u64 | ADDRESS, 0x80, 0x10], cost);
    profile.count(&[Kind::Hlt as u64, 0], cost);
    let symbols = guest().symbols.unwrap();
    let expected = ["0x10;[out 0x80] 1", "[hlt] 1", "start;[out com1] 1", "start;done;[out com1] 2"];
    assert_eq!(profile.folded(Weight::Exits, Some(&symbols)), expected);
    assert_eq!(profile.folded(Weight::HostTime, Some(&symbols))[3], "start;done;[out com1] 600");
    let mut both = profile.clone();
    both.merge(&profile);
    assert_eq!(both.folded(Weight::Exits, None).len(), 5);
    assert_eq!(both.folded(Weight::Exits, Some(&symbols))[3], "start;done;[out com1] 4");
}

#[test]
fn a_guest_with_endless_stacks_needs_no_more_memory() {
    let mut profile = Profile::new(guest().memory, places().into());
    let acts = (0..=0xffff).map(|port| Act::pio_read(port, 1, 1)).chain([Act::halt()]);
    let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    run(&mut ScriptedVcpu::new(acts), &buses, &mut Limits::default(), &mut profile).unwrap();
    assert_eq!(profile.stacks.len(), MAX_STACKS);
    let folded = profile.folded(Weight::Exits, None);
    assert!(folded.contains(&"[in com1] 8".to_owned()));
    let sum: u64 = folded.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 0x1_0001);
}

#[cfg(feature = "flamegraph")]
#[test]
fn the_flame_graph_is_an_svg_with_the_functions() {
    let mut profile = Profile::new(guest().memory, places().into());
    assert!(matches!(profile.flamegraph(Weight::Exits, None, io::sink()), Err(FlamegraphError::Empty)));
    profile.count(&[Kind::Hlt as u64, 0, 0x1009], Cost { exits: 3, host_ns: 0 });
    profile.count(&[Kind::Hlt as u64, 0, 0x1001], Cost { exits: 1, host_ns: 0 });
    let mut svg = Vec::new();
    profile.flamegraph(Weight::Exits, guest().symbols.as_deref(), &mut svg).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    assert!(svg.starts_with("<?xml") && svg.contains("<title>done (3 exits, 75.00%)</title>"), "{svg}");
    assert!(svg.contains("<title>start (1 exit, 25.00%)</title>"), "{svg}");
}
