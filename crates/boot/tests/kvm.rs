//! Each entry state, on a real KVM: the guest runs from its first instruction to its `hlt`.

#![allow(
    unsafe_code,
    reason = "kvm-ioctls cannot know what a memory slot points to, so it asks for a promise"
)]

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuExit};
use strata_boot::acpi::{Acpi, PowerRegisters};
use strata_boot::elf::{self, ElfOptions};
use strata_boot::flat::{self, FlatOptions};
use strata_boot::{Cmdline, Entry, KernelOptions, Paging, linux, multiboot, pvh};
use strata_cpu::{Access, ApplyTo, Mapping, Mode, PageSize, X86State};
use strata_memory::{MemoryMap, Ram, RamSpec};

/// mov al, 'k'; out 0x10, al; push ax; pop ax; hlt. The same bytes in 16, 32 and 64-bit code but for the size
/// of what is pushed.
const CODE: &[u8] = &[0xb0, b'k', 0xe6, 0x10, 0x50, 0x58, 0xf4];

/// Enters a guest; what it wrote to port 0x10, in the end by `hlt`. `None` without KVM, after saying so.
fn run(ram: &Ram, entry: &Entry) -> Option<Vec<u8>> {
    let Ok(kvm) = Kvm::new() else {
        eprintln!("not run: entering a guest: no usable /dev/kvm");
        return None;
    };
    assert!(kvm.check_extension(Cap::UserMemory));
    let vm = kvm.create_vm().unwrap();
    for slot in ram.slots() {
        let region = kvm_userspace_memory_region {
            slot: slot.index,
            guest_phys_addr: slot.start,
            memory_size: slot.len,
            userspace_addr: slot.host_addr,
            flags: 0,
        };
        // SAFETY: the slot is a live mapping of `ram`, which outlives `vm`; slots do not overlap.
        unsafe { vm.set_user_memory_region(region).unwrap() };
    }
    let mut vcpu = vm.create_vcpu(0).unwrap();
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap()).unwrap();
    let (mut regs, mut sregs) = (vcpu.get_regs().unwrap(), vcpu.get_sregs().unwrap());
    entry.state.apply_to(&mut regs);
    entry.state.apply_to(&mut sregs);
    vcpu.set_sregs(&sregs).unwrap();
    vcpu.set_regs(&regs).unwrap();

    let mut output = Vec::new();
    for _ in 0..100 {
        match vcpu.run().unwrap() {
            VcpuExit::IoOut(0x10, data) => output.extend_from_slice(data),
            VcpuExit::Hlt => return Some(output),
            other => panic!("{other:?}"),
        }
    }
    panic!("no hlt")
}

fn ram() -> Ram {
    RamSpec::new(4 << 20).build().unwrap()
}

#[test]
fn flat_images_run_in_each_mode() {
    for mode in Mode::ALL {
        let ram = ram();
        let entry = flat::load(ram.memory(), CODE, &FlatOptions::new(mode)).unwrap();
        if let Some(output) = run(&ram, &entry) {
            assert_eq!(output, b"k", "{mode}");
        }
    }
}

#[test]
fn a_real_mode_image_beyond_64_kib_runs() {
    let ram = ram();
    let options = FlatOptions { load_at: Some(0x2_1234), ..FlatOptions::new(Mode::Real16) };
    let entry = flat::load(ram.memory(), CODE, &options).unwrap();
    if let Some(output) = run(&ram, &entry) {
        assert_eq!(output, b"k");
    }
}

#[test]
fn page_tables_of_ones_own_lead_to_the_image() {
    let ram = ram();
    let page = PageSize::Size4K;
    let map = vec![
        Mapping { virt: 0xffff_8000_0000_0000, phys: 0x4000, len: 0x1000, page, access: Access::RX },
        Mapping { virt: 0x8000, phys: 0x8000, len: 0x1000, page, access: Access::RW },
    ];
    let paging = Some(Paging { tables_at: 0x10_0000, map });
    let options = FlatOptions { load_at: Some(0x4000), paging, ..FlatOptions::new(Mode::Long64) };
    let entry = flat::load(ram.memory(), CODE, &options).unwrap();
    assert_eq!(entry.state.regs.rip, 0xffff_8000_0000_0000);
    if let Some(output) = run(&ram, &entry) {
        assert_eq!(output, b"k");
    }
}

/// An executable of one segment and these notes: header, two program headers, notes, code.
fn elf_file(entry: u64, virt: u64, phys: u64, (notes, code): (&[u8], &[u8])) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    // e_entry, e_phoff, e_shoff, then e_ehsize and e_phentsize, e_phnum
    for word in [entry, 64, 0, 0x0038_0040_0000_0000, 0x0040_0002] {
        file.extend(word.to_le_bytes());
    }
    let (notes_len, code_len) = (notes.len() as u64, code.len() as u64);
    // p_type and p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    for word in [4, 176, 0, 0, notes_len, notes_len, 4] {
        file.extend(word.to_le_bytes());
    }
    for word in [0x7_0000_0001, 176 + notes_len, virt, phys, code_len, code_len, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(notes);
    file.extend(code);
    file
}

#[test]
fn elf_images_run_low_and_high() {
    let high = 0xffff_ffff_8020_0000;
    for (entry, virt) in [(0x20_0000, 0x20_0000), (high, high), (0x20_0000, high)] {
        let ram = ram();
        let image = elf_file(entry, virt, 0x20_0000, (&[], CODE));
        let entry = elf::load(ram.memory(), &image, &ElfOptions::default()).unwrap();
        if let Some(output) = run(&ram, &entry) {
            assert_eq!(output, b"k", "{virt:#x}");
        }
    }
}

/// The code at the reset vector is entered as Linux does, and as a processor is after a reset: `f000:fff0`.
#[test]
fn the_reset_vector_writes_the_reset_register() {
    let power = PowerRegisters {
        sleep_control: 0x600,
        sleep_status: 0x601,
        s5_type: 5,
        reset: 0x10,
        reset_value: b'k',
    };
    let acpi = Acpi { apic_ids: vec![0], power, pic: false, pit_gsi: None, devices: Vec::new() };
    let ram = ram();
    acpi.tables().unwrap().write_to(ram.memory()).unwrap();
    let entry = Entry { state: X86State::real_at(0xf000, 0xfff0), loaded: Vec::new() };
    if let Some(output) = run(&ram, &entry) {
        assert_eq!(output, b"k");
    }
}

fn options() -> KernelOptions<'static> {
    KernelOptions {
        cmdline: Cmdline::new("console=ttyS0").unwrap(),
        initrd: Some(&[7_u8; 0x1000]),
        memory_map: MemoryMap::of(&RamSpec::new(4 << 20)),
        ..KernelOptions::default()
    }
}

/// mov eax, [rsi + 0x202]; out 0x10, eax; mov esi, [rsi + 0x228]; mov eax, [rsi]; out 0x10, eax; hlt: the
/// header's magic number, and how the command line begins.
const LINUX: &[u8] = b"\x8b\x86\x02\x02\0\0\xe7\x10\x8b\xb6\x28\x02\0\0\x8b\x06\xe7\x10\xf4";

#[test]
fn linux_finds_its_zero_page() {
    let high = 0xffff_ffff_8020_0000;
    let vmlinux = elf_file(0x20_0000, high, 0x20_0000, (&[], LINUX));
    // A sector and another one of setup, then code that is entered behind its first 512 bytes.
    let mut bzimage = vec![0; 0x600];
    for (at, bytes) in [
        (0x1f1, &[1][..]),
        (0x1f4, &[0x30]),
        (0x1fe, b"\x55\xaa\xeb\x66HdrS\x0f\x02"),
        (0x211, &[1]),
        (0x22c, &[0xff, 0xff, 0xff, 0x7f]),
        (0x236, &[1]),
        (0x238, &[0xff, 7]),
        (0x258, &[0, 0, 0x20]),
        (0x260, &[0, 0, 1]),
    ] {
        bzimage[at..at + bytes.len()].copy_from_slice(bytes);
    }
    bzimage.extend(LINUX);
    bzimage.resize(0x700, 0);
    for image in [vmlinux, bzimage] {
        let ram = ram();
        let entry = linux::load(ram.memory(), &image, &options()).unwrap();
        if let Some(output) = run(&ram, &entry) {
            assert_eq!(output, b"HdrScons");
        }
    }
}

#[test]
fn a_pvh_kernel_finds_its_start_info() {
    // mov eax, [ebx]; out 0x10, eax; mov eax, [ebx + 12]; out 0x10, eax; hlt
    let code = b"\x8b\x03\xe7\x10\x8b\x43\x0c\xe7\x10\xf4";
    let note = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\0\0\x20\0";
    let ram = ram();
    let image = elf_file(0, 0, 0x20_0000, (note, code));
    let entry = pvh::load(ram.memory(), &image, &options()).unwrap();
    if let Some(output) = run(&ram, &entry) {
        assert_eq!(output, [0x78, 0xc5, 0x6e, 0x33, 1, 0, 0, 0], "magic number, number of modules");
    }
}

#[test]
fn a_multiboot_kernel_finds_its_information() {
    let mut image = Vec::new();
    let flags = 0x1_0000_u32;
    let checksum = 0_u32.wrapping_sub(0x1bad_b002 + flags);
    for word in [0x1bad_b002, flags, checksum, 0x20_0000, 0x20_0000, 0, 0, 0x20_0020] {
        image.extend(word.to_le_bytes());
    }
    // out 0x10, eax; mov eax, [ebx + 20]; out 0x10, eax; hlt
    image.extend(b"\xe7\x10\x8b\x43\x14\xe7\x10\xf4");
    let ram = ram();
    let entry = multiboot::load(ram.memory(), &image, &options()).unwrap();
    if let Some(output) = run(&ram, &entry) {
        assert_eq!(output, [0x02, 0xb0, 0xad, 0x2b, 1, 0, 0, 0], "magic number, number of modules");
    }
}
