//! Code for the place where a PC has its BIOS entered.

use super::PowerRegisters;

/// How long the code is.
pub(super) const LEN: usize = 10;

/// In real mode: writes the reset register, and waits for what comes of it.
///
/// ```asm
///         cli
///         mov     dx, RESET
///         mov     al, RESET_VALUE
///         out     dx, al
/// wait:   hlt
///         jmp     wait
/// ```
pub(super) const fn code(power: PowerRegisters) -> [u8; LEN] {
    let [low, high] = power.reset.to_le_bytes();
    [0xfa, 0xba, low, high, 0xb0, power.reset_value, 0xee, 0xf4, 0xeb, 0xfd]
}
