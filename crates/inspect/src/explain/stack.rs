//! What a stack that is used up tells: the same address, again and again.

use strata_cpu::{AccessKind, Mode};
use vm_memory::{Bytes, GuestAddress};

use crate::View;

/// An address that lies on the stack many times, at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    /// The address: code.
    pub(super) address: u64,
    /// How often.
    pub(super) times: u64,
    /// How many bytes apart.
    pub(super) distance: u64,
}

/// How much of a stack is looked at.
const WORDS: usize = 4096;
/// The largest frame that is recognised, in words.
const FRAME: usize = 64;
/// Fewer are no pattern.
const ENOUGH: usize = 8;

/// The address of code that repeats from the top of the stack on, the one in the smallest frame.
pub(super) fn repeat<M: Bytes<GuestAddress>>(view: &View<'_, M>) -> Option<Repeat> {
    let word_bytes = match (view.state().mode(), view.bitness()) {
        (Mode::Long64, _) => 8,
        (_, 32) => 4,
        _ => return None,
    };
    let words = words(view, word_bytes);
    for distance in 1..=FRAME {
        // All words of the first frame, and how far each repeats.
        for offset in 0..distance {
            let mut column = words.iter().skip(offset).step_by(distance);
            let Some(&address) = column.next() else { break };
            let times = 1 + column.take_while(|word| **word == address).count();
            if times >= ENOUGH && is_code(view, address) {
                let distance = distance as u64 * word_bytes;
                return Some(Repeat { address, times: times as u64, distance });
            }
        }
    }
    None
}

/// The stack from its top on, as far as it can be read. A stack pointer that has left its stack by less than a page is taken back.
fn words<M: Bytes<GuestAddress>>(view: &View<'_, M>, word_bytes: u64) -> Vec<u64> {
    let state = view.state();
    let top = match state.mode() {
        Mode::Long64 => state.regs.rsp,
        _ => state.ss.base.wrapping_add(state.regs.rsp & 0xffff_ffff) & 0xffff_ffff,
    };
    let mut bytes = vec![0; WORDS * 8];
    let mut count = view.read(top, &mut bytes);
    if count == 0 {
        let next_page = (top | 0xfff).wrapping_add(1);
        count = view.read(next_page, &mut bytes);
    }
    let bytes = bytes.get(..count).unwrap_or_default();
    let word = |chunk: &[u8]| {
        let (bytes, mut word) = (chunk, [0; 8]);
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(word)
    };
    bytes.chunks_exact(usize::try_from(word_bytes).unwrap_or(8)).map(word).collect()
}

fn is_code<M: Bytes<GuestAddress>>(view: &View<'_, M>, address: u64) -> bool {
    // Small numbers are counters and flags rather than code, where nobody maps the first page.
    address >= 0x1000
        && view.translate(address, AccessKind::Fetch).is_ok()
        && view.read(address, &mut [0]) == 1
}
