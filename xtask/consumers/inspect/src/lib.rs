//! For a VMM of one's own, on bare kvm-bindings and vm-memory, whose guests die: `strata-inspect` and what it speaks.

use strata_cpu::X86State;
use strata_cpu::x86_64::kvm::kvm_bindings::{kvm_regs, kvm_sregs};
use strata_inspect::explain::{Death, Explanation, Facts, explain};
use strata_inspect::{Symbols, View, disasm};
use strata_vmm::Stop;
use vm_memory::GuestMemoryMmap;

/// What `KVM_EXIT_SHUTDOWN` was about, from what `KVM_GET_REGS` and `KVM_GET_SREGS` say after it.
pub fn after_shutdown(
    memory: &GuestMemoryMmap,
    (regs, sregs): (&kvm_regs, &kvm_sregs),
    symbols: Option<&Symbols>,
) -> Explanation {
    let state = X86State::from_kvm(regs, sregs);
    let (view, machine) = (View::new(memory, &state), Facts::default());
    let stop = &Stop::TripleFault;
    explain(&Death { stop, view, vcpu: None, symbols, exits: &[], trail: &[], machine: &machine })
}

/// The instruction that comes next.
pub fn next(memory: &GuestMemoryMmap, state: &X86State, symbols: Option<&Symbols>) -> Option<String> {
    let view = View::new(memory, state);
    Some(disasm::at(&view, view.rip(), symbols)?.text)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use strata_cpu::ApplyTo;
    use strata_inspect::core::{self, Addresses};
    use strata_inspect::gdb::Address;
    use strata_inspect::profile::{FlamegraphError, Profile, Weight};
    use strata_inspect::stats::Stats;
    use strata_inspect::trace::{Filter, Place};
    use strata_vmm::devices::{AddressSpace, Bus};
    use strata_vmm::testing::{Act, ScriptedVcpu};
    use strata_vmm::vcpu::{Buses, Limits, run};
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    fn memory(code: &[u8]) -> GuestMemoryMmap {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        memory.write_slice(code, GuestAddress(0x7000)).unwrap();
        memory
    }

    #[test]
    fn a_shutdown_is_explained_from_the_structs_of_kvm() {
        let (mut regs, mut sregs) = (kvm_regs::default(), kvm_sregs::default());
        let state = X86State::protected(0x7000, 0);
        state.apply_to(&mut regs);
        state.apply_to(&mut sregs);
        let symbols = Symbols::read(b"00007000 T kmain\n").unwrap();
        let explanation = after_shutdown(&memory(b"\x0f\x0b"), (&regs, &sregs), Some(&symbols));
        assert!(explanation.is_accusation());
        assert!(explanation.to_string().contains("#UD at kmain (0x7000)"), "{explanation}");
    }

    #[test]
    fn instructions_and_core_dumps() {
        let (memory, state) = (memory(b"\xf4"), X86State::protected(0x7000, 0));
        assert_eq!(next(&memory, &state, None).as_deref(), Some("hlt"));
        let mut file = Cursor::new(Vec::new());
        core::write(&mut file, &memory, &[state], Addresses::Physical, None).unwrap();
        assert!(file.into_inner().starts_with(b"\x7fELF"));
    }

    #[test]
    fn exits_are_counted_by_whoever_runs_the_loop() {
        let places: Arc<[Place]> = Arc::new([]);
        let mut vcpu = ScriptedVcpu::new([Act::pio_write(0x80, 1, [0])]);
        let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
        let mut stats = Stats::new(Arc::clone(&places));
        // The script ends with an error; what came before has been seen.
        let _ = run(&mut vcpu, &buses, &mut Limits::default(), &mut stats);
        assert!(stats.report().to_string().contains("out 0x80"), "{}", stats.report());
        let profile = Profile::new(memory(b""), places);
        let nothing = profile.flamegraph(Weight::Exits, None, Vec::new()).unwrap_err();
        assert!(matches!(nothing, FlamegraphError::Empty), "{nothing}");
    }

    #[test]
    fn what_people_type_is_understood() {
        "kind=out,port=0x3f8-0x3ff".parse::<Filter>().unwrap();
        "1234".parse::<Address>().unwrap();
        "".parse::<Address>().unwrap_err();
    }
}
