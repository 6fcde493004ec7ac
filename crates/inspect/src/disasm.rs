//! One instruction as text.

use std::fmt;

use strata_vmm::Exit;
use vm_memory::{Bytes, GuestAddress};

use crate::{Symbols, View};

/// An instruction: [`Display`](fmt::Display) prints its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Linear address of its first byte.
    pub address: u64,
    /// Its 1 to 15 bytes.
    pub bytes: Vec<u8>,
    /// As nasm writes it, e.g. `mov [rdi],rax`; `(bad)` where the bytes are no instruction.
    pub text: String,
}

/// The instruction at a linear address, decoded for the processor's current mode. `None` where its bytes cannot all be
/// read, because memory is not mapped or there is no RAM.
pub fn at<M: Bytes<GuestAddress>>(
    _view: &View<'_, M>,
    _linear: u64,
    _symbols: Option<&Symbols>,
) -> Option<Instruction> {
    None
}

/// The instruction that caused an exit; `None` for exits without one, and where none near RIP fits.
pub fn of_exit<M: Bytes<GuestAddress>>(
    _view: &View<'_, M>,
    _exit: &Exit<'_>,
    _symbols: Option<&Symbols>,
) -> Option<Instruction> {
    None
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
