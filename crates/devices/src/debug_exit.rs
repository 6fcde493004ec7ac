//! A port that ends the guest with a code.

use crate::device::{Device, Effect};

/// QEMU's isa-debug-exit: a write to any of its ports ends the guest with what was written, and reads give
/// zero.
///
/// Test runners of existing kernels rely on the status that results, which is why
/// [`exit_status`](Self::exit_status) is never 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct DebugExit;

impl DebugExit {
    /// Ports it covers, as QEMU's does by custom (`iobase=0xf4,iosize=4`).
    pub const LEN: u64 = 4;

    /// The status of a process that ran the guest: `value << 1 | 1`, of which the system keeps eight bits.
    pub fn exit_status(value: u32) -> u32 {
        value << 1 | 1
    }
}

impl Device for DebugExit {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        if offset >= Self::LEN || data.is_empty() {
            return Effect::None;
        }
        // Little-endian, as the processor writes; a value has four bytes at most.
        let value = data.iter().take(4).rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        Effect::DebugExit(value)
    }
}

#[cfg(test)]
#[path = "debug_exit_test.rs"]
mod tests;
