//! Which instruction an exit comes from.

use super::event::Event;
use crate::Symbols;
use crate::disasm::Instruction;

pub(super) fn instruction(_event: &Event, _symbols: Option<&Symbols>) -> Option<Instruction> {
    None
}
