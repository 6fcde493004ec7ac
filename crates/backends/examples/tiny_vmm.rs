//! A virtual machine monitor in one page, put together from others' parts: kvm-ioctls for the ioctls, vm-memory for the
//! RAM, rust-vmm's vm-device for the bus, and on this bus our disk. The guest reads the first sector and prints it.
//!
//!     cargo run -p strata-backends --example tiny_vmm

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::error::Error;
    use std::io::Write as _;
    use std::sync::{Arc, Mutex};
    use std::{fs, thread};

    use event_manager::{EventManager, MutEventSubscriber, SubscriberOps as _};
    use kvm_bindings::kvm_userspace_memory_region;
    use kvm_ioctls::{Kvm, VcpuExit};
    use strata_backends::disk::{Image, ImageOptions};
    use strata_devices::NoIrq;
    use strata_devices::adapter::VmDevice;
    use strata_devices::virtio::VirtioMmio;
    use strata_devices::virtio::block::{Block, BlockOptions};
    use strata_devices::vm_device::bus::{MmioAddress, MmioRange};
    use strata_devices::vm_device::device_manager::{IoManager, MmioManager as _};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

    const RAM: usize = 0x1_0000;
    /// Where the guest finds the disk's registers: a segment that real mode reaches.
    const DISK: u64 = 0xe_0000;
    const CODE: u64 = 0x1000;
    const TABLE: u64 = 0x1040;
    const DESCRIPTORS: u64 = 0x3000;
    const AVAILABLE: u64 = 0x3100;
    const USED: u64 = 0x3300;
    const HEADER: u64 = 0x3400;
    const STATUS: u64 = 0x3500;
    const SECTOR: u64 = 0x4000;

    /// 16-bit code; each line is one instruction.
    const GUEST: &[&[u8]] = &[
        b"\xbe\x40\x10",         // 1000: mov si, TABLE
        b"\xb8\x00\xe0",         // 1003: mov ax, DISK / 16
        b"\x8e\xc0",             // 1006: mov es, ax
        b"\x8b\x3c",             // 1008: mov di, [si]
        b"\x83\xff\xff",         // 100a: cmp di, -1
        b"\x74\x0d",             // 100d: je 101c
        b"\x66\x8b\x44\x02",     // 100f: mov eax, [si+2]
        b"\x26\x66\x89\x05",     // 1013: mov es:[di], eax
        b"\x83\xc6\x06",         // 1017: add si, 6
        b"\xeb\xec",             // 101a: jmp 1008
        b"\x83\x3e\x02\x33\x01", // 101c: cmp word [USED + 2], 1: has the disk used a request?
        b"\x75\xf9",             // 1021: jne 101c
        b"\xbe\x00\x40",         // 1023: mov si, SECTOR
        b"\xba\xf8\x03",         // 1026: mov dx, 0x3f8
        b"\xac",                 // 1029: lodsb
        b"\x84\xc0",             // 102a: test al, al
        b"\x74\x03",             // 102c: jz 1031
        b"\xee",                 // 102e: out dx, al
        b"\xeb\xf8",             // 102f: jmp 1029
        b"\xf4",                 // 1031: hlt
    ];

    /// What the guest writes to the disk's registers, in order (Virtio 1.2, 3.1.1 and 4.2.2).
    const REGISTERS: &[(u16, u32)] = &[
        (0x70, 1),      // status: ACKNOWLEDGE
        (0x70, 3),      // DRIVER
        (0x24, 1),      // driver features, the upper half:
        (0x20, 1),      // VERSION_1
        (0x70, 0xb),    // FEATURES_OK
        (0x30, 0),      // queue 0
        (0x38, 4),      // has 4 descriptors,
        (0x80, 0x3000), // which are here,
        (0x90, 0x3100), // with the available ring here
        (0xa0, 0x3300), // and the used ring here,
        (0x44, 1),      // and is ready
        (0x70, 0xf),    // DRIVER_OK
        (0x50, 0),      // there is something in queue 0
        (0xffff, 0),
    ];

    /// A request to read the first sector, as a driver puts it into memory (2.7, 5.2.6).
    fn write_request(memory: &GuestMemoryMmap) -> Result<(), Box<dyn Error>> {
        // Address, length, flags (1: there is a next one; 2: for the device to write), next.
        let descriptors = [(HEADER, 16_u32, 1_u16, 1_u16), (SECTOR, 512, 3, 2), (STATUS, 1, 2, 0)];
        for (at, (address, len, flags, next)) in (DESCRIPTORS..).step_by(16).zip(descriptors) {
            memory.write_obj(address, GuestAddress(at))?;
            memory.write_obj(len, GuestAddress(at + 8))?;
            memory.write_obj(flags, GuestAddress(at + 12))?;
            memory.write_obj(next, GuestAddress(at + 14))?;
        }
        // Flags, the number of requests, the first one's head. The header is zeros: read, from sector 0.
        memory.write_obj([0_u16, 1, 0], GuestAddress(AVAILABLE))?;
        memory.write_obj(0_u16, GuestAddress(USED + 2))?;
        Ok(())
    }

    #[allow(unsafe_code, reason = "KVM takes the guest's RAM by its host address")]
    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let path = std::env::temp_dir().join(format!("strata-tiny-disk-{}", std::process::id()));
        fs::write(&path, format!("{:\0<4096}", "Hello from the first sector!\n"))?;
        let image = Image::open(&path, &ImageOptions::default())?;
        // Open, it needs no name any more.
        fs::remove_file(&path)?;

        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)])?);
        memory.write_slice(&GUEST.concat(), GuestAddress(CODE))?;
        for (at, &(register, value)) in (TABLE..).step_by(6).zip(REGISTERS) {
            memory.write_obj(register, GuestAddress(at))?;
            memory.write_obj(value, GuestAddress(at + 2))?;
        }
        write_request(&memory)?;

        // The disk: its worker on a thread, its registers on the bus.
        let block = Block::new(image.disks(1)?, BlockOptions::default())?;
        let mut events = EventManager::<Box<dyn MutEventSubscriber + Send>>::new()?;
        for worker in block.workers() {
            events.add_subscriber(worker);
        }
        thread::spawn(move || while events.run().is_ok() {});
        let registers = VirtioMmio::new(block, Arc::clone(&memory), Arc::new(NoIrq));
        let device = Arc::new(VmDevice::new(Arc::new(Mutex::new(registers)), |_| {}));
        let mut bus = IoManager::new();
        bus.register_mmio(MmioRange::new(MmioAddress(DISK), VirtioMmio::LEN)?, device)?;

        // The machine: 64 KiB of RAM and one processor in real mode.
        let vm = Kvm::new()?.create_vm()?;
        let region = kvm_userspace_memory_region {
            memory_size: RAM as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0))? as u64,
            ..Default::default()
        };
        // SAFETY: `memory` is that large and outlives the machine.
        unsafe { vm.set_user_memory_region(region)? };
        let mut vcpu = vm.create_vcpu(0)?;
        let mut sregs = vcpu.get_sregs()?;
        (sregs.cs.base, sregs.cs.selector) = (0, 0);
        vcpu.set_sregs(&sregs)?;
        let mut regs = vcpu.get_regs()?;
        (regs.rip, regs.rflags) = (CODE, 2);
        vcpu.set_regs(&regs)?;

        loop {
            match vcpu.run()? {
                VcpuExit::MmioRead(address, data) => {
                    data.fill(0xff);
                    bus.mmio_read(MmioAddress(address), data)?;
                }
                VcpuExit::MmioWrite(address, data) => bus.mmio_write(MmioAddress(address), data)?,
                VcpuExit::IoOut(0x3f8, data) => std::io::stdout().write_all(data)?,
                VcpuExit::Hlt => return Ok(()),
                exit => return Err(format!("unexpected exit: {exit:?}").into()),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(target_arch = "x86_64")]
    x86::run()?;
    Ok(())
}
