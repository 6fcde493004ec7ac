//! A virtual machine by raw system calls: what a guest costs at the least. Nothing of Strata's is used here.

#![allow(dead_code, reason = "each program of this folder uses a part")]
#![allow(unsafe_code, reason = "raw system calls")]
#![allow(
    clippy::cast_lossless,
    clippy::cast_possible_wrap,
    reason = "`libc::Ioctl` is an i32 with musl and a u64 with the GNU C library"
)]

use std::ptr::{addr_of, addr_of_mut, null_mut};

use kvm_bindings::{
    CpuId, KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_MMIO, kvm_regs, kvm_run, kvm_sregs,
    kvm_userspace_memory_region,
};

// Requests of api.rst 4, as <linux/kvm.h> computes them.
const KVM_GET_API_VERSION: u32 = 0xae00;
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

/// Bytes of RAM, from address 0.
pub(crate) const RAM: usize = 64 << 10;
/// Where code is put and begins: where Strata puts flat images in real mode.
pub(crate) const CODE_AT: usize = 0x7c00;

fn ioctl<T>(fd: i32, request: u32, argument: *mut T) -> i32 {
    // SAFETY: the callers below pass what each request takes, alive for the call.
    let result = unsafe { libc::ioctl(fd, request as libc::Ioctl, argument) };
    assert!(result >= 0, "ioctl {request:#x} failed: {}", std::io::Error::last_os_error());
    result
}

fn map(len: usize, flags: i32, fd: i32) -> *mut u8 {
    // SAFETY: a new mapping, placed by the kernel; it is kept until the process ends.
    let at = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
    assert!(at != libc::MAP_FAILED, "mmap failed: {}", std::io::Error::last_os_error());
    at.cast()
}

/// A machine in real mode with 64 KiB of RAM. It is never taken down: the end of the process does that.
pub(crate) struct Machine {
    kvm: i32,
    vm: i32,
    ram: *mut u8,
}

impl Machine {
    /// Opens KVM and makes a machine with RAM.
    pub(crate) fn new() -> Self {
        // SAFETY: a C string.
        let kvm = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        assert!(kvm >= 0, "cannot open /dev/kvm: {}", std::io::Error::last_os_error());
        assert_eq!(ioctl::<u8>(kvm, KVM_GET_API_VERSION, null_mut()), 12);
        let vm = ioctl::<u8>(kvm, KVM_CREATE_VM, null_mut());
        let ram = map(RAM, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1);
        let mut region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: RAM as u64,
            userspace_addr: ram as u64,
        };
        ioctl(vm, KVM_SET_USER_MEMORY_REGION, &raw mut region);
        Self { kvm, vm, ram }
    }

    /// Copies `code` to `at`.
    pub(crate) fn load(&self, at: usize, code: &[u8]) {
        assert!(at + code.len() <= RAM, "the code does not fit");
        // SAFETY: inside the mapping (checked), and no guest runs yet.
        unsafe { self.ram.add(at).copy_from_nonoverlapping(code.as_ptr(), code.len()) };
    }

    /// Makes vCPU `id`, which begins at `ip` in real mode.
    pub(crate) fn vcpu(&self, id: usize, ip: usize) -> Vcpu {
        let size = ioctl::<u8>(self.kvm, KVM_GET_VCPU_MMAP_SIZE, null_mut());
        // SAFETY: KVM_CREATE_VCPU takes its argument by value.
        let fd = unsafe { libc::ioctl(self.vm, KVM_CREATE_VCPU as libc::Ioctl, id) };
        assert!(fd >= 0, "cannot make a vCPU: {}", std::io::Error::last_os_error());
        let run = map(size.cast_unsigned() as usize, libc::MAP_SHARED, fd).cast();
        let mut cpuid =
            CpuId::new(kvm_bindings::KVM_MAX_CPUID_ENTRIES).expect("a table of that size is allowed");
        ioctl(self.kvm, KVM_GET_SUPPORTED_CPUID, cpuid.as_mut_fam_struct_ptr());
        ioctl(fd, KVM_SET_CPUID2, cpuid.as_mut_fam_struct_ptr());
        let mut sregs = kvm_sregs::default();
        ioctl(fd, KVM_GET_SREGS, &raw mut sregs);
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        ioctl(fd, KVM_SET_SREGS, &raw mut sregs);
        let mut regs = kvm_regs { rip: ip as u64, rflags: 2, ..kvm_regs::default() };
        ioctl(fd, KVM_SET_REGS, &raw mut regs);
        Vcpu { fd, run }
    }
}

/// A vCPU with its shared page.
pub(crate) struct Vcpu {
    fd: i32,
    run: *mut kvm_run,
}

// SAFETY: the mapping belongs to no thread, and one thread at a time has the vCPU.
unsafe impl Send for Vcpu {}

impl Vcpu {
    /// Enters the guest and returns the reason of its exit.
    #[inline]
    pub(crate) fn enter(&self) -> u32 {
        // SAFETY: the request takes no argument, which is to say 0; what it writes is the page.
        let result = unsafe { libc::ioctl(self.fd, KVM_RUN as libc::Ioctl, 0) };
        assert!(result == 0, "KVM_RUN failed: {}", std::io::Error::last_os_error());
        // SAFETY: a field of the mapped page.
        unsafe { addr_of!((*self.run).exit_reason).read() }
    }

    /// The raw loop: enters the guest until it halts, and discards what it writes. Returns how many exits there were
    /// before.
    pub(crate) fn run(&self) -> u64 {
        let mut exits = 0;
        loop {
            match self.enter() {
                KVM_EXIT_IO | KVM_EXIT_MMIO => exits += 1,
                KVM_EXIT_HLT => return exits,
                reason => panic!("exit {reason} was not expected"),
            }
        }
    }

    /// The first byte of the port access that the last exit was.
    pub(crate) fn byte(&self) -> u8 {
        // SAFETY: the exit's reason names this member; its data lies in the mapping, where the kernel says.
        unsafe {
            let io = addr_of_mut!((*self.run).__bindgen_anon_1.io).read();
            self.run.cast::<u8>().add(usize::try_from(io.data_offset).unwrap_or(0)).read()
        }
    }
}
