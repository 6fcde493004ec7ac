//! A guest that sleeps.

use strata_cpu::RFlags;
use vm_memory::{Bytes, GuestAddress};

use super::{Death, Explanation, Kind};

pub(super) fn explain<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Explanation {
    let interruptible = death.view.state().regs.rflags.contains(RFlags::IF);
    if !interruptible || death.machine.interrupt_controller {
        // `cli; hlt` is how a guest says that it is done.
        return Explanation::neutral(Kind::Halt, death.stop.to_string());
    }
    let headline = format!("the guest sleeps for an interrupt{}, and nothing can send one", death.on_vcpu());
    let mut explanation = Explanation::new(Kind::EndlessHalt, headline);
    // RIP is behind the `hlt`, which is one byte.
    let behind = death.view.rip();
    let mut byte = [0];
    let at = behind.wrapping_sub(1);
    let is_hlt = death.view.read(at, &mut byte) == 1 && byte == [0xf4];
    let at = if is_hlt { at } else { behind };
    explanation.rip = Some(format!("{at:#x}"));
    explanation.tell(
        format!(
            "hlt at {}, with interrupts on (IF=1), in a machine that has no interrupt controller",
            death.name(at)
        ),
        death.shown(at),
    );
    explanation.hint("the machine's irqchip: with \"kernel\" it has interrupt controllers and timers");
    explanation
}
