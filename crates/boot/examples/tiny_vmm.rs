//! A whole VMM on bare kvm-ioctls: `strata-boot` loads an image and says how to enter it.
//!
//! `cargo run -p strata-boot --example tiny_vmm [FILE]` with an ELF64 executable, or a flat image for long
//! mode at 1 MiB. Its serial port (0x3f8, output only) is this program's standard output; `hlt` ends it.

#![allow(
    unsafe_code,
    reason = "kvm-ioctls cannot know what a memory slot points to, so it asks for a promise"
)]

use std::error::Error;
use std::io::{self, Write};

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use strata_boot::flat::{self, FlatOptions};
use strata_boot::{Format, detect, elf};
use strata_cpu::{ApplyTo, Mode};
use strata_memory::RamSpec;

/// 64-bit code: print the text behind it to the serial port.
const HELLO: &[u8] = b"\
    \x48\x8d\x35\x10\x00\x00\x00\
    \xb9\x14\x00\x00\x00\
    \x66\xba\xf8\x03\
    \xac\xee\xff\xc9\x75\xfa\
    \xf4\
    loaded, and running\n";
// lea rsi, [rip + 16]; mov ecx, 20; mov dx, 0x3f8; next: lodsb; out dx, al; dec ecx; jnz next; hlt

fn main() -> Result<(), Box<dyn Error>> {
    let image = match std::env::args_os().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => HELLO.to_vec(),
    };
    let ram = RamSpec::new(64 << 20).build()?;
    let entry = match detect(&image)? {
        Format::Elf64 => elf::load(ram.memory(), &image, &elf::ElfOptions::default())?,
        _ => flat::load(ram.memory(), &image, &FlatOptions::new(Mode::Long64))?,
    };
    for loaded in &entry.loaded {
        eprintln!("loaded {loaded}");
    }

    let kvm = Kvm::new()?;
    let vm = kvm.create_vm()?;
    for slot in ram.slots() {
        let region = kvm_userspace_memory_region {
            slot: slot.index,
            guest_phys_addr: slot.start,
            memory_size: slot.len,
            userspace_addr: slot.host_addr,
            flags: 0,
        };
        // SAFETY: the slot is a live mapping of `ram`, which is dropped after `vm`; slots do not overlap.
        unsafe { vm.set_user_memory_region(region)? };
    }
    let mut vcpu = vm.create_vcpu(0)?;
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?; // without it there is no long mode

    let (mut regs, mut sregs) = (vcpu.get_regs()?, vcpu.get_sregs()?);
    entry.state.apply_to(&mut regs);
    entry.state.apply_to(&mut sregs);
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&regs)?;

    loop {
        match vcpu.run()? {
            VcpuExit::IoOut(0x3f8, data) => io::stdout().write_all(data)?,
            VcpuExit::IoOut(..) => {}
            VcpuExit::IoIn(_, data) => data.fill(0xff), // nobody there
            VcpuExit::Hlt => return Ok(()),
            other => return Err(format!("unexpected exit: {other:?}").into()),
        }
    }
}
