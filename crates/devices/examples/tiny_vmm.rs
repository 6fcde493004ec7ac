//! A virtual machine monitor in one page: kvm-ioctls for the ioctls, vm-memory for the RAM, strata-devices
//! for everything that the guest talks to. The guest prints a line on the serial port and ends by the
//! debug-exit port.
//!
//!     cargo run -p strata-devices --example tiny_vmm

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::error::Error;
    use std::sync::{Arc, Mutex};

    use kvm_bindings::kvm_userspace_memory_region;
    use kvm_ioctls::{Kvm, VcpuExit};
    use strata_devices::{AddressSpace, Bus, DebugExit, Effect, I8042, NoIrq, Serial};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

    const RAM: usize = 0x10000;
    const CODE: u64 = 0x1000;

    /// 16-bit code; each line is one instruction.
    const GUEST: &[&[u8]] = &[
        b"\xbe\x13\x10", //  0: mov si, 0x1013 (the text)
        b"\xba\xf8\x03", //  3: mov dx, 0x3f8
        b"\xac",         //  6: lodsb
        b"\x84\xc0",     //  7: test al, al
        b"\x74\x03",     //  9: jz 14
        b"\xee",         // 11: out dx, al
        b"\xeb\xf8",     // 12: jmp 6
        b"\xb0\x03",     // 14: mov al, 3
        b"\xe6\xf4",     // 16: out 0xf4, al
        b"\xf4",         // 18: hlt (not reached)
        b"Hello from the serial port!\n\0",
    ];

    #[allow(unsafe_code, reason = "KVM takes the guest's RAM by its host address")]
    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        // The devices: a table of who answers where.
        let mut ports = Bus::new(AddressSpace::Pio);
        let serial = Serial::new(Arc::new(NoIrq), Box::new(std::io::stdout()));
        ports.insert(0x3f8, Serial::LEN, "com1", Arc::new(Mutex::new(serial)))?;
        ports.insert(0x60, I8042::LEN, "i8042", Arc::new(Mutex::new(I8042::new())))?;
        ports.insert(0xf4, DebugExit::LEN, "debug-exit", Arc::new(DebugExit))?;
        let mmio = Bus::new(AddressSpace::Mmio);

        let vm = Kvm::new()?.create_vm()?;
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM)])?;
        memory.write_slice(&GUEST.concat(), GuestAddress(CODE))?;
        let region = kvm_userspace_memory_region {
            memory_size: RAM as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0))? as u64,
            ..Default::default()
        };
        // SAFETY: the region is a mapping of RAM bytes, and `memory` outlives the vCPU that uses it.
        unsafe { vm.set_user_memory_region(region)? };

        let mut vcpu = vm.create_vcpu(0)?;
        let mut sregs = vcpu.get_sregs()?;
        (sregs.cs.base, sregs.cs.selector) = (0, 0);
        vcpu.set_sregs(&sregs)?;
        let mut regs = vcpu.get_regs()?;
        (regs.rip, regs.rflags) = (CODE, 2); // bit 1 of RFLAGS is always 1 (SDM vol. 1, 3.4.3)
        vcpu.set_regs(&regs)?;

        // Exit in, device, effect out. A string instruction (`rep outsb`) would come as one wide access here,
        // since kvm-ioctls drops its width; this guest has none.
        loop {
            let effect = match vcpu.run()? {
                VcpuExit::IoOut(port, data) => ports.write(port.into(), data),
                VcpuExit::MmioWrite(address, data) => mmio.write(address, data),
                VcpuExit::IoIn(port, data) => {
                    ports.read(port.into(), data);
                    Effect::None
                }
                VcpuExit::MmioRead(address, data) => {
                    mmio.read(address, data);
                    Effect::None
                }
                other => return Err(format!("the guest stopped by {other:?}").into()),
            };
            match effect {
                Effect::None => {}
                Effect::DebugExit(value) => {
                    println!("The guest ended with {value}: exit status {}.", DebugExit::exit_status(value));
                    return Ok(());
                }
                other => return Err(format!("the guest asks for {other:?}").into()),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    x86::run()
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {}
