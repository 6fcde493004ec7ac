//! A vCPU's file descriptor.

use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;

use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED, Msrs, kvm_msr_entry,
    kvm_regs, kvm_sregs, kvm_xcrs,
};
use kvm_ioctls::VcpuFd;
use strata_cpu::fpu::Fxsave;
use strata_cpu::x86_64::lapic::{Delivery, LVT_LINT0, LVT_LINT1, LapicPage};
use strata_cpu::x86_64::msr::Msr;
use strata_cpu::{ApplyTo as _, Cpuid, RFlags, X86State};
use strata_memory::Mapping;
use vmm_sys_util::ioctl::ioctl;

use super::calls::{CallError, Calls};
use super::debug::GuestDebug;
use super::kick::{KickReceiver, VcpuKicker};
use super::kvm_run::RunPage;
use super::vm::Vm;
use super::{cpuid, strace};
use crate::vcpu::{Activity, Exit, Hidden, Sync, Synced, Vcpu};

/// `KVM_RUN`, `_IO(KVMIO, 0x80)` (api.rst 4.10).
const KVM_RUN: libc::c_ulong = 0xae80;

/// A virtual processor of KVM's.
///
/// It holds its machine and the machine's RAM: whatever is dropped first, the guest never runs on unmapped memory.
#[derive(Debug)]
pub struct KvmVcpu {
    // Dropped first: no kicker may touch the page that goes away with `fd`.
    kick: KickReceiver,
    page: RunPage,
    fd: VcpuFd,
    calls: Calls,
    /// `page` holds an exit that [`Vcpu::state`] came upon, and nobody has been told yet.
    unseen: bool,
    /// Keeps the machine and its RAM.
    _vm: Vm,
}

impl KvmVcpu {
    #[allow(unsafe_code, reason = "takes over the mapping that kvm-ioctls made")]
    pub(super) fn new(mut fd: VcpuFd, vm: &Vm) -> Self {
        // By its address alone: a pointer made from the reference may name `kvm_run` only, and the data of port accesses
        // lies behind it in the mapping.
        let address = std::ptr::from_mut(fd.get_kvm_run()).expose_provenance();
        let page =
            NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling());
        // SAFETY: the mapping lives as long as `fd`, which lives as long as `page` and `kick` (fields of one struct,
        // `kick` dropped first). From here on nothing asks kvm-ioctls for a reference to the page: `run`,
        // `get_kvm_run`, `set_kvm_immediate_exit` and the `sync_regs` family are never called again.
        let (page, kick) = unsafe {
            let page = RunPage::new(page, vm.fd().run_size());
            let kick = KickReceiver::new(page.immediate_exit());
            (page, kick)
        };
        let calls = vm.calls().clone();
        calls.show_mapping(&Mapping {
            asked_addr: 0,
            len: page.len() as u64,
            prot: libc::PROT_READ | libc::PROT_WRITE,
            flags: libc::MAP_SHARED,
            fd: fd.as_raw_fd(),
            offset: 0,
            result: page.address(),
        });
        Self { kick, page, fd, calls, unseen: false, _vm: vm.clone() }
    }

    pub(super) fn ioctl<T>(
        &self,
        name: &'static str,
        argument: impl FnOnce(Option<&T>) -> String,
        call: impl FnOnce(&VcpuFd) -> Result<T, kvm_ioctls::Error>,
    ) -> Result<T, CallError> {
        self.calls.make(
            name,
            || call(&self.fd),
            |result| (strace::ioctl(&self.fd, name, &argument(result)), 0),
        )
    }

    /// Gives the guest `cpuid`, with this vCPU's own APIC id in it (`KVM_SET_CPUID2`, 4.47).
    ///
    /// # Errors
    ///
    /// What the kernel answered; `EINVAL` once the vCPU has run.
    pub fn set_cpuid(&self, cpuid: &Cpuid, apic_id: u32) -> Result<(), CallError> {
        let own = cpuid::to_kvm(cpuid, apic_id)?;
        self.ioctl("KVM_SET_CPUID2", |_| strace::cpuid(Some(&own)), |fd| fd.set_cpuid2(&own))
    }

    /// Sets model-specific registers (`KVM_SET_MSRS`, 4.19).
    ///
    /// # Errors
    ///
    /// What the kernel answered; `EINVAL` if it does not know one of them.
    pub fn set_msrs(&self, msrs: &[Msr]) -> Result<(), CallError> {
        let name = "KVM_SET_MSRS";
        let refused = |errno| CallError { call: name, source: io::Error::from_raw_os_error(errno) };
        let entries: Vec<_> = msrs.iter().copied().map(kvm_msr_entry::from).collect();
        let entries = Msrs::from_entries(&entries).map_err(|_| refused(libc::E2BIG))?;
        // It says how many it has set, and stops at the first that it refuses.
        let set = self.ioctl(name, |_| "...".to_owned(), |fd| fd.set_msrs(&entries))?;
        if set == msrs.len() { Ok(()) } else { Err(refused(libc::EINVAL)) }
    }

    /// Sets XCR0: the kinds of state that XSAVE saves (`KVM_SET_XCRS`, 4.44).
    ///
    /// # Errors
    ///
    /// What the kernel answered; `EINVAL` for a kind that the vCPU's CPUID lacks.
    pub fn set_xcr0(&self, value: u64) -> Result<(), CallError> {
        let mut registers = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
        registers.xcrs[0].value = value;
        self.ioctl("KVM_SET_XCRS", |_| "...".to_owned(), |fd| fd.set_xcrs(&registers))
    }

    /// Connects the local APIC's pins for a guest that never uses the 8259s: LINT0, where they arrive, is masked, and
    /// LINT1 is the NMI (`KVM_GET_LAPIC`, 4.57). KVM's reset leaves vCPU 0's LINT0 open for them.
    ///
    /// # Errors
    ///
    /// What the kernel answered; `EINVAL` without an in-kernel interrupt controller.
    pub fn set_local_interrupts(&self) -> Result<(), CallError> {
        let mut state = self.ioctl("KVM_GET_LAPIC", |_| "...".to_owned(), VcpuFd::get_lapic)?;
        let mut page = LapicPage::from(&state);
        page.mask(LVT_LINT0);
        page.connect(LVT_LINT1, Delivery::Nmi);
        page.apply_to(&mut state);
        self.ioctl("KVM_SET_LAPIC", |_| "...".to_owned(), |fd| fd.set_lapic(&state))
    }

    pub(super) fn regs(&self) -> Result<kvm_regs, CallError> {
        self.ioctl("KVM_GET_REGS", strace::regs, VcpuFd::get_regs)
    }

    pub(super) fn sregs(&self) -> Result<kvm_sregs, CallError> {
        self.ioctl("KVM_GET_SREGS", strace::sregs, VcpuFd::get_sregs)
    }

    /// `KVM_RUN` itself.
    #[inline]
    fn enter(&self) -> Result<(), CallError> {
        let call = || {
            #[allow(unsafe_code, reason = "an ioctl")]
            // SAFETY: the request takes no argument; what it writes is the page, which no reference names.
            let result = unsafe { ioctl(&self.fd, KVM_RUN) };
            if result == 0 { Ok(()) } else { Err(kvm_ioctls::Error::last()) }
        };
        self.calls.make("KVM_RUN", call, |_| (strace::ioctl(&self.fd, "KVM_RUN", "0"), 0))
    }
}

impl Vcpu for KvmVcpu {
    #[allow(clippy::inline_always, reason = "an exit is a large value, best never made: see `vcpu::run`")]
    #[inline(always)]
    fn run(&mut self) -> Result<Exit<'_>, CallError> {
        Ok(self.run_synced()?.0)
    }

    #[allow(clippy::inline_always, reason = "as for `run`")]
    #[inline(always)]
    fn run_synced(&mut self) -> Result<(Exit<'_>, Synced<'_>), CallError> {
        self.kick.bind();
        if !std::mem::take(&mut self.unseen)
            && let Err(error) = self.enter()
        {
            match error.source.raw_os_error() {
                Some(libc::EINTR) if self.kick.take() => return Ok((Exit::Kicked, Synced::NONE)),
                Some(libc::EINTR | libc::EAGAIN) => return Ok((Exit::Interrupted, Synced::NONE)),
                Some(libc::EFAULT | libc::EHWPOISON) if self.page.is_memory_fault() => {}
                _ => return Err(error),
            }
        }
        // In one place: it becomes part of every loop, and a second copy there costs each exit instructions.
        Ok(self.page.exit())
    }

    fn sync(&mut self, which: Sync) {
        self.page.sync(which);
    }

    fn state(&mut self) -> Result<X86State, CallError> {
        // An `in` or `out` counts as executed only when the vCPU enters KVM_RUN again (api.rst 5, at KVM_EXIT_IO);
        // until then RIP still names it. EINTR is the answer that is asked for. An instruction with more than one exit
        // (an MMIO access across pages) comes back with the next of them instead, which is then `run`'s to tell.
        self.kick.bind();
        if !self.unseen {
            match self.kick.without_entering(|| self.enter()) {
                Ok(()) => self.unseen = true,
                Err(error) if matches!(error.source.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(X86State::from_kvm(&self.regs()?, &self.sregs()?))
    }

    fn set_state(&mut self, state: &X86State) -> Result<(), CallError> {
        let mut sregs = self.sregs()?;
        state.apply_to(&mut sregs);
        self.ioctl("KVM_SET_SREGS", |_| strace::sregs(Some(&sregs)), |fd| fd.set_sregs(&sregs))?;
        let mut regs = kvm_regs::default();
        state.apply_to(&mut regs);
        self.ioctl("KVM_SET_REGS", |_| strace::regs(Some(&regs)), |fd| fd.set_regs(&regs))
    }

    fn activity(&mut self) -> Result<Activity, CallError> {
        let state = self.ioctl("KVM_GET_MP_STATE", |_| "...".to_owned(), VcpuFd::get_mp_state)?;
        match state.mp_state {
            KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED => Ok(Activity::Off),
            KVM_MP_STATE_HALTED => {
                if self.regs()?.rflags & RFlags::IF.bits() != 0 {
                    return Ok(Activity::Waiting);
                }
                // Neither waits for IF.
                let events =
                    self.ioctl("KVM_GET_VCPU_EVENTS", |_| "...".to_owned(), VcpuFd::get_vcpu_events)?;
                let wakes = events.nmi.pending != 0 || events.smi.pending != 0;
                Ok(if wakes { Activity::Running } else { Activity::Off })
            }
            _ => Ok(Activity::Running),
        }
    }

    fn kicker(&self) -> VcpuKicker {
        self.kick.kicker()
    }

    fn set_guest_debug(&mut self, debug: &GuestDebug) -> Result<(), CallError> {
        KvmVcpu::set_guest_debug(self, debug)
    }

    fn inject_breakpoint(&mut self, debug: &GuestDebug) -> Result<(), CallError> {
        KvmVcpu::inject_breakpoint(self, debug)
    }

    fn fpu(&mut self) -> Result<Fxsave, CallError> {
        self.fxsave()
    }

    fn set_fpu(&mut self, fpu: &Fxsave) -> Result<(), CallError> {
        self.set_fxsave(fpu)
    }

    fn hidden(&mut self) -> Result<Hidden, CallError> {
        self.read_hidden()
    }

    fn set_hidden(&mut self, hidden: &Hidden) -> Result<(), CallError> {
        self.write_hidden(hidden)
    }
}
