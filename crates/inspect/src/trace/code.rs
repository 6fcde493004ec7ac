//! Which instruction an exit comes from.

use super::event::Event;
use crate::disasm::Instruction;
use crate::Symbols;

pub(super) fn instruction(_event: &Event, _symbols: Option<&Symbols>) -> Option<Instruction> {
    None
}
