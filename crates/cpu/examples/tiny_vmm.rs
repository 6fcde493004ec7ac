//! A virtual machine monitor in one page: kvm-ioctls for the ioctls, vm-memory for the RAM, strata-cpu for
//! everything that is x86. The guest says hello on port 0x3f8 in 64-bit mode and halts.
//!
//!     cargo run -p strata-cpu --example tiny_vmm --all-features

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{error::Error, io::Write};

    use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
    use kvm_ioctls::{Kvm, VcpuExit};
    use strata_cpu::{Access, ApplyTo, Gdt, PageSize, PageTables, X86State};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

    const RAM: usize = 2 << 20;
    const GDT: u64 = 0x500;
    const TABLES: u64 = 0x9000;
    const CODE: u64 = 0x10_0000;

    /// lea rsi, [rip+text]; mov ecx, 24; mov edx, 0x3f8; rep outsb; hlt; text
    const GUEST: &[u8] =
        b"\x48\x8d\x35\x0d\0\0\0\xb9\x18\0\0\0\xba\xf8\x03\0\0\xf3\x6e\xf4Hello from 64-bit mode!\n";

    #[allow(unsafe_code, reason = "KVM takes the guest's RAM by its host address")]
    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let vm = Kvm::new()?.create_vm()?;
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM)])?;
        let region = kvm_userspace_memory_region {
            memory_size: RAM as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0))? as u64,
            ..Default::default()
        };
        // SAFETY: the region is a mapping of RAM bytes, and `memory` outlives the vCPU that uses it.
        unsafe { vm.set_user_memory_region(region)? };

        // What the guest finds in memory: its code, a GDT, and the first 2 MiB mapped to themselves.
        memory.write_slice(GUEST, GuestAddress(CODE))?;
        memory.write_slice(&Gdt::long64().bytes(), GuestAddress(GDT))?;
        let tables = PageTables::identity(TABLES, RAM as u64, PageSize::Size2M, Access::RWX)?;
        tables.write_to(&memory)?;

        // What it finds in the registers; what belongs to the interrupt controller stays as KVM made it.
        let state = X86State::long(CODE, tables.cr3(), GDT);
        let mut vcpu = vm.create_vcpu(0)?;
        let (mut regs, mut sregs) = (kvm_regs::default(), vcpu.get_sregs()?);
        state.apply_to(&mut sregs);
        state.apply_to(&mut regs);
        vcpu.set_sregs(&sregs)?;
        vcpu.set_regs(&regs)?;

        loop {
            match vcpu.run()? {
                VcpuExit::IoOut(0x3f8, bytes) => std::io::stdout().write_all(bytes)?,
                VcpuExit::Hlt => return Ok(()),
                other => return Err(format!("the guest stopped by {other:?}").into()),
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
