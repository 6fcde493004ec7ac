//! What a debugger asks of a vCPU: where the guest is to stop, and the registers that no run needs.

use std::io;

use kvm_bindings::{
    KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_SINGLESTEP,
    KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, Msrs, kvm_guest_debug, kvm_msr_entry,
};
use kvm_ioctls::VcpuFd;
use strata_cpu::fpu::Fxsave;

use super::calls::CallError;
use super::vcpu::KvmVcpu;
use crate::vcpu::Hidden;

/// What a guest is watched for (`KVM_SET_GUEST_DEBUG`, api.rst 4.87).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestDebug {
    /// Exit after every instruction.
    pub single_step: bool,
    /// While stepping, deliver no interrupts: otherwise a guest with a timer never gets beyond its handler. Kernels before
    /// 5.16 deliver them all the same.
    pub block_interrupts: bool,
    /// Exit before the instruction at one of these linear addresses. Breakpoints and watchpoints together are as many as the
    /// processor has, which is four.
    pub breakpoints: Vec<u64>,
    /// Exit after an access to one of these; in the debug registers they follow the breakpoints.
    pub watchpoints: Vec<Watchpoint>,
    /// Exit at `int3` (0xcc) instead of raising #BP.
    pub software_breakpoints: bool,
}

impl GuestDebug {
    /// One step. To be asked for before each: behind an instruction that KVM emulates, `mov cr4` for one, it steps on only if
    /// RIP is where it was when that was asked for (Linux, `__kvm_set_rflags`).
    pub const STEP: Self = Self {
        single_step: true,
        block_interrupts: false,
        breakpoints: Vec::new(),
        watchpoints: Vec::new(),
        software_breakpoints: false,
    };
}

/// A watched piece of the linear address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchpoint {
    /// Its first byte, a multiple of `len`.
    pub address: u64,
    /// 1, 2, 4 or 8 bytes.
    pub len: u8,
    /// Whether reading it counts too. The processor has no watchpoints for reads alone.
    pub reads: bool,
}

impl KvmVcpu {
    /// Has the guest stop at what `debug` says; `GuestDebug::default()` ends that.
    ///
    /// # Errors
    ///
    /// What the kernel answered. More than four breakpoints and watchpoints, and a watchpoint of another length or
    /// alignment, are `EINVAL` without a call.
    pub fn set_guest_debug(&self, debug: &GuestDebug) -> Result<(), CallError> {
        self.guest_debug(debug, 0)
    }

    /// As [`set_guest_debug`](Self::set_guest_debug), and raises #BP in the guest: it has an `int3` of its own.
    ///
    /// # Errors
    ///
    /// What the kernel answered; `EBUSY` if an exception is pending.
    pub fn inject_breakpoint(&self, debug: &GuestDebug) -> Result<(), CallError> {
        self.guest_debug(debug, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_BP)
    }

    fn guest_debug(&self, debug: &GuestDebug, more: u32) -> Result<(), CallError> {
        let name = "KVM_SET_GUEST_DEBUG";
        let Some(registers) = debug_registers(debug) else {
            return Err(CallError { call: name, source: io::Error::from_raw_os_error(libc::EINVAL) });
        };
        let mut request = kvm_guest_debug { control: control(debug) | more, ..Default::default() };
        request.arch.debugreg = registers;
        self.ioctl(name, |_| "...".to_owned(), |fd| fd.set_guest_debug(&request))
    }

    /// The state in XSAVE's layout begins as FXSAVE's (SDM vol. 1, 13.4.1). `KVM_GET_FPU` lacks MXCSR.
    pub(super) fn fxsave(&self) -> Result<Fxsave, CallError> {
        let state = self.ioctl("KVM_GET_XSAVE", |_| "...".to_owned(), VcpuFd::get_xsave)?;
        let mut image = Fxsave::default();
        for (bytes, word) in image.0.chunks_exact_mut(4).zip(state.region) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Ok(image)
    }

    pub(super) fn set_fxsave(&self, fpu: &Fxsave) -> Result<(), CallError> {
        /// `XSTATE_BV`, the first word of XSAVE's header: which components are not in their initial state (SDM vol. 1, 13.4.2).
        /// Bit 0 is x87, bit 1 SSE.
        const XSTATE_BV: usize = Fxsave::LEN / 4;
        let mut state = self.ioctl("KVM_GET_XSAVE", |_| "...".to_owned(), VcpuFd::get_xsave)?;
        for (word, bytes) in state.region.iter_mut().zip(fpu.0.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        state.region[XSTATE_BV] |= 0b11;
        #[allow(unsafe_code, reason = "the call reads as much as the guest's state is long")]
        self.ioctl(
            "KVM_SET_XSAVE",
            |_| "...".to_owned(),
            |fd| {
                // SAFETY: the kernel reads more than the struct's 4096 bytes only for state that was enabled for guests by
                // arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM), which nothing here calls.
                unsafe { fd.set_xsave(&state) }
            },
        )
    }

    pub(super) fn read_hidden(&self) -> Result<Hidden, CallError> {
        let asked = || Msrs::from_entries(&[kvm_msr_entry { index: KERNEL_GS_BASE, ..Default::default() }]);
        let refused =
            || CallError { call: "KVM_GET_MSRS", source: io::Error::from_raw_os_error(libc::EINVAL) };
        let mut msrs = asked().map_err(|_| refused())?;
        self.ioctl("KVM_GET_MSRS", |_| "...".to_owned(), |fd| fd.get_msrs(&mut msrs))?;
        let kernel_gs_base = msrs.as_slice().first().map_or(0, |msr| msr.data);
        Ok(Hidden { kernel_gs_base, cr8: self.sregs()?.cr8 })
    }

    pub(super) fn write_hidden(&self, hidden: &Hidden) -> Result<(), CallError> {
        let &Hidden { kernel_gs_base, cr8 } = hidden;
        let mut sregs = self.sregs()?;
        sregs.cr8 = cr8;
        self.ioctl("KVM_SET_SREGS", |_| "...".to_owned(), |fd| fd.set_sregs(&sregs))?;
        self.set_msrs(&[strata_cpu::msr::Msr { index: KERNEL_GS_BASE, value: kernel_gs_base }])
    }
}

/// `IA32_KERNEL_GS_BASE` (SDM vol. 4, table 2-2): what SWAPGS exchanges with the base of GS.
const KERNEL_GS_BASE: u32 = 0xc000_0102;

fn control(debug: &GuestDebug) -> u32 {
    let mut control = 0;
    if debug.single_step {
        control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        if debug.block_interrupts {
            control |= KVM_GUESTDBG_BLOCKIRQ;
        }
    }
    if !debug.breakpoints.is_empty() || !debug.watchpoints.is_empty() {
        control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
    }
    if debug.software_breakpoints {
        control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
    }
    control
}

/// DR0..DR3 and DR7 (SDM vol. 3, 18.2.4): Ln (bit 2n) enables, R/Wn (from bit 16 + 4n) says at what, `LENn` (from bit 18 + 4n)
/// how long; R/W and LEN 0 mean execution. Bit 10 of DR7 reads as one.
fn debug_registers(debug: &GuestDebug) -> Option<[u64; 8]> {
    let mut registers = [0; 8];
    let mut control = 1 << 10;
    let breakpoints = debug.breakpoints.iter().map(|&address| Some((address, 0)));
    let watchpoints = debug.watchpoints.iter().map(|watch| {
        let len = match watch.len {
            1 => 0b00,
            2 => 0b01,
            4 => 0b11,
            8 => 0b10,
            _ => return None,
        };
        let access = if watch.reads { 0b11 } else { 0b01 };
        watch.address.is_multiple_of(watch.len.into()).then_some((watch.address, len << 2 | access))
    });
    for (n, found) in breakpoints.chain(watchpoints).enumerate() {
        let (address, condition) = found?;
        if n > 3 {
            return None;
        }
        *registers.get_mut(n)? = address;
        control |= 1 << (2 * n) | condition << (16 + 4 * n);
    }
    registers[7] = control;
    Some(registers)
}

#[cfg(test)]
#[path = "debug_test.rs"]
mod tests;
