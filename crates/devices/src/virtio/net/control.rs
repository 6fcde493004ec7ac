//! The control queue (Virtio 1.2, 5.1.6.5).

use vm_memory::GuestMemory;

use super::super::Chain;

/// Class and command that set the number of queue pairs (5.1.6.5.6).
const MQ_VQ_PAIRS_SET: [u8; 2] = [4, 0];

const OK: u8 = 0;
const ERR: u8 = 1;

/// Carries a command out: `set_pairs` with the number of pairs that the driver wants to use, if it is one from 1 to
/// `most`; it gives whether the host does that. Gives the number of bytes written, which is the answer's.
pub(super) fn answer<M: GuestMemory>(
    memory: &M,
    chain: &Chain,
    most: u16,
    set_pairs: impl FnOnce(u16) -> bool,
) -> u32 {
    let (_, ack) = chain.writable().split_last(1);
    if ack.is_empty() {
        // Nobody hears what becomes of it, so nothing does.
        return 0;
    }
    let mut command = [0; 4];
    let is_whole = chain.readable().read(memory, &mut command) == command.len();
    let [class, code, low, high] = command;
    let pairs = u16::from_le_bytes([low, high]);
    let is_valid = is_whole && [class, code] == MQ_VQ_PAIRS_SET && (1..=most).contains(&pairs);
    let is_done = is_valid && set_pairs(pairs);
    u32::from(ack.write(memory, &[if is_done { OK } else { ERR }]) == 1)
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
