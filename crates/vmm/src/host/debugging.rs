//! What a debugger can do on this host.

use std::path::Path;

use strata_cpu::X86State;
use strata_memory::vm_memory::{Bytes as _, GuestAddress};
use strata_memory::{RamError, RamSpec, layout};

use crate::kvm::{CallError, Calls, GuestDebug, Kvm, KvmVcpu, OpenError, SlotFlags, Watchpoint};
use crate::vcpu::{Exit, Vcpu as _};

/// What a debugger can do with guests of this host. KVM on hardware can all of it; elsewhere the calls succeed, and then
/// nothing happens: only trying tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is tried by itself")]
pub struct DebugAbilities {
    /// Execute one instruction.
    pub single_step: bool,
    /// Stop before an instruction at an address in a debug register.
    pub breakpoints: bool,
    /// Stop after an access to an address in a debug register.
    pub watchpoints: bool,
    /// Stop at an `int3`.
    pub software_breakpoints: bool,
}

impl DebugAbilities {
    /// As on hardware.
    pub const ALL: Self =
        Self { single_step: true, breakpoints: true, watchpoints: true, software_breakpoints: true };
}

/// Why that could not be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeDebugError {
    /// No KVM.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No machine to try it with.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No memory for one.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// Real-mode code at [`ENTRY`], with what is tried at each instruction.
const PROGRAM: &[u8] = &[
    0x90, // nop: a step
    0x90, // nop: a breakpoint
    0xa2, 0x00, 0x00, // mov [0], al: a watchpoint
    0xcc, // int3
    0xf4, // hlt
];
const ENTRY: u16 = 0x100;
/// Where in it the `int3` is.
const INT3: u16 = 5;

/// Tries it with a machine of one page, in about a millisecond.
///
/// # Errors
///
/// [`ProbeDebugError`]: there is no machine to try it with.
pub fn probe_debugging(device: &Path) -> Result<DebugAbilities, ProbeDebugError> {
    let kvm = Kvm::open(device, Calls::new())?;
    let ram = RamSpec::new(layout::PAGE_SIZE).build()?;
    // What does not fit is not there, and then nothing works.
    let _ = ram.memory().write_slice(PROGRAM, GuestAddress(ENTRY.into()));
    let tries = |debug: &GuestDebug, skip: u16| -> Result<bool, CallError> {
        // A new one each time: a vCPU that has shut down is not to be used again.
        let vm = kvm.create_vm()?;
        vm.set_tss_address(layout::KVM_TSS)?;
        vm.set_memory(&ram, SlotFlags::default())?;
        let vcpu = vm.create_vcpu(0)?;
        stops(vcpu, debug, skip)
    };
    let none = GuestDebug::default();
    let breakpoint = GuestDebug { breakpoints: vec![u64::from(ENTRY) + 1], ..none.clone() };
    let watched = Watchpoint { address: 0, len: 1, reads: false };
    let watchpoint = GuestDebug { watchpoints: vec![watched], ..none.clone() };
    Ok(DebugAbilities {
        single_step: tries(&GuestDebug { single_step: true, ..none.clone() }, 0)?,
        breakpoints: tries(&breakpoint, 0)?,
        watchpoints: tries(&watchpoint, 0)?,
        software_breakpoints: tries(&GuestDebug { software_breakpoints: true, ..none }, INT3)?,
    })
}

/// Whether a guest that starts `skip` bytes behind [`ENTRY`] stops for the debugger, and not at the `int3` or `hlt` behind it.
fn stops(mut vcpu: KvmVcpu, debug: &GuestDebug, skip: u16) -> Result<bool, CallError> {
    vcpu.set_state(&X86State::real(ENTRY + skip))?;
    if vcpu.set_guest_debug(debug).is_err() {
        return Ok(false);
    }
    loop {
        match vcpu.run()? {
            Exit::Kicked | Exit::Interrupted => {}
            Exit::Debug(_) => return Ok(true),
            _ => return Ok(false),
        }
    }
}
