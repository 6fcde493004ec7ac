//! Accesses to a device whose registers are a byte wide, for devices of your own too.
//!
//! A wider access to such a device becomes one access a byte, at consecutive registers: so the ISA bus does
//! it, and `out dx, ax` at an index port reaches the index with `al` and the data register beside it with
//! `ah`.

use crate::Effect;

/// Fills `data` with what `register` answers at `offset`, `offset + 1` and so on; 0xff beyond 2^64 - 1.
pub fn read(offset: u64, data: &mut [u8], mut register: impl FnMut(u64) -> u8) {
    let mut at = Some(offset);
    for byte in data {
        *byte = at.map_or(0xff, &mut register);
        at = at.and_then(|at| at.checked_add(1));
    }
}

/// Gives each byte of `data` to `register`, in order. Of several effects the first is returned.
pub fn write(offset: u64, data: &[u8], mut register: impl FnMut(u64, u8) -> Effect) -> Effect {
    let mut effect = Effect::None;
    for (index, &byte) in (0..).zip(data) {
        let Some(at) = offset.checked_add(index) else { break };
        let its = register(at, byte);
        effect = if effect == Effect::None { its } else { effect };
    }
    effect
}

#[cfg(test)]
#[path = "bytewise_test.rs"]
mod tests;
