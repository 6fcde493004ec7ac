//! Guest memory as a server is given it.

use std::os::fd::{AsRawFd as _, RawFd};

use thiserror::Error;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion as _};

/// How many pieces a server takes without further negotiation ("Memory region description").
const MOST_PIECES: usize = 8;

/// Why another process cannot have the guest's memory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A piece of it has no file, so that there is nothing that could be handed over.
    #[error(
        "the guest's RAM at {start:#x} cannot be shared with a vhost-user server: back it by a memfd (memory.backing = \
         \"memfd\")"
    )]
    NotShared {
        /// The guest-physical address.
        start: u64,
    },
    /// There are more pieces than the protocol has room for.
    #[error("the guest's RAM has {pieces} pieces, and a vhost-user server takes at most {MOST_PIECES}")]
    TooManyPieces {
        /// How many there are.
        pieces: usize,
    },
}

/// Whether this memory can be given to a server: each of its pieces has to be a mapping of a file.
///
/// That the mapping is shared (`MAP_SHARED`) cannot be seen here. Of a private one the server would have another copy.
///
/// # Errors
///
/// Each case of [`MemoryError`].
pub fn can_share(memory: &impl GuestMemoryBackend) -> Result<(), MemoryError> {
    table(memory).map(drop)
}

/// The payload of `SET_MEM_TABLE`, with the descriptors that go with it. They are the memory's.
///
/// A piece is known to the server by its guest-physical address and by its address in this process, the latter for
/// what this process says. Both are only names for places in this table; the first serves for both, and tells the server
/// nothing of where this process has its mappings.
pub(super) fn table(memory: &impl GuestMemoryBackend) -> Result<(Vec<u8>, Vec<RawFd>), MemoryError> {
    let pieces = memory.num_regions();
    if pieces > MOST_PIECES {
        return Err(MemoryError::TooManyPieces { pieces });
    }
    // Their number, and padding.
    let mut payload = [u32::try_from(pieces).unwrap_or(0), 0].map(u32::to_ne_bytes).as_flattened().to_vec();
    let mut fds = Vec::with_capacity(pieces);
    for region in memory.iter() {
        let GuestAddress(start) = region.start_addr();
        let file = region.file_offset().ok_or(MemoryError::NotShared { start })?;
        payload.extend([start, region.len(), start, file.start()].map(u64::to_ne_bytes).as_flattened());
        fds.push(file.file().as_raw_fd());
    }
    Ok((payload, fds))
}

#[cfg(test)]
#[path = "memory_test.rs"]
mod tests;
