//! KVM gave up.

use strata_cpu::{AccessKind, FaultReason};
use vm_memory::{Bytes, GuestAddress};

use super::{Death, Explanation, Kind, place, registers};
use crate::fault::{self, Next, Why};

/// KVM's internal errors. api.rst 5, "The `kvm_run` structure"; the kernel's `include/uapi/linux/kvm.h`.
const EMULATION: u32 = 1;

pub(super) fn explain<M: Bytes<GuestAddress>>(
    death: &Death<'_, M>,
    suberror: u32,
    data: &[u64],
) -> Explanation {
    let on = death.on_vcpu();
    let what = match suberror {
        EMULATION => "it cannot emulate an instruction".to_owned(),
        2 => "two exceptions at once".to_owned(),
        3 => "an exit while it delivered an exception or interrupt".to_owned(),
        4 => "an exit that it does not expect".to_owned(),
        other => format!("suberror {other}"),
    };
    let headline = format!("KVM gave up{on}: {what} (internal error, suberror {suberror})");
    if let Some(explanation) = no_code(death, Kind::InternalError, &headline) {
        return explanation;
    }
    let mut explanation = Explanation::neutral(Kind::InternalError, headline);
    let rip = death.view.rip();
    explanation.rip = Some(format!("{rip:#x}"));
    explanation.registers = registers::lines(death.view.state());
    if suberror != EMULATION {
        explanation.tell(format!("it was at {}", death.name(rip)), death.shown(rip));
        return explanation;
    }
    let mut shown = death.shown(rip);
    if shown.is_empty() {
        shown.extend(bytes(data).map(|bytes| format!("{rip:#x}: {}", place::hex(&bytes))));
    }
    explanation.tell(format!("the instruction is at {}", death.name(rip)), shown);
    touched(death, &mut explanation);
    explanation
}

/// What the instruction touches that is not RAM; and else what the host has to do with it.
fn touched<M: Bytes<GuestAddress>>(death: &Death<'_, M>, explanation: &mut Explanation) {
    for touch in fault::touches(&death.view) {
        let Ok(found) = death.view.translate(touch.address, touch.kind) else { continue };
        let phys = found.phys;
        let is_ram = death.view.memory().read_slice(&mut [0], GuestAddress(phys)).is_ok();
        if is_ram {
            continue;
        }
        let owner = death.machine.device_at(false, phys).unwrap_or("neither RAM nor a device");
        let at = if phys == touch.address { String::new() } else { format!(" (physical {phys:#x})") };
        explanation.say(format!(
            "it is {touch}{at}, which is {owner}: such accesses are emulated, and KVM does so for simple instructions only"
        ));
        explanation.hint("the address; or, if a device is meant, how it is accessed: a plain mov works");
        explanation.accusation = true;
        return;
    }
    if death.machine.emulated {
        explanation.say(
            "this host has no hardware virtualisation: KVM emulates what the guest does in ring 0, and knows not every \
             instruction; elsewhere it may run",
        );
    }
}

/// The bytes that KVM has put beside the error: bit 0 of the first word says so; then their count and 15 of them.
/// `struct kvm_run`, `emulation_failure`.
fn bytes(data: &[u64]) -> Option<Vec<u8>> {
    let &[flags, first, second, ..] = data else { return None };
    let [size, bytes @ ..] = first.to_le_bytes();
    let bytes = bytes.into_iter().chain(second.to_le_bytes()).take(size.into());
    (flags & 1 != 0).then(|| bytes.collect())
}

pub(super) fn memory_fault<M: Bytes<GuestAddress>>(death: &Death<'_, M>, gpa: u64) -> Explanation {
    let headline = death.stop.to_string();
    if let Some(explanation) = no_code(death, Kind::MemoryFault, &headline) {
        return explanation;
    }
    let mut explanation = Explanation::neutral(Kind::MemoryFault, headline);
    let rip = death.view.rip();
    explanation.rip = Some(format!("{rip:#x}"));
    explanation.registers = registers::lines(death.view.state());
    explanation.tell(format!("it was{} at {}", death.on_vcpu(), death.name(rip)), death.shown(rip));
    if death.view.memory().read_slice(&mut [0], GuestAddress(gpa)).is_err() {
        explanation.say(format!("there is no RAM at {gpa:#x}"));
    }
    explanation
}

/// Where a page table is to blame, or somebody counts on a BIOS.
fn no_code_hint<M: Bytes<GuestAddress>>(death: &Death<'_, M>, explanation: &mut Explanation) {
    /// Where a PC has its BIOS in real mode. SDM 3A 11.1.4, and the IBM PC's memory map.
    const BIOS: std::ops::RangeInclusive<u64> = 0xf_0000..=0xf_ffff;
    match fault::next(&death.view) {
        Next::NoCode { phys, .. } if death.view.bitness() == 16 && BIOS.contains(&phys) => {
            let state = death.view.state();
            explanation.hint(format!(
                "the vector or call that led to {:04x}:{:04x}: that is a PC's BIOS, and this machine has none",
                state.cs.selector, state.regs.rip
            ));
        }
        Next::Raises(fault) => super::hints::of_fault(&death.view, &fault, explanation),
        _ => {}
    }
}

/// A guest that went where no code can be, if that is it.
pub(super) fn no_code<M: Bytes<GuestAddress>>(
    death: &Death<'_, M>,
    kind: Kind,
    headline: &str,
) -> Option<Explanation> {
    let text = match fault::next(&death.view) {
        Next::NoCode { linear, phys } => {
            let mapped = if linear == phys { String::new() } else { format!(", where {linear:#x} leads") };
            format!(
                "at {} there is no instruction: there is no RAM at {phys:#x}{mapped}",
                death.name(death.view.rip())
            )
        }
        Next::Raises(fault) => match &fault.why {
            Why::Walk(walk) if matches!(walk.why, FaultReason::Unreadable { .. }) => {
                let doing = if walk.kind == AccessKind::Fetch { "executing " } else { "" };
                format!("{doing}at {}: {}", death.name(death.view.rip()), fault.why)
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut explanation = Explanation::new(kind, headline);
    explanation.rip = Some(format!("{:#x}", death.view.rip()));
    explanation.registers = registers::lines(death.view.state());
    explanation.say(text);
    no_code_hint(death, &mut explanation);
    super::origin::tell(death, &mut explanation);
    Some(explanation)
}
