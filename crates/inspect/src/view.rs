//! A guest that stands still.

use strata_cpu::{AccessKind, Mode, Translation, WalkContext, WalkFault, X86State, walk};
use vm_memory::{Bytes, GuestAddress};

/// One processor of a guest that stands still, and the guest's memory.
///
/// Addresses are *physical* (guest-physical), *linear* (after segmentation, before paging) or offsets in a segment; each
/// method says which it takes.
#[derive(Debug)]
pub struct View<'a, M> {
    memory: &'a M,
    state: &'a X86State,
}

/// Whatever `M` is, a view is two references.
impl<M> Clone for View<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for View<'_, M> {}

impl<'a, M: Bytes<GuestAddress>> View<'a, M> {
    /// A view of `memory` as a processor in `state` sees it.
    pub fn new(memory: &'a M, state: &'a X86State) -> Self {
        Self { memory, state }
    }

    /// The processor's registers.
    pub fn state(&self) -> &'a X86State {
        self.state
    }

    /// The guest's memory.
    pub fn memory(&self) -> &'a M {
        self.memory
    }

    /// The eight bytes at a physical address, as [`walk`] wants them; `None` where there is no RAM.
    pub fn word(&self, phys: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.memory.read_slice(&mut bytes, GuestAddress(phys)).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Translates a linear address for an access of the current ring.
    pub fn translate(&self, linear: u64, kind: AccessKind) -> Result<Translation, WalkFault> {
        self.translate_as(&self.state.walk_context(), linear, kind)
    }

    /// Translates a linear address for an access in other circumstances: of another ring, for instance.
    pub fn translate_as(
        &self,
        context: &WalkContext,
        linear: u64,
        kind: AccessKind,
    ) -> Result<Translation, WalkFault> {
        walk(|at| self.word(at), context, linear, kind)
    }

    /// Reads from a linear address as ring 0 could, whatever the current ring; says how many bytes could be read before
    /// the first that is not mapped or has no RAM.
    pub fn read(&self, linear: u64, into: &mut [u8]) -> usize {
        const PAGE: u64 = 4096;
        // SMAP is the guest's protection from itself, not from whoever looks.
        let context = WalkContext { cpl: 0, alignment_check: true, ..self.state.walk_context() };
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = linear.wrapping_add(done as u64);
            let Ok(found) = self.translate_as(&context, at, AccessKind::Read) else { break };
            let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1).min(rest.len());
            let Some(piece) = rest.get_mut(..in_page) else { break };
            if self.memory.read_slice(piece, GuestAddress(found.phys)).is_err() {
                // Byte by byte to where RAM ends.
                for (n, byte) in (0..).zip(piece.chunks_mut(1)) {
                    if self.memory.read_slice(byte, GuestAddress(found.phys + n)).is_err() {
                        break;
                    }
                    done += 1;
                }
                break;
            }
            done += in_page;
        }
        done
    }

    /// The linear address of the next instruction: in 64-bit mode RIP, elsewhere RIP behind the base of CS.
    pub fn rip(&self) -> u64 {
        let state = self.state;
        match state.mode() {
            Mode::Long64 => state.regs.rip,
            _ => state.cs.base.wrapping_add(state.regs.rip) & 0xffff_ffff,
        }
    }

    /// 16, 32 or 64: what the bytes at [`rip`](Self::rip) are decoded as.
    pub fn bitness(&self) -> u32 {
        match (self.state.mode(), self.state.cs.big) {
            (Mode::Long64, _) => 64,
            (Mode::Real16, _) | (_, false) => 16,
            (_, true) => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestMemoryMmap;

    #[test]
    fn memory_is_read_as_far_as_it_is_mapped() {
        let memory: GuestMemoryMmap<()> =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        let state = X86State::real_at(0x100, 0x20);
        let view = View::new(&memory, &state);
        assert_eq!((view.rip(), view.bitness()), (0x1020, 16));
        memory.write_slice(b"strata", GuestAddress(0xfffa)).unwrap();
        let mut bytes = [0; 10];
        assert_eq!(view.read(0xfffa, &mut bytes), 6);
        assert_eq!(&bytes[..6], b"strata");
    }
}
