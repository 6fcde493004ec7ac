//! The guest's memory as gdb reads and writes it.

use strata_cpu::{AccessKind, WalkContext, X86State};
use vm_memory::{Bytes, GuestAddress};

use crate::View;

const PAGE: u64 = 4096;

/// Where a linear address lies, as ring 0 would see it with all protection off; `None` where nothing is mapped.
pub(super) fn physical<M: Bytes<GuestAddress>>(view: &View<'_, M>, linear: u64) -> Option<u64> {
    let context = WalkContext { cpl: 0, alignment_check: true, ..view.state().walk_context() };
    view.translate_as(&context, linear, AccessKind::Read).ok().map(|found| found.phys)
}

/// Reads from a linear address, or a physical one; says how many bytes there were.
pub(super) fn read<M: Bytes<GuestAddress>>(
    (memory, state): (&M, &X86State),
    address: u64,
    into: &mut [u8],
    is_physical: bool,
) -> usize {
    if !is_physical {
        return View::new(memory, state).read(address, into);
    }
    // In pieces, so that what lies before the end of RAM is read.
    let mut done = 0;
    for piece in into.chunks_mut(16) {
        let at = GuestAddress(address.wrapping_add(done as u64));
        if memory.read_slice(piece, at).is_err() {
            break;
        }
        done += piece.len();
    }
    done
}

/// Writes to a linear address, or a physical one, also to what the guest itself may not write. `None`, and nothing is
/// written, if part of it is not mapped or has no RAM.
pub(super) fn write<M: Bytes<GuestAddress>>(
    (memory, state): (&M, &X86State),
    address: u64,
    bytes: &[u8],
    is_physical: bool,
) -> Option<()> {
    let view = View::new(memory, state);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut at = address;
    while !rest.is_empty() {
        let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1).min(rest.len());
        let (piece, later) = rest.split_at_checked(in_page)?;
        let phys = if is_physical { at } else { physical(&view, at)? };
        // Is there RAM?
        memory.read_slice(&mut vec![0; piece.len()], GuestAddress(phys)).ok()?;
        pieces.push((phys, piece));
        rest = later;
        at = at.wrapping_add(in_page as u64);
    }
    for (phys, piece) in pieces {
        memory.write_slice(piece, GuestAddress(phys)).ok()?;
    }
    Some(())
}

#[cfg(test)]
#[path = "memory_test.rs"]
mod tests;
