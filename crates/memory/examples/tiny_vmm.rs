//! A whole VMM on bare kvm-ioctls: `strata-memory` plans and maps its RAM, and tells who wrote where.
//!
//! `cargo run -p strata-memory --example tiny_vmm`

#![allow(
    unsafe_code,
    reason = "kvm-ioctls cannot know what a memory slot points to, so it asks for a promise"
)]

use std::error::Error;

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use strata_memory::vm_memory::{Bytes, GuestAddress};
use strata_memory::{Piece, RamSpec};

/// 16-bit code: copy the byte at 0x9000 (read-only RAM) to 0x4000 and to the serial port, then halt.
const CODE: &[u8] = &[
    0xa0, 0x00, 0x90, // mov al, [0x9000]
    0xa2, 0x00, 0x40, // mov [0x4000], al
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xee, // out dx, al
    0xf4, // hlt
];

fn main() -> Result<(), Box<dyn Error>> {
    let ram = RamSpec::empty()
        .piece(Piece { start: GuestAddress(0x1000), len: 0x4000, read_only: false })
        .piece(Piece { start: GuestAddress(0x9000), len: 0x1000, read_only: true })
        .track_dirty(true)
        .build()?;
    ram.memory().write_slice(CODE, GuestAddress(0x1000))?;
    ram.memory().write_obj(b'!', GuestAddress(0x9000))?;

    let vm = Kvm::new()?.create_vm()?;
    for slot in ram.slots() {
        let region = kvm_userspace_memory_region {
            slot: slot.index,
            guest_phys_addr: slot.start,
            memory_size: slot.len,
            userspace_addr: slot.host_addr,
            flags: if slot.read_only { KVM_MEM_READONLY } else { KVM_MEM_LOG_DIRTY_PAGES },
        };
        // SAFETY: the slot is a live mapping of `ram`, which is dropped after `vm`; slots do not overlap.
        unsafe { vm.set_user_memory_region(region)? };
    }

    let mut vcpu = vm.create_vcpu(0)?;
    let mut sregs = vcpu.get_sregs()?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs)?;
    let mut regs = vcpu.get_regs()?;
    (regs.rip, regs.rflags) = (0x1000, 2); // bit 1 of RFLAGS is always 1 (SDM vol. 1, 3.4.3)
    vcpu.set_regs(&regs)?;

    loop {
        match vcpu.run()? {
            VcpuExit::IoOut(port, data) => {
                println!("guest: {:?} to port {port:#x}", String::from_utf8_lossy(data));
            }
            VcpuExit::Hlt => break,
            other => return Err(format!("unexpected exit: {other:?}").into()),
        }
    }

    println!("pages this process wrote: {:x?}", ram.dirty_pages());
    let writable = ram.slots().find(|slot| !slot.read_only).ok_or("no writable slot")?;
    let log = vm.get_dirty_log(writable.index, usize::try_from(writable.len)?)?;
    let pages = (0..4).filter(|page| log[0] >> page & 1 == 1).map(|page| writable.start + page * 0x1000);
    println!("pages the guest wrote:    {:x?}", pages.collect::<Vec<_>>());
    Ok(())
}
