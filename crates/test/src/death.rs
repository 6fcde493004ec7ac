//! What is said of a guest that ended as it should not have.

use strata_vmm::vcpu::Vcpu as _;
use strata_vmm::{Budget, Outcome, Stop};

/// Why a guest's end is no success, in a line or more.
///
/// THE PLACE for the explainer: `outcome` has the vCPUs and the RAM as the guest left them, which is what
/// `strata_inspect::explain` wants.
pub fn describe(outcome: &mut Outcome) -> String {
    let mut text = match &outcome.stop {
        Stop::DebugExit { value } => format!("the guest ended with {value:#x} at its debug-exit port"),
        Stop::Budget(Budget::Wall(time)) => format!("the guest was ended after {time:?}: its time was up"),
        stop => format!("the guest ended: {stop}"),
    };
    if is_death(&outcome.stop) {
        for vcpu in &mut outcome.vcpus {
            // Where the host cannot say, there is that much less to read.
            let Ok(state) = vcpu.vcpu.state() else { continue };
            text += &format!(
                "\nvCPU {}: RIP {:#x}, RSP {:#x}, CR2 {:#x}, CR3 {:#x}",
                vcpu.index, state.regs.rip, state.regs.rsp, state.cr2, state.cr3
            );
        }
    }
    text
}

/// Whether the guest did not choose this end.
pub fn is_death(stop: &Stop) -> bool {
    !matches!(
        stop,
        Stop::DebugExit { .. } | Stop::PowerOff | Stop::Reset | Stop::Interrupted | Stop::Panicked
    )
}
