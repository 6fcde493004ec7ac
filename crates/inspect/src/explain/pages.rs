//! What to look at where the page tables refuse.

use strata_cpu::{AccessKind, FaultReason, WalkFault};
use vm_memory::{Bytes, GuestAddress};

use super::{Explanation, hints};
use crate::View;

/// An address of a page table in an entry. SDM 3A table 5-20.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The smallest page, the first of which nobody maps who can avoid it.
const PAGE: u64 = 4096;

/// As far from RSP a push or a call may touch.
const FRAME: u64 = 64;

/// Of a fault of the instruction's own.
pub(super) fn hint<M: Bytes<GuestAddress>>(
    view: &View<'_, M>,
    walk: &WalkFault,
    explanation: &mut Explanation,
) {
    let entry = walk.at.as_ref().map(|step| format!("the {} at {:#x}", step.level, step.entry_at));
    let virt = walk.virt;
    match (&walk.why, entry) {
        (FaultReason::NonCanonical, _) => hints::non_canonical(virt, explanation),
        (FaultReason::Unreadable { entry_at }, _) => {
            explanation.hint(unreadable(view, walk, *entry_at));
        }
        (FaultReason::NotPresent, _) if looped(walk).is_some() => {
            explanation.hint(looped(walk).unwrap_or_default());
        }
        (FaultReason::NotPresent, Some(entry)) => {
            let rsp = view.state().regs.rsp;
            let what = match (virt, walk.kind) {
                (_, AccessKind::Read | AccessKind::Write) if rsp >= PAGE && virt.abs_diff(rsp) <= FRAME => {
                    format!("the stack: RSP is {rsp:#x}, and {entry} maps nothing at {virt:#x}")
                }
                (..PAGE, AccessKind::Fetch) => format!("the call or jump to {virt:#x}: a null pointer"),
                (..PAGE, _) => format!("the pointer {virt:#x}: a null pointer, or an offset from one"),
                (_, AccessKind::Fetch) => format!("how it came to {virt:#x}: {entry} maps nothing there"),
                _ => format!("what should be mapped at {virt:#x}: {entry} does not map it"),
            };
            explanation.hint(what);
        }
        (FaultReason::NoExecute, Some(entry)) => {
            explanation.hint(format!("the page at {virt:#x}, mapped no-execute by {entry}"));
        }
        (FaultReason::ReadOnly, Some(entry)) => {
            explanation
                .hint(format!("the page at {virt:#x}, mapped read-only by {entry}: is the write meant?"));
        }
        (FaultReason::Supervisor, Some(entry)) => {
            explanation.hint(format!(
                "the page at {virt:#x}, mapped for ring 0 by {entry}: ring 3 needs U (bit 2) in the entry of every level"
            ));
        }
        (FaultReason::Smep | FaultReason::Smap, Some(entry)) => {
            explanation.hint(format!("the page at {virt:#x}, mapped for ring 3 by {entry}"));
        }
        (FaultReason::Reserved { bits }, Some(entry)) => explanation.hint(reserved(walk, *bits, &entry)),
        _ => {}
    }
}

fn reserved(walk: &WalkFault, bits: u64, entry: &str) -> String {
    /// PS, which makes an entry above the lowest level one of a large page.
    const LARGE: u64 = 1 << 7;
    const NX: u64 = 1 << 63;
    let value = walk.at.as_ref().map_or(0, |step| step.entry);
    if bits & NX != 0 {
        return format!("{entry}, {value:#x}: NX (bit 63) is reserved until EFER.NXE (bit 11) is set");
    }
    let is_table = walk.steps.len() < 4 && value & LARGE != 0;
    if is_table && bits & ADDRESS & 0x3fff_ffff != 0 {
        return format!(
            "{entry}, {value:#x}: a large page begins at a multiple of its size, and bits {bits:#x} are below that"
        );
    }
    format!("{entry}, {value:#x}: bits {bits:#x} have to be clear")
}

/// An entry that leads back to a table that the walk had been in.
fn looped(walk: &WalkFault) -> Option<String> {
    let table = |entry_at: u64| entry_at & !0xfff;
    walk.steps.windows(2).find_map(|pair| {
        let [step, next] = pair else { return None };
        let same = table(step.entry_at) == table(next.entry_at);
        same.then(|| {
            let number = (step.entry_at & 0xfff) / 8;
            format!(
                "{} {number} at {:#x}: it points back at its own table, {:#x}, which is read again as the next level",
                step.level,
                step.entry_at,
                table(step.entry_at)
            )
        })
    })
}

fn unreadable<M: Bytes<GuestAddress>>(view: &View<'_, M>, walk: &WalkFault, entry_at: u64) -> String {
    let beyond = match ram_end(view, entry_at) {
        Some(end) => format!("beyond the end of RAM at {end:#x}"),
        None => "where no RAM is".to_owned(),
    };
    match walk.steps.last() {
        None => format!("CR3, {:#x}: it lies {beyond}", view.state().cr3),
        Some(step) => format!(
            "the {} at {:#x}: it leads to {:#x}, {beyond}",
            step.level,
            step.entry_at,
            entry_at & !0xfff
        ),
    }
}

/// Where the RAM below an address ends, if all RAM up to there is one piece, to the page.
fn ram_end<M: Bytes<GuestAddress>>(view: &View<'_, M>, beyond: u64) -> Option<u64> {
    let has = |page: u64| view.memory().read_slice(&mut [0], GuestAddress(page * PAGE)).is_ok();
    let (mut low, mut high) = (0, beyond / PAGE);
    if !has(low) || has(high) {
        return None;
    }
    // At most 64 rounds. RAM may have holes; then what is found is the end of one of its pieces.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if has(middle) { low = middle } else { high = middle }
    }
    Some(high * PAGE)
}
