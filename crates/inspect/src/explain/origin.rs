//! How a guest came to where nothing is.

use vm_memory::{Bytes, GuestAddress};

use super::{Death, Explanation};
use crate::disasm;

/// Says where the guest came from, as far as its last steps or its stack tell.
pub(super) fn tell<M: Bytes<GuestAddress>>(death: &Death<'_, M>, explanation: &mut Explanation) {
    let rip = death.view.rip();
    // The steps before the last run of steps in a row.
    let mut trail = death.trail.iter().rev().copied().skip_while(|step| *step == rip);
    if let Some(from) = trail.next() {
        explanation.tell(format!("it came from {}", death.name(from)), death.shown(from));
        return;
    }
    if let Some(call) = call_on_stack(death) {
        explanation.tell(
            format!("the top of the stack is the return address of the call at {}", death.name(call)),
            death.shown(call),
        );
    }
}

/// The call whose return address lies on top of the stack.
fn call_on_stack<M: Bytes<GuestAddress>>(death: &Death<'_, M>) -> Option<u64> {
    if death.view.bitness() != 64 {
        return None;
    }
    let mut word = [0; 8];
    if death.view.read(death.view.state().regs.rsp, &mut word) != word.len() {
        return None;
    }
    let back = u64::from_le_bytes(word);
    // The usual lengths, direct first.
    [5, 2, 3, 6, 7, 4].into_iter().find_map(|len: u8| {
        let at = back.checked_sub(len.into())?;
        let instruction = disasm::at(&death.view, at, None)?;
        let fits = instruction.bytes.len() == usize::from(len) && instruction.text.starts_with("call");
        fits.then_some(at)
    })
}

/// Says what lies where instructions should be, if it is none.
pub(super) fn content<M: Bytes<GuestAddress>>(death: &Death<'_, M>, explanation: &mut Explanation) -> bool {
    let mut bytes = [0; disasm::MAX_LEN];
    let rip = death.view.rip();
    if death.view.read(rip, &mut bytes) < bytes.len() {
        return false;
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    if bytes == [0; disasm::MAX_LEN] {
        explanation.say(format!(
            "the guest runs zeroes: the memory at {rip:#x} is empty, and two bytes 00 00 are an instruction"
        ));
        explanation.hint("how it came there: a jump or a return to where nothing was loaded");
    } else if bytes.iter().all(is_text) {
        let text = String::from_utf8_lossy(&bytes);
        explanation.say(format!("the guest runs text: the memory at {rip:#x} holds {text:?}"));
        explanation.hint("how it came there: a jump or a return into data");
    } else {
        return false;
    }
    tell(death, explanation);
    true
}
