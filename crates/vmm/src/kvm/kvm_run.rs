//! The page that the kernel shares with the VMM for each vCPU (`struct kvm_run`, api.rst 5).
//!
//! kvm-ioctls' own `VcpuFd::run` drops the width of a port access and the payload of an internal error, and makes a
//! `&mut kvm_run` of the whole page, which must not exist while a kicker on another thread writes `immediate_exit`.
//! So the page is read here, through raw pointers, field by field (docs/adr/0002-own-kvm-run.md).

#![allow(
    unsafe_code,
    reason = "the kernel and other threads write this memory: only raw pointers may name it"
)]

use std::mem::offset_of;
use std::ptr::{NonNull, addr_of, addr_of_mut};
use std::slice;
use std::sync::atomic::AtomicU8;

use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR, KVM_EXIT_IO,
    KVM_EXIT_IO_OUT, KVM_EXIT_MEMORY_FAULT, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN, KVM_EXIT_SYSTEM_EVENT,
    KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, kvm_regs, kvm_run,
};

use strata_cpu::Registers;

use crate::vcpu::{DebugEvent, Exit, Sync, Synced};

/// `Registers` is what the kernel writes as `kvm_regs`: eighteen words in the same order.
const SAME: () = {
    assert!(
        size_of::<Registers>() == size_of::<kvm_regs>() && align_of::<Registers>() == align_of::<kvm_regs>()
    );
    assert!(offset_of!(Registers, rax) == offset_of!(kvm_regs, rax));
    assert!(offset_of!(Registers, rbx) == offset_of!(kvm_regs, rbx));
    assert!(offset_of!(Registers, rcx) == offset_of!(kvm_regs, rcx));
    assert!(offset_of!(Registers, rdx) == offset_of!(kvm_regs, rdx));
    assert!(offset_of!(Registers, rsi) == offset_of!(kvm_regs, rsi));
    assert!(offset_of!(Registers, rdi) == offset_of!(kvm_regs, rdi));
    assert!(offset_of!(Registers, rsp) == offset_of!(kvm_regs, rsp));
    assert!(offset_of!(Registers, rbp) == offset_of!(kvm_regs, rbp));
    assert!(offset_of!(Registers, r8) == offset_of!(kvm_regs, r8));
    assert!(offset_of!(Registers, r15) == offset_of!(kvm_regs, r15));
    assert!(offset_of!(Registers, rip) == offset_of!(kvm_regs, rip));
    assert!(offset_of!(Registers, rflags) == offset_of!(kvm_regs, rflags));
};

/// A view of one vCPU's shared page. It does not own the mapping: `KvmVcpu` keeps both together.
#[derive(Debug)]
pub(super) struct RunPage {
    page: NonNull<kvm_run>,
    len: usize,
    /// What the kernel was asked to leave beside each exit.
    sync: Sync,
}

// SAFETY: the mapping is not tied to a thread; only the owner of the vCPU reads it, `immediate_exit` excepted, which
// is accessed as an atomic.
unsafe impl Send for RunPage {}

impl RunPage {
    /// # Safety
    ///
    /// `page` must be a mapped `kvm_run` of `len` bytes for as long as this value lives, and nobody may make a
    /// reference to the whole of it during that time.
    pub(super) unsafe fn new(page: NonNull<kvm_run>, len: usize) -> Self {
        Self { page, len, sync: Sync::Nothing }
    }

    pub(super) fn immediate_exit(&self) -> NonNull<AtomicU8> {
        // SAFETY: a field of the mapped page; `AtomicU8` has the size and alignment of `u8`.
        unsafe { NonNull::new_unchecked(addr_of_mut!((*self.page.as_ptr()).immediate_exit).cast()) }
    }

    /// The address of the page, as `mmap` returned it.
    pub(super) fn address(&self) -> u64 {
        self.page.as_ptr() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn reason(&self) -> u32 {
        // SAFETY: a field of the mapped page.
        unsafe { addr_of!((*self.page.as_ptr()).exit_reason).read() }
    }

    /// Whether `KVM_RUN`, having failed with `EFAULT` or `EHWPOISON`, left an exit here nevertheless: a memory fault (api.rst
    /// 5, `KVM_EXIT_MEMORY_FAULT`: the one reason that comes with an error).
    pub(super) fn is_memory_fault(&self) -> bool {
        self.reason() == KVM_EXIT_MEMORY_FAULT
    }

    /// Has the kernel leave registers beside each exit from now on (api.rst 5, "`kvm_valid_regs`").
    pub(super) fn sync(&mut self, which: Sync) {
        self.sync = which;
        let valid = match which {
            Sync::Nothing => 0,
            Sync::General => KVM_SYNC_X86_REGS,
            Sync::All => KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS,
        };
        // SAFETY: fields of the mapped page, which the kernel uses in `KVM_RUN` only.
        unsafe {
            let run = self.page.as_ptr();
            addr_of_mut!((*run).kvm_valid_regs).write(valid.into());
            // As in a page that registers were never left in: what is there now will be out of date.
            addr_of_mut!((*run).s.regs.regs.rflags).write(0);
        }
    }

    /// The exit that `KVM_RUN` has just left here, and the registers beside it. To be called once after each `KVM_RUN`
    /// that returned 0 or left a [memory fault](Self::is_memory_fault).
    #[allow(clippy::inline_always, reason = "an exit is a large value, best never made: see `vcpu::run`")]
    #[inline(always)]
    pub(super) fn exit(&mut self) -> (Exit<'_>, Synced<'_>) {
        let (page, sync) = (self.page, self.sync);
        let exit = self.reason_and_data();
        // SAFETY: fields of the mapped page, apart from all that an exit borrows; the kernel writes them in `KVM_RUN`
        // only, for which this borrow has to end. `Registers` lies in memory as `kvm_regs` does (see `SAME`), and any
        // bits are valid in it.
        let (general, system) = unsafe {
            let regs = addr_of!((*page.as_ptr()).s.regs);
            (&*addr_of!((*regs).regs).cast::<Registers>(), &*addr_of!((*regs).sregs))
        };
        // Zeroes where the kernel was not asked for them.
        (exit, Synced::new(Some(general), (sync == Sync::All).then_some(system)))
    }

    #[allow(clippy::inline_always, reason = "as for `exit`")]
    #[inline(always)]
    fn reason_and_data(&mut self) -> Exit<'_> {
        let () = SAME;
        let run = self.page.as_ptr();
        match self.reason() {
            KVM_EXIT_IO => self.pio(),
            KVM_EXIT_MMIO => self.mmio(),
            KVM_EXIT_HLT => Exit::Halt,
            KVM_EXIT_SHUTDOWN => Exit::Shutdown,
            KVM_EXIT_INTR => Exit::Interrupted,
            KVM_EXIT_DEBUG => {
                // SAFETY: the reason names this member of the union.
                let debug = unsafe { addr_of!((*run).__bindgen_anon_1.debug.arch).read() };
                Exit::Debug(DebugEvent {
                    rip: debug.pc,
                    exception: debug.exception,
                    dr6: debug.dr6,
                    dr7: debug.dr7,
                })
            }
            KVM_EXIT_FAIL_ENTRY => {
                // SAFETY: the reason names this member of the union.
                let failed = unsafe { addr_of!((*run).__bindgen_anon_1.fail_entry).read() };
                Exit::FailEntry { reason: failed.hardware_entry_failure_reason, cpu: failed.cpu }
            }
            KVM_EXIT_INTERNAL_ERROR => {
                // SAFETY: the reason names this member of the union; the kernel no longer writes it.
                let error = unsafe { &*addr_of!((*run).__bindgen_anon_1.internal) };
                let len = error.data.len().min(error.ndata as usize);
                Exit::InternalError {
                    suberror: error.suberror,
                    data: error.data.get(..len).unwrap_or_default(),
                }
            }
            KVM_EXIT_SYSTEM_EVENT => {
                // SAFETY: the reason names this member of the union; `data` is its payload in every kernel since 5.19.
                let (kind, count, data) = unsafe {
                    let event = addr_of!((*run).__bindgen_anon_1.system_event);
                    ((*event).type_, (*event).ndata, &*addr_of!((*event).__bindgen_anon_1.data))
                };
                Exit::SystemEvent {
                    kind,
                    data: data.get(..data.len().min(count as usize)).unwrap_or_default(),
                }
            }
            KVM_EXIT_MEMORY_FAULT => {
                // SAFETY: the reason names this member of the union.
                let fault = unsafe { addr_of!((*run).__bindgen_anon_1.memory_fault).read() };
                Exit::MemoryFault { flags: fault.flags, gpa: fault.gpa, size: fault.size }
            }
            reason => Exit::Unknown { reason },
        }
    }

    #[inline]
    fn pio(&mut self) -> Exit<'_> {
        let run = self.page.as_ptr();
        // SAFETY: the reason names this member of the union.
        let io = unsafe { addr_of!((*run).__bindgen_anon_1.io).read() };
        let bytes = io.count as usize * usize::from(io.size);
        let Some(start) = usize::try_from(io.data_offset).ok().filter(|start| {
            // The data lies behind the structure, inside the mapping: believe the kernel only so far.
            *start >= size_of::<kvm_run>() && self.len.checked_sub(*start).is_some_and(|room| bytes <= room)
        }) else {
            return Exit::Unknown { reason: KVM_EXIT_IO };
        };
        // SAFETY: inside the mapping (checked), behind `kvm_run` itself, and only this thread uses it until the next run.
        let data = unsafe { slice::from_raw_parts_mut(run.cast::<u8>().add(start), bytes) };
        if u32::from(io.direction) == KVM_EXIT_IO_OUT {
            Exit::PioWrite { port: io.port, width: io.size, data }
        } else {
            Exit::PioRead { port: io.port, width: io.size, data }
        }
    }

    #[inline]
    fn mmio(&mut self) -> Exit<'_> {
        // SAFETY: the reason names this member of the union, and only this thread uses it until the next run.
        let mmio = unsafe { &mut *addr_of_mut!((*self.page.as_ptr()).__bindgen_anon_1.mmio) };
        let len = mmio.data.len().min(mmio.len as usize);
        let data = mmio.data.get_mut(..len).unwrap_or_default();
        if mmio.is_write != 0 {
            Exit::MmioWrite { addr: mmio.phys_addr, data }
        } else {
            Exit::MmioRead { addr: mmio.phys_addr, data }
        }
    }
}

#[cfg(test)]
#[path = "kvm_run_test.rs"]
mod tests;
