//! A virtual machine by raw system calls, for one guest: loaded by its segments, entered by PVH, without a device but the
//! port that ends it. Nothing of Strata's is used here.

#![allow(unsafe_code, reason = "raw system calls")]
#![allow(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "`libc::Ioctl` is an i32 with musl and a u64 with the GNU C library"
)]

use std::error::Error;
use std::ptr::{addr_of, addr_of_mut, null_mut};

use kvm_bindings::{
    CpuId, KVM_EXIT_IO, kvm_regs, kvm_run, kvm_segment, kvm_sregs, kvm_userspace_memory_region,
};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{LittleEndian, elf};

// Requests of api.rst 4, as <linux/kvm.h> computes them.
const KVM_CREATE_VM: u32 = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: u32 = 0xae04;
const KVM_GET_SUPPORTED_CPUID: u32 = 0xc008_ae05;
const KVM_CREATE_VCPU: u32 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u32 = 0x4020_ae46;
const KVM_RUN: u32 = 0xae80;
const KVM_SET_REGS: u32 = 0x4090_ae82;
const KVM_GET_SREGS: u32 = 0x8138_ae83;
const KVM_SET_SREGS: u32 = 0x4138_ae84;
const KVM_SET_CPUID2: u32 = 0x4008_ae90;

/// Where the start info and the command line are put: the second page. The guest leaves the first one unmapped.
const START_INFO: usize = 0x1000;
const COMMAND_LINE: usize = 0x1100;
/// PVH's magic number, and its note.
const MAGIC: u32 = 0x336e_c578;
const DEBUG_EXIT: u16 = 0xf4;
const SUCCESS: u8 = 0x10;

/// What all machines have in common.
pub(crate) struct Bare {
    kvm: i32,
    /// Address, and bytes.
    segments: Vec<(usize, Vec<u8>)>,
    entry: u64,
    ram: usize,
}

fn ioctl<T>(fd: i32, request: u32, argument: *mut T) -> i32 {
    // SAFETY: the callers below pass what each request takes, alive for the call.
    let result = unsafe { libc::ioctl(fd, request as libc::Ioctl, argument) };
    assert!(result >= 0, "ioctl {request:#x} failed: {}", std::io::Error::last_os_error());
    result
}

fn map(len: usize, flags: i32, fd: i32) -> *mut u8 {
    // SAFETY: a new mapping, placed by the kernel.
    let at = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
    assert!(at != libc::MAP_FAILED, "mmap failed: {}", std::io::Error::last_os_error());
    at.cast()
}

impl Bare {
    /// Opens KVM and reads the guest.
    pub(crate) fn new(path: &str, ram: usize) -> Result<Self, Box<dyn Error>> {
        let bytes = std::fs::read(path)?;
        let file = ElfFile64::<LittleEndian>::parse(&*bytes)?;
        let mut segments = Vec::new();
        for header in file.elf_program_headers() {
            if header.p_type(LittleEndian) == elf::PT_LOAD {
                let data = header.data(LittleEndian, &*bytes).map_err(|()| "a segment is cut off")?;
                segments.push((usize::try_from(header.p_paddr(LittleEndian))?, data.to_vec()));
            }
        }
        // SAFETY: a C string.
        let kvm = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if kvm < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // The guests of `strata-guest` have the same entry in the header and in the note.
        Ok(Self { kvm, segments, entry: file.elf_header().e_entry.get(LittleEndian), ram })
    }

    /// Runs a test, which has to pass, and takes its machine down.
    pub(crate) fn run(&self, test: usize) {
        let vm = ioctl::<u8>(self.kvm, KVM_CREATE_VM, null_mut());
        let ram = map(self.ram, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1);
        let mut region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: self.ram as u64,
            userspace_addr: ram as u64,
        };
        ioctl(vm, KVM_SET_USER_MEMORY_REGION, &raw mut region);
        let load = |at: usize, bytes: &[u8]| {
            assert!(at + bytes.len() <= self.ram, "the guest does not fit");
            // SAFETY: inside the mapping (checked), and no guest runs yet.
            unsafe { ram.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        };
        for (at, bytes) in &self.segments {
            load(*at, bytes);
        }
        let mut info = [0_u8; 56];
        info[..4].copy_from_slice(&MAGIC.to_le_bytes());
        info[24..32].copy_from_slice(&(COMMAND_LINE as u64).to_le_bytes());
        load(START_INFO, &info);
        load(COMMAND_LINE, format!("test={test}\0").as_bytes());

        // SAFETY: KVM_CREATE_VCPU takes its argument by value.
        let vcpu = unsafe { libc::ioctl(vm, KVM_CREATE_VCPU as libc::Ioctl, 0) };
        assert!(vcpu >= 0, "cannot make a vCPU: {}", std::io::Error::last_os_error());
        let size = ioctl::<u8>(self.kvm, KVM_GET_VCPU_MMAP_SIZE, null_mut()) as usize;
        let run: *mut kvm_run = map(size, libc::MAP_SHARED, vcpu).cast();
        self.set_state(vcpu);
        // SAFETY: the request takes no argument, which is to say 0; what it writes is the page.
        let result = unsafe { libc::ioctl(vcpu, KVM_RUN as libc::Ioctl, 0) };
        assert!(result == 0, "KVM_RUN failed: {}", std::io::Error::last_os_error());
        // SAFETY: fields of the mapped page; the exit's reason names the member.
        let (reason, io) =
            unsafe { (addr_of!((*run).exit_reason).read(), addr_of_mut!((*run).__bindgen_anon_1.io).read()) };
        assert_eq!((reason, io.port), (KVM_EXIT_IO, DEBUG_EXIT), "the guest has not ended as it should");
        // SAFETY: the data of the exit lies in the mapping, where the kernel says.
        let value = unsafe { run.cast::<u8>().add(io.data_offset as usize).read() };
        assert_eq!(value, SUCCESS, "test {test} has failed");
        // SAFETY: nobody uses the mappings and descriptors any more.
        unsafe {
            libc::munmap(run.cast(), size);
            libc::close(vcpu);
            libc::close(vm);
            libc::munmap(ram.cast(), self.ram);
        }
    }

    /// CPUID, and protected mode with flat segments at the guest's entry.
    fn set_state(&self, vcpu: i32) {
        let mut cpuid =
            CpuId::new(kvm_bindings::KVM_MAX_CPUID_ENTRIES).expect("a table of that size is allowed");
        ioctl(self.kvm, KVM_GET_SUPPORTED_CPUID, cpuid.as_mut_fam_struct_ptr());
        ioctl(vcpu, KVM_SET_CPUID2, cpuid.as_mut_fam_struct_ptr());
        let mut sregs = kvm_sregs::default();
        ioctl(vcpu, KVM_GET_SREGS, &raw mut sregs);
        let flat = |selector, type_| kvm_segment {
            base: 0,
            limit: u32::MAX,
            selector,
            type_,
            present: 1,
            db: 1,
            s: 1,
            g: 1,
            ..kvm_segment::default()
        };
        sregs.cs = flat(8, 0xb);
        for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
            *segment = flat(16, 3);
        }
        sregs.cr0 = 0x11; // PE, ET
        ioctl(vcpu, KVM_SET_SREGS, &raw mut sregs);
        let mut regs = kvm_regs { rip: self.entry, rbx: START_INFO as u64, rflags: 2, ..kvm_regs::default() };
        ioctl(vcpu, KVM_SET_REGS, &raw mut regs);
    }
}
