//! Which instruction an exit comes from.

use iced_x86::{Code as Op, Decoder, DecoderOptions, Formatter, Instruction as Decoded, Mnemonic, NasmFormatter, OpAccess, OpKind, InstructionInfoFactory};

use super::event::{Code, Event, What};
use super::kind::Kind;
use crate::Symbols;
use crate::disasm::Instruction;

/// RIP names the instruction, or the one behind it, as the host left it: what lies there says which. `None` where neither
/// can have made the exit.
pub(super) fn instruction(event: &Event, _symbols: Option<&Symbols>) -> Option<Instruction> {
    let code = event.cpu.as_ref()?.code;
    let fits = |found: &Decoded| can_make(found, event);
    let at = decode(&code, code.rip, code.after()).filter(fits);
    let found = at.or_else(|| {
        // The longest that ends at RIP: a shorter one could be its end.
        let before = code.before();
        (0..before.len()).find_map(|skip| {
            let bytes = before.get(skip..)?;
            let start = code.rip.wrapping_sub(bytes.len() as u64);
            decode(&code, start, bytes).filter(|found| found.len() == bytes.len()).filter(fits)
        })
    })?;
    let mut text = String::new();
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_show_branch_size(false);
    formatter.format(&found, &mut text);
    Some(Instruction { address: found.ip(), bytes: Vec::new(), text })
}

fn decode(code: &Code, at: u64, bytes: &[u8]) -> Option<Decoded> {
    let mut decoder = Decoder::with_ip(code.bitness.into(), bytes, at, DecoderOptions::NONE);
    let found = decoder.can_decode().then(|| decoder.decode())?;
    (!found.is_invalid()).then_some(found)
}

/// Whether an instruction is of the sort that makes such an exit.
fn can_make(found: &Decoded, event: &Event) -> bool {
    use Mnemonic as M;
    let kind = event.what.kind();
    let port = || match &event.what {
        What::Access(access) if found.op_kind(0) == OpKind::Immediate8 || found.op_kind(1) == OpKind::Immediate8 => u64::from(found.immediate8()) == access.at,
        _ => true,
    };
    match kind {
        Kind::In => matches!(found.mnemonic(), M::In | M::Insb | M::Insw | M::Insd) && port(),
        Kind::Out => matches!(found.mnemonic(), M::Out | M::Outsb | M::Outsw | M::Outsd) && port(),
        Kind::Hlt => found.mnemonic() == M::Hlt,
        Kind::MmioRead | Kind::MmioWrite => {
            let mut factory = InstructionInfoFactory::new();
            let info = factory.info(found);
            info.used_memory().iter().any(|memory| match memory.access() {
                OpAccess::Read | OpAccess::CondRead => kind == Kind::MmioRead,
                OpAccess::Write | OpAccess::CondWrite => kind == Kind::MmioWrite,
                OpAccess::ReadWrite | OpAccess::ReadCondWrite => true,
                _ => false,
            })
        }
        Kind::InternalError | Kind::FailEntry | Kind::Shutdown => found.code() != Op::INVALID,
        _ => false,
    }
}
