//! For somebody who takes every layer by its own name: their types are each other's.

use std::sync::{Arc, Mutex};

use strata_boot::flat::{FlatError, FlatOptions};
use strata_cpu::{Mode, X86State};
use strata_devices::{AddressSpace, Bus, BusError, Device, I8042, NoIrq, Serial};
use strata_memory::Ram;
use strata_vmm::vcpu::Buses;

/// Loads a flat image into Strata's RAM and gives the state as cpu's type.
pub fn load(ram: &Ram, image: &[u8]) -> Result<X86State, FlatError> {
    Ok(strata_boot::flat::load(ram.memory(), image, &FlatOptions::new(Mode::Long64))?.state)
}

/// The buses that vmm's loop wants, made of devices' devices.
pub fn buses(extra: Arc<dyn Device>) -> Result<Buses, BusError> {
    let mut pio = Bus::new(AddressSpace::Pio);
    let serial = Serial::new(Arc::new(NoIrq), Box::new(std::io::sink()));
    pio.insert(0x3f8, Serial::LEN, "com1", Arc::new(Mutex::new(serial)))?;
    pio.insert(0x60, I8042::LEN, "i8042", Arc::new(Mutex::new(I8042::new())))?;
    pio.insert(0x500, 1, "extra", extra)?;
    Ok(Buses { pio, mmio: Bus::new(AddressSpace::Mmio) })
}

#[cfg(test)]
mod tests {
    use strata_cpu::x86_64::kvm::kvm_bindings::{kvm_regs, kvm_sregs};
    use strata_cpu::{AccessKind, ApplyTo, walk};
    use strata_devices::{Effect, Stub};
    use strata_memory::RamSpec;
    use strata_memory::vm_memory::{Bytes, GuestAddress};
    use strata_vmm::kvm::kvm_bindings;

    use super::*;

    #[test]
    fn from_ram_to_the_registers_of_kvm() {
        let ram = RamSpec::new(4 << 20).build().unwrap();
        let state = load(&ram, &[0xf4]).unwrap();
        let read = |at| ram.memory().read_obj(GuestAddress(at)).ok();
        let found = walk(read, &state.walk_context(), state.regs.rip, AccessKind::Fetch).unwrap();
        assert_eq!(ram.memory().read_obj::<u8>(GuestAddress(found.phys)).unwrap(), 0xf4);
        // cpu's KVM structs are vmm's.
        let (mut regs, mut sregs): (kvm_bindings::kvm_regs, kvm_bindings::kvm_sregs) =
            (kvm_regs::default(), kvm_sregs::default());
        state.apply_to(&mut regs);
        state.apply_to(&mut sregs);
        assert_eq!(regs.rip, state.regs.rip);
        assert_eq!(sregs.cr3, state.cr3);
    }

    #[test]
    fn each_layer_has_the_same_vm_memory() {
        let address: strata_boot::vm_memory::GuestAddress = strata_vmm::vm_memory::GuestAddress(1);
        let address: strata_cpu::vm_memory::GuestAddress = address;
        assert_eq!(address, GuestAddress(1));
        let ram: &strata_vmm::memory::Ram = &RamSpec::new(0x1000).build().unwrap();
        assert_eq!(ram.size(), 0x1000);
    }

    #[test]
    fn devices_of_both_names_are_the_same() {
        let stub: Arc<dyn strata_vmm::devices::Device> = Arc::new(Mutex::new(Stub::new([7])));
        let buses = buses(stub).unwrap();
        let mut data = [0; 2];
        buses.pio.read(0x500, &mut data[..1]);
        buses.pio.read(0x500, &mut data[1..]);
        assert_eq!(data, [7, 0xff]);
        assert_eq!(buses.pio.write(0x64, &[0xfe]), Effect::Reset);
    }
}
